"""A plan that is pinned before there is a link reaches the head, which refuses what is infinite."""

from __future__ import annotations

import math

from builtin_interfaces.msg import Time

from dapdee_ros.core.manager_events import TellPlan
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.nodes.conversions import message_to_frame_plan, plan_to_message
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.from_card import problem_of
from dapdee_ros.planning.policy import Situation
from dapdee_ros.planning.sites import Hop, car_and_edge

CARD = read_card(find_model("roadsigns"))


def test_how_long_it_takes_is_unknown_not_infinite() -> None:
    seconds = dict.fromkeys((node.name for node in CARD.dag.nodes), 1e-3)
    profile = DeviceProfile(CARD.model_id, "test", 1, seconds, "", {})
    situation = Situation(car_and_edge(), (Hop(0.0, connected=False),), 0.3, "latency")
    plan = situation.price(
        problem_of(CARD, profile, profile, ["f32"]),
        len(CARD.dag.exits),
        (CARD.dag.input,),
        "f32",
        "pinned",
    )
    assert math.isinf(plan.transfer_s)
    message = plan_to_message(
        TellPlan(plan, 1, "pinned", "pinned", 0.3, 4, 0.0, 0.0),
        stamp=Time(),
        model_id=CARD.model_id,
    )
    assert math.isnan(message_to_frame_plan(message).predicted_remote_s)
