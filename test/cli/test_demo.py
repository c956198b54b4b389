"""dapdee demo, as a user runs it: everything together, over an emulated link that dies."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.small_detector import small_detector

from dapdee_ros.report.run_log import RunLog
from dapdee_ros.report.summary import summarise

pytestmark = [pytest.mark.ros, pytest.mark.timeout(180)]


def dapdee(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dapdee_ros.cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=150,
    )


@pytest.mark.alone
@pytest.mark.skipif(
    importlib.util.find_spec("rclpy") is None
    or not any(
        Path(prefix, "lib/dapdee_ros/head").exists()
        for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    ),
    reason="the package is not built or its environment not sourced: make setup, tools/env.sh",
)
def test_a_drive_into_a_tunnel_accounts_for_every_frame(
    tmp_path: Path, ros_domain: int, ros_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROS_HOME", str(ros_home))
    done = dapdee(
        *("demo", "--seconds", "10", "--link", "steps:18.88@0,0@4", "--http-port", "0"),
        *("--out", str(tmp_path), "--json", "--domain", str(ros_domain)),
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["balanced"]
    assert summary["in_flight"] == 0
    assert summary["accepted"] >= 60
    assert summary["recorded"] == summary["results"]
    assert summary["plan_changes"] >= 1
    assert summary["places"]["car"]["frames"] > 0
    # An mAP over a few dozen frames, most of them answered by the car alone at its first exit.
    assert summary["quality"] > 0.4
    assert (tmp_path / "timeline.png").stat().st_size > 10_000
    assert f"report   {tmp_path / 'report.html'}" in done.stderr
    assert "Policy exact" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert (tmp_path / "last_picture.png").stat().st_size > 10_000
    log = RunLog.load(tmp_path / "run.json")
    assert log.first_result_s is not None
    assert len({frame.number for frame in log.frames}) == len(log.frames)
    # However long the start took: the link's time begins with the recorded seconds.
    died_s = next(link.at_s for link in log.link_truth if not link.connected)
    assert 3.5 < died_s - log.first_result_s < 8.0


@pytest.mark.alone
def test_a_detectors_drive_ends_with_its_map(
    tmp_path: Path, ros_domain: int, ros_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROS_HOME", str(ros_home))
    model = small_detector(tmp_path)
    done = dapdee(
        *("demo", "--model", str(model), "--seconds", "8", "--link", "wifi", "--http-port", "0"),
        *("--out", str(tmp_path / "run"), "--domain", str(ros_domain)),
    )
    assert done.returncode == 0, done.stderr
    log = RunLog.load(tmp_path / "run" / "run.json")
    assert log.task == "detection" and log.settings["camera"] == "roadscenes"
    summary = summarise(log)
    assert summary["answered_ratio"] >= 0.99 and summary["judged"] >= 0.9 * summary["recorded"]
    assert "found per frame" in done.stdout and " objects  exit 1" in done.stdout
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "objects there per frame" in page
    assert (tmp_path / "run" / "last_picture.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model", "nowhere"), "nowhere"),
        (("--rate-hz", "0"), "rate_hz"),
        (("--rate-hz", "fast"), "rate_hz"),
        (("--seconds", "-1"), "--seconds"),
        (("--source", "radio"), "radio"),
        (("--emulated-slowdown", "0.5"), "emulated_slowdown"),
    ],
)
def test_what_makes_no_sense_is_one_clear_line(arguments: tuple[str, ...], words: str) -> None:
    done = dapdee("demo", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_link_names_the_node_that_refused_it(tmp_path: Path) -> None:
    done = dapdee("demo", "--link", "carrier-pigeon", "--out", str(tmp_path))
    assert done.returncode == 2
    assert "link_emulator ended with status 2" in done.stderr
    assert "carrier-pigeon" in done.stderr
