"""The edge's node before a Ray cluster, over real DDS: it only takes frames and answers them."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.ray_cluster import are_gone, kill_a_replica, needs_ray, processes_below, until
from support.without_torch import WithoutTorch

import dapdee_ros.msg as msg
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.nodes import qos

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]

CARD = read_card(find_model("roadsigns"))
SENDS = f"exit={len(CARD.dag.exits)} boundary={CARD.dag.input} codec=f32"
START_S = 120.0
DEADLINE_S = 2.0


@pytest.mark.ray
@needs_ray
def test_a_gateway_answers_computes_nothing_and_survives_its_replicas(ros: RosWorld) -> None:
    results = ros.collect(msg.InferenceResult, "inference", qos.tensor_qos(True, 1000))
    ledgers = ros.collect(msg.FrameLedger, "ledger", qos.LATCHED)
    profiles = ros.collect(msg.DeviceProfile, "edge/profile", qos.LATCHED)
    links = ros.collect(msg.LinkQuality, "link_quality", qos.STATE)
    deadline = f"partition_manager:deadline_s:={DEADLINE_S}"
    car = [
        ros.start("manager", {}, "-p", deadline, "-p", f"partition_manager:pinned_plan:='{SENDS}'")
    ]
    ros.meet(links)
    edge = ros.start("edge", {"engine": "ray", "threads": 1, "ray_replicas": 2})
    car.append(ros.start("head", {"threads": 1, "deadline_s": DEADLINE_S}))
    car.append(ros.start("camera", {"rate_hz": 10.0}))

    def of_edge() -> list[msg.InferenceResult]:
        return [r for r in results if r.place == msg.InferenceResult.PLACE_EDGE]

    ros.spin_until(lambda: len(of_edge()) >= 20, START_S, "answers of the replicas")
    assert list(profiles[-1].node_names) == [node.name for node in CARD.dag.nodes]
    assert sum(profiles[-1].node_seconds) > 0
    # It has no engine of its own.
    maps = Path(f"/proc/{edge.pid}/maps").read_text()
    assert "onnxruntime" not in maps and "libtorch" not in maps

    started = processes_below(edge.pid)
    kill_a_replica(edge.pid)
    first = len(of_edge())
    ros.spin_until(lambda: len(of_edge()) >= first + 30, START_S, "answers after the kill")
    numbers = [r.frame_number for r in results]
    assert len(set(numbers)) == len(numbers), "a frame was answered twice"
    for program in reversed(car):
        program.stop(with_signal=signal.SIGINT)
    last = ledgers[-1]
    assert last.accepted == last.results + last.drops + last.in_flight
    assert last.deadline_misses <= 2, "frames of the killed replica were not given to the other one"
    # As Ctrl-C does, though Ray takes the other signal for itself.
    assert edge.stop(20.0, with_signal=signal.SIGTERM) == 0
    assert "frames answered" in edge.output()
    until(lambda: are_gone(started), "the end of the cluster's processes", 10.0)


def test_without_ray_it_says_how_to_get_it(ros: RosWorld, tmp_path: Path) -> None:
    without = WithoutTorch(tmp_path / "without", ["ray"])
    edge = ros.start("edge", {"engine": "ray"}, env=without.env)
    assert edge.wait(60.0) == 1
    said = "the engine 'ray' needs Ray, which is not installed: pip install 'dapdee_ros[ray]'"
    assert said in edge.output()


def test_an_engine_that_replicas_do_not_have_is_named(ros: RosWorld) -> None:
    edge = ros.start("edge", {"engine": "torch", "ray": "auto"})
    assert edge.wait(60.0) == 1
    assert "compute with onnxruntime" in edge.output()
