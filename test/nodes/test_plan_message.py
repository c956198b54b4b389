"""A plan as a message: lists of sites and hops, and what a head makes of lists that do not fit."""

from __future__ import annotations

import math

import pytest
from builtin_interfaces.msg import Time

import dapdee_ros.msg as msg
from dapdee_ros.core.frames import Server
from dapdee_ros.core.manager_events import TellPlan
from dapdee_ros.nodes.conversions import message_to_frame_plan, plan_to_message
from dapdee_ros.planning.plan import Crossing, Plan, Stage

pytestmark = pytest.mark.ros

ALONE = Plan(2, (Stage("car", 0.05),))
ONE_HOP = Plan(2, (Stage("car", 0.02), Stage("edge", 0.03)), (Crossing(("a",), "u8", 900, 0.04),))
TWO_HOPS = Plan(
    2,
    (Stage("car", 0.02), Stage("edge", 0.03), Stage("cloud", 0.01)),
    (Crossing(("a",), "u8", 900, 0.04), Crossing(("b",), "u8", 300, 0.08)),
)


def message_of(plan: Plan, *spares: Server) -> msg.PartitionPlan:
    told = TellPlan(plan, 7, "first plan", "exact", 0.3, 4, 1e6, 0.1, spares)
    return plan_to_message(told, stamp=Time(), model_id="m", car_id="car")


@pytest.mark.parametrize(
    ("plan", "sites", "hop_bytes", "remote_s"),
    [
        (ALONE, ["car"], [], 0.0),
        (ONE_HOP, ["car", "edge"], [900], 0.07),
        (TWO_HOPS, ["car", "edge", "cloud"], [900, 300], 0.16),
    ],
)
def test_sites_and_hops_are_lists(
    plan: Plan, sites: list[str], hop_bytes: list[int], remote_s: float
) -> None:
    message = message_of(plan)
    assert list(message.sites) == sites
    assert list(message.predicted_site_s) == [stage.seconds for stage in plan.stages]
    assert list(message.predicted_hop_s) == [crossing.seconds for crossing in plan.crossings]
    assert list(message.predicted_hop_bytes) == hop_bytes
    assert message_to_frame_plan(message).predicted_remote_s == pytest.approx(remote_s)


@pytest.mark.parametrize(
    ("site_s", "hop_s"),
    [([], []), ([0.1], [0.1]), ([0.1, 0.1], []), ([0.1, 0.1], [math.nan]),
     ([0.1, math.inf], [-math.inf])],
)  # fmt: skip
def test_of_predictions_that_do_not_fit_nothing_is_known(
    site_s: list[float], hop_s: list[float]
) -> None:
    message = message_of(ONE_HOP)
    message.predicted_site_s, message.predicted_hop_s = site_s, hop_s
    assert math.isnan(message_to_frame_plan(message).predicted_remote_s)


def test_a_plan_that_takes_forever_is_told_as_unknown() -> None:
    forever = Plan(2, ONE_HOP.stages, (Crossing(("a",), "u8", 900, math.inf),))
    message = message_of(forever)
    assert math.isnan(message.predicted_hop_s[0])


def test_a_plan_names_its_server_and_those_that_can_stand_in() -> None:
    spares = (Server("edge2", 0.08, 0.05), Server("edge3", 0.09, 0.06))
    plan = message_to_frame_plan(message_of(ONE_HOP, *spares))
    assert (plan.server, plan.spares) == ("edge", spares)
    own, *others = plan.servers
    assert own.name == "edge"
    assert (own.remote_s, own.transfer_s) == pytest.approx((0.07, 0.04))
    assert tuple(others) == spares
    assert message_to_frame_plan(message_of(ALONE)).spares == ()


def test_of_spares_that_do_not_fit_none_is_used() -> None:
    message = message_of(ONE_HOP, Server("edge2", 0.08, 0.05))
    message.spare_transfer_s = []
    assert message_to_frame_plan(message).spares == ()
