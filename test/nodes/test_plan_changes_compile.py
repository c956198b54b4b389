"""Plans whose parts were never compiled before, over real nodes: no frame is lost or late."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest
from builtin_interfaces.msg import Time
from sensor_msgs.msg import Image

import dapdee_ros.msg as msg
from dapdee_ros.core.manager_events import TellPlan
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.graph.cuts import cuts
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.conversions import plan_to_message
from dapdee_ros.planning.plan import Crossing, Plan, Stage

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.alone, pytest.mark.timeout(300)]

CHANGES = 100
CARD = read_card(find_model("roadsigns"))
RATE_HZ = 5.0
DEADLINE_S = 0.5
# Of one plan before the next, so that some start under it and one is being computed at the change.
PLAN_S = 0.6


def forced_plans() -> list[Plan]:
    """Cuts of all exits in random order, each another one, none at the image."""
    found = []
    for number in range(1, len(CARD.dag.exits) + 1):
        inner = [cut for cut in cuts(CARD.dag, number) if cut.boundary and len(cut.nodes) > 1]
        found += [(number, cut.boundary) for cut in inner]
    chosen = random.Random(7).sample(found, CHANGES)
    return [
        Plan(
            number,
            (Stage("car", 0.02), Stage("edge", 0.01)),
            (Crossing(boundary, "f32", 10_000, 0.01),),
            latency_s=0.04,
            expected_latency_s=0.04,
            period_s=0.02,
            quality=0.9,
            reason="forced",
        )
        for number, boundary in chosen
    ]


def test_a_hundred_forced_changes_to_parts_never_compiled_before(ros: RosWorld) -> None:
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    ledgers = ros.collect(msg.FrameLedger, "ledger", qos.LATCHED)
    profiles = {
        side: ros.collect(msg.DeviceProfile, f"{side}/profile", qos.LATCHED)
        for side in ("car", "edge")
    }
    node = ros.node("forcing")
    plans = node.create_publisher(msg.PartitionPlan, "plan", qos.LATCHED)
    images = node.create_publisher(Image, "image_raw", qos.IMAGE)
    for executable in ("head", "edge"):
        ros.start(
            executable,
            {"threads": 1, "engine": "onnxruntime"}
            | ({"deadline_s": DEADLINE_S} if executable == "head" else {}),
        )
    ros.spin_until(lambda: all(profiles.values()), 60.0, "both nodes")
    height, width = CARD.input_size
    sent = 0

    def send_image() -> None:
        nonlocal sent
        sent += 1
        pixels = random.Random(sent).randbytes(3 * height * width)
        stamp = Time(sec=sent)
        message = Image(height=height, width=width, encoding="rgb8", step=3 * width, data=pixels)
        message.header.stamp = stamp
        images.publish(message)

    ros.spin_until(images.get_subscription_count, 20.0, "the head's subscription")
    timer = node.create_timer(1 / RATE_HZ, send_image)
    ros.spin_until(lambda: len(results) >= 3, 20.0, "frames on the car alone")
    for epoch, plan in enumerate(forced_plans(), start=1):
        told = TellPlan(plan, epoch, "forced", "test", DEADLINE_S, 4, 1e7, 0.0)
        plans.publish(plan_to_message(told, stamp=Time(), model_id=CARD.model_id))
        ros.spin_for(PLAN_S)
    node.destroy_timer(timer)
    ros.spin_until(
        lambda: ledgers and ledgers[-1].in_flight == 0 and ledgers[-1].accepted == len(results),
        10.0,
        "every frame's end",
    )
    last = ledgers[-1]
    assert last.drops == 0, list(zip(last.drop_reasons, last.drop_counts, strict=True))
    assert last.accepted >= CHANGES * PLAN_S * RATE_HZ * 0.8
    late = [result for result in results if result.latency_s > DEADLINE_S]
    slowest_s = max(result.latency_s for result in results)
    epochs = {result.plan_epoch for result in results if result.plan_epoch}
    by_edge = sum(result.place == result.PLACE_EDGE for result in results)
    print(
        f"{last.accepted} frames, {by_edge} by the edge, under {len(epochs)} plans, slowest "
        f"{slowest_s:.3f} s, {os.cpu_count()} cores"
    )
    assert not late
    assert len(epochs) > 0.8 * CHANGES
    assert by_edge > 0.8 * len(results)
