"""dapdee profile, as a user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dapdee_ros.cli.main import main
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.planning.device_profile import DeviceProfile


def dapdee(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dapdee_ros.cli.main", *arguments], capture_output=True, text=True
    )


def test_a_profile_of_the_shipped_model_fits_it(tmp_path: Path) -> None:
    out = tmp_path / "car.json"
    done = dapdee("profile", "roadsigns", "--out", str(out), "--budget-s", "0.5", "--json")
    assert done.returncode == 0, done.stderr
    card = read_card(find_model("roadsigns"))
    profile = DeviceProfile.load(out)
    profile.check_fits((node.name for node in card.dag.nodes), card.model_id)
    assert DeviceProfile.from_dict(json.loads(done.stdout)) == profile
    assert profile.threads == 1
    assert 1e-4 < profile.total_s < 10


def test_an_unknown_model_is_a_clear_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "nowhere"]) == 2
    said = capsys.readouterr().err
    assert "nowhere" in said
    assert "Traceback" not in said


def test_where_a_frame_s_time_goes_is_printed_and_drawn(tmp_path: Path) -> None:
    card = read_card(find_model("roadsigns"))
    out, stem = tmp_path / "car.json", tmp_path / "frame"
    plan = f"exit={len(card.dag.exits)} boundary=image codec=f32"
    words = ("--budget-s", "0.5", "--rtt-s", "0.01", "--draw", str(stem), "--plan", plan)
    done = dapdee("profile", "roadsigns", "--out", str(out), *words)
    assert done.returncode == 0, done.stderr
    for line in ("frame", "  car", "  link", "    bytes on the link", "  edge", "    network"):
        assert f"\n{line} " in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"car.json", "frame.png", "frame.svg"}
    profile = DeviceProfile.load(out)
    assert profile.engine
    if "without ROS" not in done.stdout:
        assert "    convert the image" in done.stdout
        assert profile.overhead.frame_s > 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--plan", "exit=99"), "--plan"),
        (("--plan", "exit=2 boundary=nowhere"), "--plan"),
        (("--plan", "exit=2 gate=1"), "leave the gate out"),
        (("--link", "drive"), "one rate"),
        (("--edge-profile", "nowhere.json"), "cannot read a device profile"),
    ],
)
def test_a_frame_that_cannot_be_shown_is_named_before_anything_is_measured(
    words: tuple[str, str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["profile", "roadsigns", "--out", str(tmp_path / "x.json"), *words]) == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.root
@pytest.mark.alone
def test_a_quota_makes_this_machine_a_slower_one(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("a CPU quota needs root")
    profiles = {}
    slow = ("--quota", "0.1", "--note", "in a test")
    # Whatever else runs on this machine makes it look slower than it is: the faster of two counts.
    for name, words in (("before", ()), ("slow", slow), ("after", ())):
        out = tmp_path / f"{name}.json"
        done = dapdee("profile", "roadsigns", "--out", str(out), "--budget-s", "1", *words)
        if "no CPU quota can be set" in done.stderr:
            pytest.skip(done.stderr.strip())
        assert done.returncode == 0, done.stderr
        profiles[name] = DeviceProfile.load(out)
    assert profiles["before"].note == ""
    assert profiles["slow"].note == "under a CPU quota of 0.1 of one core; in a test"
    alone_s = min(profiles["before"].total_s, profiles["after"].total_s)
    assert profiles["slow"].total_s > 4 * alone_s


@pytest.mark.parametrize("quota", ["0", "-1", "nan", "2"])
def test_a_quota_that_cannot_be(quota: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "roadsigns", "--quota", quota]) == 2
    assert "--quota" in capsys.readouterr().err
