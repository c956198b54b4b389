"""dapdee testbed, as a user runs it."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dapdee_ros.report.run_log import RunLog
from dapdee_ros.testbed.enter import NAMESPACES
from dapdee_ros.testbed.leftovers import remove_leftovers
from dapdee_ros.testbed.veth_link import why_no_link

pytestmark = [pytest.mark.ros, pytest.mark.netns, pytest.mark.timeout(240)]

COMMAND = [sys.executable, "-m", "dapdee_ros.cli.main", "testbed"]
built = pytest.mark.skipif(
    importlib.util.find_spec("rclpy") is None
    or not any(
        Path(prefix, "lib/dapdee_ros/head").exists()
        for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    ),
    reason="the package is not built or its environment not sourced: make setup, tools/env.sh",
)


@pytest.fixture
def namespaces() -> None:
    if reason := why_no_link():
        pytest.skip(reason)


def testbed(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=200)


testbed.__test__ = False  # type: ignore[attr-defined]


def left_behind(pid: int) -> list[str]:
    names = [str(path) for path in NAMESPACES.glob(f"dapdee-{pid}-*")]
    groups = Path("/sys/fs/cgroup")
    found = [*groups.glob(f"dapdee-{pid}-*"), *groups.glob(f"*/dapdee-{pid}-*")]
    return names + [str(path) for path in found]


@pytest.mark.alone
@built
def test_a_run_over_a_shaped_link_is_logged_and_leaves_nothing(
    tmp_path: Path, namespaces: None
) -> None:
    process = subprocess.Popen(
        [
            *COMMAND,
            *("--link", "steps:5.85@0,1.1@3", "--car", "quota:0.3", "--seconds", "6"),
            *("--settle-s", "2", "--deadline-s", "1", "--out", str(tmp_path), "--json"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said, complaints = process.communicate(timeout=200)
    assert process.returncode == 0, complaints
    summary = json.loads(said.splitlines()[-1])
    assert summary["balanced"]
    assert summary["in_flight"] == 0
    log = RunLog.load(tmp_path / "run.json")
    settings = log.settings
    assert (settings["source"], settings["car"], settings["policy"]) == (
        "testbed",
        "quota:0.3",
        "exact",
    )
    assert settings["deadline_s"] == 1.0
    assert settings["mode"] == "latency"
    # Three tenths of a core: 3.3 times slower if nothing else runs on this machine.
    assert 2.0 < settings["car_slowdown"] < 20.0
    assert [round(link.uplink_bps or 0) for link in log.link_truth] == [5_850_000, 1_100_000]
    assert log.link_truth[1].at_s == pytest.approx(3.0, abs=0.3)
    assert 40 <= len(log.frames) <= 61
    assert all(0 <= frame.at_s <= 8 for frame in log.frames)
    assert {frame.truth for frame in log.frames} != {None}
    assert log.plans[0].at_s >= 0
    assert left_behind(process.pid) == []


@built
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_cleans_up_when_it_is_told_to_end(
    tmp_path: Path, namespaces: None, number: signal.Signals
) -> None:
    process = subprocess.Popen(
        [*COMMAND, "--seconds", "60", "--out", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        end_s = time.monotonic() + 60
        while not (tmp_path / "edge" / "measuring.log").exists() and time.monotonic() < end_s:
            time.sleep(0.1)
        assert left_behind(process.pid)
        time.sleep(1.0)
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode in (130, 143)
    assert "Traceback" not in said
    assert left_behind(process.pid) == []


@pytest.mark.alone  # another testbed would remove the rest before it is seen here
@built
def test_after_kill_9_the_nodes_die_and_the_next_run_removes_the_rest(
    tmp_path: Path, namespaces: None
) -> None:
    process = subprocess.Popen(
        [*COMMAND, "--seconds", "60", "--out", str(tmp_path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end_s = time.monotonic() + 90
        inside: list[int] = []
        while len(inside) < 3 and time.monotonic() < end_s:
            time.sleep(0.1)
            groups = [Path(path) for path in left_behind(process.pid) if path.startswith("/sys")]
            inside = [pid for group in groups for pid in _pids(group)]
        # Edge, head, manager, ...: one process a group.
        assert len(inside) >= 3
    finally:
        process.kill()
        process.wait()
    end_s = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in inside) and time.monotonic() < end_s:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in inside)
    assert left_behind(process.pid)
    remove_leftovers()
    assert left_behind(process.pid) == []


def _pids(group: Path) -> list[int]:
    return [int(word) for f in group.glob("*/cgroup.procs") for word in f.read_text().split()]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model", "nowhere"), "nowhere"),
        (("--car", "pi9"), "pi9"),
        (("--link", "carrier-pigeon"), "carrier-pigeon"),
        (("--seconds", "0"), "seconds"),
        (("--rate", "-1"), "rate_hz"),
    ],
)
@built
def test_what_makes_no_sense_is_one_clear_line(
    tmp_path: Path, namespaces: None, arguments: tuple[str, ...], words: str
) -> None:
    done = testbed(*arguments, "--out", str(tmp_path))
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_without_root_it_says_so_and_offers_the_emulator() -> None:
    # Imported before, because Python itself may lie where only root can read.
    program = (
        "import os, dapdee_ros.cli.testbed, dapdee_ros.testbed.veth_link\n"
        "from dapdee_ros.cli.main import main\n"
        "os.seteuid(65534)\n"
        "raise SystemExit(main(['testbed']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "root" in done.stderr
    assert "dapdee demo --link 4g" in done.stderr
