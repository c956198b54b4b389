"""dapdee profile, as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.partition.device_profile import DeviceProfile


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


def test_an_unknown_model_is_a_clear_error() -> None:
    done = dapdee("profile", "nowhere")
    assert done.returncode == 2
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr
