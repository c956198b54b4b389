"""Reports that cannot be true, from somebody else on the network, against the real nodes."""

from __future__ import annotations

import math
import signal
import time
from array import array
from typing import TYPE_CHECKING, Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from test_partition_manager import World

import dapdee_ros.msg as msg
from dapdee_ros.nodes import qos

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(180)]

START_S = 60.0
FAR = 1e12
EDGE = msg.InferenceResult.PLACE_EDGE
FALLBACK = msg.InferenceResult.PLACE_CAR_FALLBACK

FORGED = [
    ("inference", {"place": EDGE, "sent_bytes": 4000, "transfer_s": 0.01, "sent_echo_s": FAR}),
    ("inference", {"place": EDGE, "sent_bytes": 4000, "transfer_s": FAR, "sent_echo_s": 1.0}),
    ("inference", {"place": EDGE, "sent_bytes": 4000, "transfer_s": math.nan, "sent_echo_s": 1.0}),
    ("inference", {"place": EDGE, "sent_bytes": 4000, "sent_echo_s": 1.0, "cpu_wait_s": FAR}),
    ("inference", {"place": EDGE, "sent_bytes": 4000, "sent_echo_s": 1.0, "cpu_wait_s": -FAR}),
    ("inference", {"place": FALLBACK, "sent_bytes": 4000, "sent_echo_s": FAR}),
    ("inference", {"place": FALLBACK, "sent_bytes": 4000, "sent_echo_s": -FAR}),
    ("unused_answer", {"sent_bytes": 4000, "residence_s": -FAR, "sent_echo_s": 1.0}),
    ("unused_answer", {"sent_bytes": 4000, "residence_s": FAR, "sent_echo_s": -FAR}),
    ("edge_result", {"status": 4, "sent_bytes": 2**32 - 1, "sent_echo_s": -FAR}),
    ("edge_result", {"status": 0, "class_id": 1, "exit": 5, "score": 0.5, "sent_echo_s": FAR}),
]


def test_no_forged_time_hides_that_the_edge_has_died(ros: RosWorld) -> None:
    links: list[msg.LinkQuality] = ros.collect(msg.LinkQuality, "link_quality", qos.STATE)
    results: list[msg.InferenceResult] = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    tensors: list[msg.HeadTensor] = ros.collect(
        msg.HeadTensor, "head_tensor", qos.tensor_qos(True, 10)
    )
    probes: list[msg.Probe] = ros.collect(msg.Probe, "probe", qos.PROBE)
    rogue = ros.node("rogue")
    forge = {
        topic: rogue.create_publisher(msg.InferenceResult, topic, qos.RESULT)
        for topic in ("inference", "unused_answer", "edge_result")
    }
    echoes = rogue.create_publisher(msg.Probe, "probe_echo", qos.PROBE)
    ros.start("head", {"threads": 1, "deadline_s": 0.5})
    edge = ros.start("edge", {"threads": 1})
    pinned = "exit=5 boundary=image codec=f32"
    ros.start("manager", {}, "-p", f"partition_manager:pinned_plan:={pinned!r}")
    ros.start("camera", {"rate_hz": 10.0})
    ros.spin_until(
        lambda: any(r.place == EDGE for r in results) and links and links[-1].connected,
        START_S,
        "frames answered by the edge",
    )
    ros.spin_until(lambda: tensors and probes, START_S, "what crosses the link is heard here")
    ros.spin_until(
        lambda: all(p.get_subscription_count() for p in (*forge.values(), echoes)), START_S
    )
    session, number = tensors[-1].session, tensors[-1].frame_number + 10_000
    for at, (topic, fields) in enumerate(FORGED):
        forge[topic].publish(
            msg.InferenceResult(session=session, frame_number=number + at, **fields)
        )
        ros.spin_for(0.05)
    for sent_s in (FAR, -FAR, math.nan, math.inf):
        echoes.publish(
            msg.Probe(session=probes[-1].session, sequence=probes[-1].sequence, sent_s=sent_s)
        )
        ros.spin_for(0.05)
    ros.spin_for(1.0)
    assert links[-1].connected
    assert 0 < links[-1].uplink_bps < 1e11
    assert 0 <= links[-1].rtt_s < 1.0

    edge.process.send_signal(signal.SIGKILL)
    edge.process.wait()
    died_s = time.monotonic()
    ros.spin_until(lambda: not links[-1].connected, 10.0, "the silence to be noticed")
    assert time.monotonic() - died_s < 3.0


def refused(ros: RosWorld, node: str) -> dict[str, str]:
    """A dictionary that follows what a node says that it refused."""
    values: dict[str, str] = {}

    def take(report: DiagnosticArray) -> None:
        for status in report.status:
            if status.name == f"/{node}: refused":
                values.update({pair.key: pair.value for pair in status.values})

    ros.node("board").create_subscription(DiagnosticArray, "/diagnostics", take, qos.DIAGNOSTICS)
    return values


def test_the_manager_plans_by_nothing_that_cannot_be(ros: RosWorld) -> None:
    world = World(ros, gates=False)
    counted = refused(ros, "partition_manager")
    world.profile("car", 0.5)
    world.profile("edge", 0.01)
    world.next_plan()
    world.link(20.0)
    sends = world.next_plan()
    assert sends.boundary

    def send(kind: type, topic: str, profile: Any, *messages: Any) -> None:
        publisher = world.node.create_publisher(kind, topic, profile)
        ros.spin_until(publisher.get_subscription_count, 10.0, topic)
        for message in messages:
            publisher.publish(message)
            ros.spin_for(0.15)

    nan, inf = math.nan, math.inf
    for uplink, rtt_s in ((-1.0, 0.01), (inf, 0.01), (1e300, 0.01), (20e6, -1.0), (20e6, 1e9)):
        world.links.publish(
            msg.LinkQuality(uplink_bps=uplink, rtt_s=rtt_s, connected=True, uplink_spread=0.1)
        )
        ros.spin_for(0.15)
    send(
        msg.NodeLoad,
        "car/load",
        qos.STATE,
        *(
            msg.NodeLoad(cpu_ratio=cpu, memory_ratio=memory, battery_ratio=nan)
            for cpu, memory in ((nan, 0.1), (inf, 0.1), (-5.0, 0.1), (0.1, 300.0), (50.0, 0.1))
        ),
    )
    send(
        msg.InferenceResult,
        "inference",
        qos.RESULT,
        *(
            msg.InferenceResult(plan_epoch=sends.epoch, place=EDGE, **fields)
            for fields in (
                {"latency_s": 1e300},
                {"latency_s": nan},
                {"latency_s": 0.1, "head_s": inf},
                {"latency_s": 0.1, "transfer_s": -1.0},
                {"latency_s": 0.1, "residence_s": 1e9},
            )
        ),
    )
    # One camera frame a second, and then 2**63 of them; the plan must not have to keep up.
    for accepted in (1, 2**63, 2, 2**64 - 1):
        send(msg.FrameLedger, "ledger", qos.LATCHED, msg.FrameLedger(accepted=accepted, session=1))
    world.link(20.0)
    ros.spin_for(0.5)
    assert len(world.plans) == 2, [plan.reason for plan in world.plans]
    # All 15; a topic of depth 1 may lose one on a busy machine.
    ros.spin_until(lambda: int(counted.get("refused", 0)) >= 12, 20.0, f"refused, {counted}")


@pytest.mark.parametrize("each_s", [0.0, 5e-324, 200.0])
def test_a_profile_that_no_machine_has_is_refused(ros: RosWorld, each_s: float) -> None:
    world = World(ros, gates=False)
    names = list(world.profile_names())
    world.profiles["car"].publish(
        msg.DeviceProfile(
            model_id=world.model_id,
            device="forged",
            threads=1,
            node_names=names,
            node_seconds=array("d", [0.0] + [each_s] * (len(names) - 1)),
        )
    )
    world.profile("edge", 0.01)
    ros.spin_until(lambda: "profile of the car is not used" in world.program.output(), 10.0)
    assert not world.plans


def test_an_overhead_that_no_machine_has_is_refused(ros: RosWorld) -> None:
    world = World(ros, gates=False)
    counted = refused(ros, "partition_manager")
    world.profile("edge", 0.01)
    names = list(world.profile_names())
    forged = [
        {name: value}
        for name in (
            "overhead_frame_s",
            "overhead_crossing_s",
            "overhead_s_per_byte",
            "cut_s",
            "cut_s_per_byte",
        )
        for value in (-1e-6, math.nan, math.inf, 1e300)
    ]
    # A topic of depth 1 may lose some on a busy machine.
    for fields in 3 * forged:
        world.profiles["car"].publish(
            msg.DeviceProfile(
                model_id=world.model_id,
                device="forged",
                threads=1,
                node_names=names,
                node_seconds=array("d", [0.01] * len(names)),
                **fields,
            )
        )
        ros.spin_for(0.15)
    ros.spin_until(lambda: int(counted.get("refused", 0)) >= len(forged), 20.0, f"{counted}")
    assert "overhead frame_s is" in world.program.output()
    assert not world.plans
    world.profile("car", 0.5)
    world.next_plan()


def test_profiles_again_and_again_do_not_keep_the_manager_from_its_work(ros: RosWorld) -> None:
    world = World(ros, gates=False)
    world.profile("car", 0.5)
    world.profile("edge", 0.01)
    world.next_plan()
    for _ in range(100):
        world.profile("car", 0.5)
        ros.spin_for(0.01)
    assert world.program.output().count("policy exact made") == 1, "the same one, again"
    for tick in range(200):
        world.profile("edge", 0.01 + 1e-5 * tick)
        ros.spin_for(0.01)
    assert world.program.output().count("policy exact made") <= 3
    # The last one is what counts in the end.
    world.profile("edge", 2.0)
    world.link(20.0)
    ros.spin_until(lambda: len(world.plans) > 2 and not world.plans[-1].boundary, 15.0)
