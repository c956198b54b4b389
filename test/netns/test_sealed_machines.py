"""Two machines with a key: only sealed messages cross, and the car's inside is out of reach."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.report.run_log import RunLog
from dapdee_ros.sealing.key_file import new_ring, save_new
from dapdee_ros.testbed.veth_link import VethLink, why_no_link

pytestmark = [pytest.mark.ros, pytest.mark.netns, pytest.mark.timeout(240)]

CARD = read_card(find_model("roadsigns"))
CROSSING = {"/head_tensor", "/edge_result", "/probe", "/probe_echo"}

# Somebody at the edge's end of the link who names the car's address: what is there for it to see?
LOOK = """
import json, sys, time
import rclpy
found = {}
contexts = []
for domain in map(int, sys.argv[1:3]):
    context = rclpy.context.Context()
    rclpy.init(args=[], context=context, domain_id=domain)
    contexts.append((domain, rclpy.create_node("outsider", context=context)))
wanted, end_s = set(sys.argv[3:]), time.monotonic() + 40
while time.monotonic() < end_s:
    for domain, node in contexts:
        found[domain] = {
            topic: kinds
            for topic, kinds in node.get_topic_names_and_types()
            if topic not in ("/rosout", "/parameter_events")
        }
    if wanted <= set(found[domain]):
        # What is found here lies open; whatever lies beside it in the other domain would be found
        # as fast: nodes announce themselves every 5 s.
        end_s = min(end_s, time.monotonic() + 5.5)
        wanted = {"nothing more"}
    time.sleep(0.1)
print(json.dumps(found), flush=True)
"""


@pytest.fixture
def link() -> Iterator[VethLink]:
    try:
        import dapdee_ros.msg  # noqa: F401
    except ImportError as error:
        pytest.skip(f"the messages are not built ({error}): make setup, source tools/env.sh")
    if reason := why_no_link():
        pytest.skip(reason)
    with VethLink(20e6) as link:
        yield link


def test_only_sealed_messages_cross_and_the_cars_inside_is_out_of_reach(
    link: VethLink, tmp_path: Path, ros_home: Path
) -> None:
    key = tmp_path / "pair.json"
    save_new(new_ring("pair", "2026-01-01T00:00:00Z"), key)
    domain = 1 + os.getpid() % 100
    env = {
        **os.environ,
        "ROS_DOMAIN_ID": str(domain),
        "ROS_HOME": str(ros_home),
        "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4",
        "OMP_NUM_THREADS": "1",
        "DAPDEE_LINK_KEY": str(key),
    }
    env.pop("ROS_AUTOMATIC_DISCOVERY_RANGE", None)
    log = tmp_path / "run.json"
    recorder = str(Path(__file__).parents[2] / "scripts" / "run_recorder")
    plan = f"exit={len(CARD.dag.exits)} boundary={CARD.dag.input} codec=f32"
    model = ["--model", CARD.name]
    commands = {
        "edge": link.inside("edge", ["dapdee", "edge", *model, "--threads", "1"]),
        "car": link.inside(
            "car",
            [
                *("dapdee", "car", *model, "--source", "roadsigns", "--threads", "1"),
                *("--rate-hz", "5", "--deadline-s", "3"),
                *("--pinned-plan", plan),
            ],
        ),
        "recorder": link.inside(
            "car",
            [
                *(sys.executable, recorder, "--ros-args", "-p", f"path:={log}"),
                *("-p", f"model:={CARD.name}"),
            ],
        ),
    }
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            with (tmp_path / f"{name}.txt").open("wb") as output:
                running[name] = subprocess.Popen(
                    command, env=env, stdout=output, stderr=output, start_new_session=True
                )
        said = tmp_path / "car.txt"
        end_s = time.monotonic() + 90
        while f"send {CARD.dag.input}" not in said.read_text(errors="replace"):
            assert running["car"].poll() is None, said.read_text(errors="replace")
            assert time.monotonic() < end_s, said.read_text(errors="replace")
            time.sleep(0.2)
        outside = {**env, "ROS_STATIC_PEERS": "10.77.0.1"}
        look = [sys.executable, "-c", LOOK, str(domain), str(domain + 1), *sorted(CROSSING)]
        done = subprocess.run(
            link.inside("edge", look), env=outside, capture_output=True, text=True, timeout=60
        )
        seen = {int(number): topics for number, topics in json.loads(done.stdout).items()}
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
    printed = "\n".join((tmp_path / f"{n}.txt").read_text(errors="replace") for n in commands)
    remote = [f for f in RunLog.load(log).frames if f.place == "edge"]
    assert len(remote) >= 10, printed
    inner, outer = seen[domain], seen[domain + 1]
    # The edge's own inside is on this side of the link, but on its loopback, too.
    assert not {"/image_raw", "/plan", "/inference", "/link_quality"} & set(inner), inner
    assert not any("car" in topic for topic in inner), inner
    assert set(outer) >= CROSSING
    assert {kind for kinds in outer.values() for kind in kinds} == {"dapdee_ros/msg/Sealed"}
