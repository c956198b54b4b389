"""The emulated link over real DDS: messages take what the rate says, and nothing is altered."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import pytest

import dapdee_ros.msg as msg
from dapdee_ros.nodes import qos

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

TENSORS = qos.tensor_qos(True, 4)
START_S = 30.0


def send(ros: RosWorld, publisher: object, n_bytes: int, number: int) -> msg.HeadTensor:
    message = msg.HeadTensor(frame_number=number, sent_s=time.monotonic(), codec="f32")
    message.data = bytes([number]) * n_bytes
    publisher.publish(message)  # type: ignore[attr-defined]
    return message


@pytest.mark.alone
def test_a_message_takes_its_bytes_over_the_rate(ros: RosWorld) -> None:
    ros.start("link_emulator", {"link": "3g", "delay_s": 0.02})
    node = ros.node("near")
    publisher = node.create_publisher(msg.HeadTensor, "head_tensor", TENSORS)
    arrived: list[tuple[float, msg.HeadTensor]] = []
    node.create_subscription(
        msg.HeadTensor,
        "emulated/head_tensor",
        lambda message: arrived.append((time.monotonic(), message)),
        TENSORS,
    )
    ros.spin_until(
        lambda: (
            publisher.get_subscription_count() and node.count_publishers("emulated/head_tensor")
        ),
        START_S,
    )
    ros.spin_for(0.5)
    taken_s: list[float] = []
    for number in range(1, 8):
        sent = send(ros, publisher, 27_500, number)
        ros.spin_until(lambda: len(arrived) > len(taken_s))
        at_s, message = arrived[-1]
        assert message == sent
        taken_s.append(at_s - sent.sent_s)
    # 27.5 kB and a few headers at 1.1 Mbit/s, and 20 ms of delay.
    assert statistics.median(taken_s) == pytest.approx(0.2 + 0.02, rel=0.15)


def test_a_queue_that_is_full_drops_and_a_dead_link_lets_nothing_through(ros: RosWorld) -> None:
    emulator = ros.start("link_emulator", {"link": "steps:0@0", "queue_bytes": 20_000})
    node = ros.node("near")
    publisher = node.create_publisher(msg.HeadTensor, "head_tensor", TENSORS)
    truth = ros.collect(msg.LinkQuality, "link_truth", qos.STATE)
    arrived = ros.collect(msg.HeadTensor, "emulated/head_tensor", TENSORS)
    ros.spin_until(publisher.get_subscription_count, START_S)
    for number in range(1, 4):
        send(ros, publisher, 15_000, number)
        ros.spin_for(0.2)
    ros.spin_until(lambda: truth)
    assert not truth[-1].connected
    assert not arrived
    assert emulator.stop() == 0
    assert "0 messages relayed, 2 dropped" in emulator.output()


def test_a_trace_begins_with_the_first_result_however_long_the_start_takes(ros: RosWorld) -> None:
    ros.start("link_emulator", {"link": "steps:1.1@0,0@1.5"})
    results = ros.node("head").create_publisher(msg.InferenceResult, "inference", qos.RESULT)
    truth = ros.collect(msg.LinkQuality, "link_truth", qos.STATE)
    ros.spin_until(lambda: truth and results.get_subscription_count(), START_S)
    ros.spin_for(2.0)
    assert {t.uplink_bps for t in truth} == {1.1e6}
    begun_s = time.monotonic()
    results.publish(msg.InferenceResult())
    ros.spin_until(lambda: not truth[-1].connected, START_S)
    assert time.monotonic() - begun_s > 1.45
    # A second one changes nothing.
    ros.spin_until(lambda: not results.get_subscription_count())


@pytest.mark.parametrize("link", ["carrier-pigeon", "steps:fast@0", "/dev/null/no-trace.up"])
def test_a_link_that_makes_no_sense_is_refused(ros: RosWorld, link: str) -> None:
    program = ros.start("link_emulator", {"link": link})
    assert program.wait(START_S) == 2
    assert "parameter link" in program.output()
