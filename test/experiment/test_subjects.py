"""Networks of the experiments: measured once, used again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dapdee_ros.experiment.subjects import make_subject
from dapdee_ros.partition.errors import ProfileError

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


def test_seconds_are_the_same_in_every_process(tmp_path: Path) -> None:
    """A set's order depends on the process; a sum over it must not."""
    make_subject(NAME, budget_s=0.1, kept=tmp_path)
    script = (
        "from pathlib import Path\n"
        "from dapdee_ros.experiment.subjects import make_subject\n"
        f"subject = make_subject({NAME!r}, kept=Path({str(tmp_path)!r}))\n"
        "print(subject.car_alone_s.hex())\n"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(said) == 1
