"""A head on a machine that stalls learns to begin its fallbacks sooner."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from sensor_msgs.msg import Image
from std_msgs.msg import Header

import dapdee_ros.msg as msg
from dapdee_ros.datasets.roadsigns import RoadSigns
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.images import rgb_to_image

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.alone, pytest.mark.timeout(180)]

START_S = 60.0
DEADLINE_S = 0.4
PERIOD_S = 0.1
STALL_S, BETWEEN_STALLS_S = 0.045, 0.085
"""Three times the margin of a head that has learned nothing, and not in step with the frames."""
LEARNING, COUNTED = 80, 100


@contextmanager
def stalling(pid: int) -> Iterator[None]:
    """As a hypervisor or a quota does it: the process stands still again and again."""
    ended = threading.Event()

    def stall() -> None:
        while not ended.wait(BETWEEN_STALLS_S):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(STALL_S)
            os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=stall)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_fallbacks_come_in_time_once_stalls_are_known(ros: RosWorld) -> None:
    card = read_card(find_model("roadsigns"))
    results: dict[int, msg.InferenceResult] = {}
    node = ros.node("stalled")

    def take(result: msg.InferenceResult) -> None:
        results[result.header.stamp.sec] = result

    node.create_subscription(msg.InferenceResult, "inference", take, qos.RESULT)
    images = node.create_publisher(Image, "image_raw", qos.IMAGE)
    plans = node.create_publisher(msg.PartitionPlan, "plan", qos.LATCHED)
    head = ros.start("head", {"threads": 1, "plan_timeout_s": 600.0})
    # Every frame is sent, and nobody is there to answer.
    plans.publish(
        msg.PartitionPlan(
            epoch=1,
            model_id=card.model_id,
            exit=len(card.dag.exits),
            boundary=[card.dag.input],
            codec="f32",
            deadline_s=DEADLINE_S,
            max_in_flight=16,
            sites=["car", "edge"],
            predicted_site_s=[0.0, 0.01],
            predicted_hop_s=[0.02],
        )
    )
    picture = RoadSigns(seed=0, size=(128, 128)).frame(0).image

    def show(number: int) -> None:
        header = Header()
        header.stamp.sec = number
        images.publish(rgb_to_image(picture, header.stamp, "camera"))
        ros.spin_for(PERIOD_S)

    until_s = time.monotonic() + START_S
    while not any(r.plan_epoch for r in results.values()) and time.monotonic() < until_s:
        show(0)
    with stalling(head.pid):
        for number in range(1, LEARNING + COUNTED + 1):
            show(number)
        ros.spin_for(2 * DEADLINE_S)
    counted = [r for number, r in results.items() if number > LEARNING]
    late = [r.latency_s - DEADLINE_S for r in counted if r.latency_s > DEADLINE_S]
    print(f"{len(late)} of {len(counted)} late, by {1e3 * max(late, default=0.0):.1f} ms at most")
    assert len(counted) > 0.9 * COUNTED
    assert all(r.place == r.PLACE_CAR_FALLBACK for r in counted)
    # A fixed margin of 15 ms leaves a quarter of them late.
    assert len(late) <= 0.05 * len(counted)
