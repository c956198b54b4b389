"""Commands where PyTorch is not installed: most need none, the others say how to get it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bags.made_bags import make_drive
from support.without_torch import WithoutTorch

from dapdee_ros.exits.card import find_model


def run(without: WithoutTorch, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **without.env, "ROS_HOME": str(folder / "home")}
    command = [sys.executable, "-m", "dapdee_ros.cli.main", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture
def without(tmp_path: Path) -> WithoutTorch:
    return WithoutTorch(tmp_path / "without")


def test_measuring_planning_simulating_replaying_and_calibrating_need_none(
    without: WithoutTorch, tmp_path: Path
) -> None:
    options = ("--budget-s", "0.5", "--repeats", "3", "--out", "p.json")
    measured = run(without, tmp_path, "profile", "roadsigns", *options)
    assert measured.returncode == 0, measured.stderr
    assert "onnxruntime" in json.loads((tmp_path / "p.json").read_text())["versions"]
    profiles = ("--car-profile", "p.json", "--edge-profile", "p.json")
    planned = run(without, tmp_path, "plan", "roadsigns", "--link", "4g", *profiles)
    assert planned.returncode == 0, planned.stderr
    simulated = run(
        without, tmp_path, "simulate", "roadsigns", "--link", "drive", "--seconds", "5",
        "--policy", "exact", *profiles, "--out", "runs",
    )  # fmt: skip
    assert simulated.returncode == 0, simulated.stderr
    make_drive(tmp_path / "drive", frames=5)
    replayed = run(
        without, tmp_path, "replay", "drive", "--model", "roadsigns", "--link", "4g", "--policy",
        "exact", *profiles, "--out", "replayed",
    )  # fmt: skip
    assert replayed.returncode == 0, replayed.stderr
    mine = shutil.copytree(find_model("roadsigns"), tmp_path / "mine")
    calibrated = run(
        without, tmp_path, "calibrate", "--model", str(mine), "--data", "roadsigns", "--frames",
        "40", "--codec-frames", "2",
    )  # fmt: skip
    assert calibrated.returncode == 0, calibrated.stderr
    measured_on = json.loads((mine / "calibration.json").read_text())
    assert (measured_on["frames"], measured_on["codecs"]["frames"]) == (40, 2)
    assert without.asked() == ""


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("train", "--model", "roadsigns", "--data", "roadsigns", "--out", "m"), "training"),
        (("convert", "some"), "converting a model"),
        (("profile", "roadsigns", "--engine", "torch"), "the engine 'torch'"),
    ],
)
def test_what_needs_it_says_how_to_get_it(
    without: WithoutTorch, tmp_path: Path, arguments: tuple[str, ...], what: str
) -> None:
    done = run(without, tmp_path, *arguments)
    assert done.returncode == 2
    assert f"{what} needs PyTorch, which is not installed: pip install 'dapdee_ros[train]'" in (
        done.stderr
    )
    assert not (tmp_path / "m").exists()
