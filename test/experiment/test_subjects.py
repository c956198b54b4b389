"""Networks of the experiments: measured once, used again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dapdee_ros.experiment.subjects import make_subject
from dapdee_ros.planning.errors import ProfileError

pytest.importorskip("torch")

NAME = "alexnet-cifar10"


def test_kept_profiles_are_used_again(tmp_path: Path) -> None:
    first = make_subject(NAME, budget_s=0.1, kept=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"{NAME}.json"]
    again = make_subject(NAME, budget_s=0.1, kept=tmp_path)
    assert again.problems["f32"].edge == first.problems["f32"].edge
    assert again.problems["f32"].car.total_s == pytest.approx(
        10 * first.problems["f32"].edge.total_s
    )
    kept = tmp_path / f"{NAME}.json"
    values = json.loads(kept.read_text())
    kept.write_text(json.dumps(values | {"model_id": "another"}))
    with pytest.raises(ProfileError, match="another"):
        make_subject(NAME, budget_s=0.1, kept=tmp_path)


MANY_NODES = """
from dapdee_ros.experiment.subjects import Subject
from dapdee_ros.graph.dag import ModelDag, Node
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.policy import Problem

names = [f"n{i}" for i in range(60)]
nodes = [Node(n, "x", tuple(names[max(0, i - 1) : i]), (1,), "float32", 4, 1) for i, n in
         enumerate(names)]
seconds = {n: 0.1 / (3 + 7 * i) for i, n in enumerate(names)}
profile = DeviceProfile("m", "car", 1, seconds, "now")
problem = Problem(ModelDag(tuple(nodes), ((names[-1],),)), (profile, profile), [0.9])
print(Subject("m", {"f32": problem}, None, "").car_alone_s.hex())
"""


def test_seconds_are_the_same_in_every_process() -> None:
    """A set's order depends on the process; a sum over it must not."""
    said = {
        subprocess.run(
            [sys.executable, "-c", MANY_NODES],
            env=os.environ | {"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2", "3", "4")
    }
    assert len(said) == 1
