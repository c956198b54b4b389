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
