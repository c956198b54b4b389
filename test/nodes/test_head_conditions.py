"""The head's own conditions: no forged plan makes it send what has to stay on the car."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

import dapdee_ros.msg as msg
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.nodes import qos

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

CARD = read_card(find_model("roadsigns"))
START_S = 60.0


def test_a_forged_plan_gets_no_image_out_of_a_car_that_keeps_it(ros: RosWorld) -> None:
    exits = len(CARD.dag.exits)
    statuses: dict[str, DiagnosticStatus] = {}
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    frames = ros.collect(msg.HeadTensor, "head_tensor", qos.tensor_qos(True, 10))

    def take(array: DiagnosticArray) -> None:
        statuses.update({status.name: status for status in array.status})

    ros.node("board").create_subscription(DiagnosticArray, "/diagnostics", take, qos.DIAGNOSTICS)
    node = ros.node("forger")
    plans = node.create_publisher(msg.PartitionPlan, "plan", qos.LATCHED)
    ros.start("head", {"threads": 1, "keep_raw_on_car": True, "plan_timeout_s": 600.0})
    ros.spin_until(plans.get_subscription_count, START_S, "the head")
    ros.start("camera", {"rate_hz": 10.0})
    ros.spin_until(lambda: results, START_S, "results")

    def plan(epoch: int, boundary: list[str]) -> msg.PartitionPlan:
        return msg.PartitionPlan(
            epoch=epoch,
            model_id=CARD.model_id,
            exit=exits,
            boundary=boundary,
            codec="f32",
            deadline_s=0.3,
            max_in_flight=4,
            predicted_quality=1.0,
        )

    def until_refused(count: int) -> None:
        def counted() -> bool:
            status = statuses.get("/head: refused")
            values = {v.key: v.value for v in status.values} if status else {}
            return int(values.get("refused (plan)", 0)) >= count

        ros.spin_until(counted, 10.0, f"{count} refused plans")

    # Every name of the image; whatever else is sent beside it.
    for epoch, form in enumerate(sorted(CARD.dag.image_forms), 1):
        plans.publish(plan(epoch, [form]))
        until_refused(epoch)
    assert "keep_raw_on_car" in statuses["/head: refused"].message
    since = len(results)
    ros.spin_until(lambda: len(results) >= since + 40, START_S, "40 results")
    assert not frames
    assert {(r.plan_epoch, r.place) for r in results} == {(0, msg.InferenceResult.PLACE_CAR)}

    # A plan that sends something else is followed, and stays when a forged one comes after it.
    shallow = CARD.dag.exit_part(1)
    inside = [n.name for n in CARD.dag.nodes if n.name in shallow][-2]
    boundary = list(CARD.dag.boundary(CARD.dag.ancestors([inside]), exits))
    assert CARD.dag.image_forms.isdisjoint(boundary)
    plans.publish(plan(50, boundary))
    ros.spin_until(lambda: frames and results[-1].plan_epoch == 50, 10.0, "what may be sent")
    plans.publish(plan(51, [CARD.dag.input]))
    started_s = time.monotonic()
    since = len(results)
    ros.spin_until(lambda: len(results) >= since + 20, START_S, "20 more results")
    assert time.monotonic() - started_s < START_S
    assert results[-1].plan_epoch == 50
    assert all(spec.name not in CARD.dag.image_forms for f in frames for spec in f.tensors)


def test_a_head_refuses_what_is_not_accurate_enough(ros: RosWorld) -> None:
    exits = len(CARD.dag.exits)
    floor = max(CARD.calibration.exit_quality if CARD.calibration else CARD.exit_quality) - 1e-3
    plans = ros.node("plans").create_publisher(msg.PartitionPlan, "plan", qos.LATCHED)
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    head = ros.start("head", {"threads": 1, "quality_floor": floor, "plan_timeout_s": 600.0})
    ros.spin_until(plans.get_subscription_count, START_S, "the head")
    ros.start("camera", {"rate_hz": 10.0})
    ros.spin_until(lambda: results, START_S, "results")
    plan = msg.PartitionPlan(
        epoch=1, model_id=CARD.model_id, exit=1, deadline_s=0.3, max_in_flight=4
    )
    plans.publish(plan)
    ros.spin_until(lambda: "quality_floor" in head.output(), 10.0, "the refusal")
    plan.epoch, plan.exit = 2, exits
    plans.publish(plan)
    ros.spin_until(lambda: results[-1].plan_epoch == 2, 10.0, "the deepest exit")
