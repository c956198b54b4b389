"""What the manager's deadline is set to, the head keeps from the next frame on; over real DDS."""

from __future__ import annotations

import signal
from statistics import median
from typing import TYPE_CHECKING

import pytest
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters

import dapdee_ros.msg as msg
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.nodes import qos

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.alone, pytest.mark.timeout(180)]

CARD = read_card(find_model("roadsigns"))
START_S = 60.0


def test_the_head_keeps_the_deadline_that_the_manager_is_set_to(ros: RosWorld) -> None:
    exits = len(CARD.dag.exits)
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    plans = ros.collect(msg.PartitionPlan, "plan", qos.LATCHED)
    # Its own deadline, for as long as there is no plan, is another.
    ros.start("head", {"threads": 1, "deadline_s": 2.0})
    edge = ros.start("edge", {"threads": 1})
    ros.start(
        "partition_manager",
        {
            "pinned_plan": f"exit={exits} boundary={CARD.dag.input} codec=f32",
            "deadline_s": 0.3,
            "max_in_flight": 4,
        },
    )
    ros.start("camera", {"rate_hz": 10.0})
    place = msg.InferenceResult
    ros.spin_until(
        lambda: sum(r.place == place.PLACE_EDGE for r in results) >= 5, START_S, "the edge answers"
    )
    edge.process.send_signal(signal.SIGSTOP)

    def fallbacks(since: int) -> list[msg.InferenceResult]:
        return [r for r in results[since:] if r.place == place.PLACE_CAR_FALLBACK and r.sent_bytes]

    stopped = len(results)
    ros.spin_until(lambda: len(fallbacks(stopped)) >= 10, START_S, "the car steps in")
    before = fallbacks(stopped)[2:]
    assert 0.15 < median(r.latency_s for r in before) < 0.33

    client = ros.node("sets").create_client(SetParameters, "/partition_manager/set_parameters")
    ros.spin_until(client.service_is_ready, START_S)
    told = len(plans)
    value = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=0.15)
    request = SetParameters.Request(parameters=[Parameter(name="deadline_s", value=value)])
    (outcome,) = ros.call(client, request).results
    assert outcome.successful, outcome.reason
    ros.spin_until(lambda: len(plans) > told, what="a plan with the new deadline")
    newest = max(r.frame_number for r in results)
    last = plans[-1]
    assert (last.exit, last.boundary, last.deadline_s) == (exits, [CARD.dag.input], 0.15)
    changed = len(results)
    ros.spin_until(lambda: len(fallbacks(changed)) >= 20, START_S, "fallbacks after the change")
    # At most the frames that were under way keep the old deadline.
    flying = 4 + 2
    after = [r for r in fallbacks(changed) if r.frame_number > newest + flying]
    assert {r.plan_epoch for r in after} == {last.epoch}
    assert median(r.latency_s for r in after) < 0.15
    assert max(r.latency_s for r in after) < 0.3
