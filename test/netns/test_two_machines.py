"""Car and edge as on two machines: each in a network namespace, a shaped link between them."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.report.journal import journal_of, read_log
from dapdee_ros.report.run_log import FrameRecord
from dapdee_ros.testbed.veth_link import VethLink, why_no_link

pytestmark = [pytest.mark.ros, pytest.mark.netns, pytest.mark.alone, pytest.mark.timeout(240)]

RATE_BPS = 1.1e6
FRAMES = 6
CARD = read_card(find_model("roadsigns"))


def answered_by_edge(log: Path) -> list[FrameRecord]:
    return [f for f in read_log(log).frames if f.place == "edge"] if log.exists() else []


@pytest.fixture
def link() -> Iterator[VethLink]:
    try:
        import dapdee_ros.msg  # noqa: F401
    except ImportError as error:
        pytest.skip(f"the messages are not built ({error}): make setup, source tools/env.sh")
    if reason := why_no_link():
        pytest.skip(reason)
    with VethLink(RATE_BPS) as link:
        yield link


def test_two_commands_and_the_transfer_takes_what_the_rate_says(
    link: VethLink, tmp_path: Path, ros_home: Path
) -> None:
    exits = len(CARD.dag.exits)
    # A large tensor, so that its bytes and not the answers make the time; and a pause between
    # frames, so that none waits for the one before it.
    part = CARD.dag.exit_part(exits)
    boundary = next(
        node.name
        for node in CARD.dag.nodes
        if node.name in part
        and node.output_bytes >= 60_000
        and CARD.dag.boundary(CARD.dag.ancestors([node.name]), exits) == (node.name,)
    )
    env = {
        **os.environ,
        "ROS_DOMAIN_ID": str(1 + os.getpid() % 100),
        "ROS_HOME": str(ros_home),
        # Shared memory would carry what the link should.
        "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4",
        "OMP_NUM_THREADS": "1",
    }
    env.pop("ROS_AUTOMATIC_DISCOVERY_RANGE", None)
    log = tmp_path / "run.json"
    model = ["--model", CARD.name]
    commands = {
        "edge": link.inside("edge", ["dapdee", "edge", *model, "--threads", "1"]),
        "car": link.inside(
            "car",
            [
                *("dapdee", "car", *model, "--source", "roadsigns", "--threads", "1"),
                *("--rate-hz", "0.6", "--deadline-s", "3"),
                *("--pinned-plan", f"exit={exits} boundary={boundary} codec=f32"),
            ],
        ),
        "recorder": link.inside(
            "car",
            [
                *("python3", str(Path(__file__).parents[2] / "scripts" / "run_recorder")),
                *("--ros-args", "-p", f"path:={log}", "-p", f"model:={CARD.name}"),
            ],
        ),
    }
    running = {}
    try:
        for name, command in commands.items():
            with (tmp_path / f"{name}.txt").open("wb") as output:
                running[name] = subprocess.Popen(
                    command, env=env, stdout=output, stderr=output, start_new_session=True
                )
        end = time.monotonic() + 120
        while len(answered_by_edge(journal_of(log))) < FRAMES and time.monotonic() < end:
            time.sleep(0.2)
    finally:
        for name in ("car", "edge", "recorder"):
            if name in running:
                running[name].send_signal(signal.SIGINT)
        for process in running.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    printed = "\n".join((tmp_path / f"{name}.txt").read_text(errors="replace") for name in commands)
    remote = answered_by_edge(log)
    assert len(remote) >= FRAMES, printed
    predicted_s = 8 * CARD.dag.by_name[boundary].output_bytes / RATE_BPS
    measured_s = statistics.median(f.transfer_s for f in remote)
    print(f"{measured_s:.4f} s measured, {predicted_s:.4f} s = bytes over rate")
    assert measured_s == pytest.approx(predicted_s, rel=0.15), printed
    assert all(f.sent_bytes == CARD.dag.by_name[boundary].output_bytes for f in remote)
