"""When a better plan is worth changing to."""

import math
from dataclasses import replace
from typing import Any

import pytest

from dapdee_ros.planning.keeper import Cause, Change, KeeperSettings, PlanKeeper, worth_sending
from dapdee_ros.planning.objective import PERIOD
from dapdee_ros.planning.plan import Crossing, Plan, Stage


def plan_sending(
    *boundary: str, transfer_s: float = math.nan, edge_s: float = math.nan, **facts: Any
) -> Plan:
    if not boundary:
        return Plan(3, **facts)
    stages = (Stage("car"), Stage("edge", edge_s))
    return Plan(3, stages, (Crossing(boundary, seconds=transfer_s),), **facts)


SLOW = plan_sending("a", expected_latency_s=0.10, period_s=0.1, quality=0.9)
FASTER = plan_sending("b", expected_latency_s=0.08, period_s=0.1, quality=0.9)
SLIGHTLY = replace(FASTER, expected_latency_s=0.095)
DEEPER = replace(SLOW, exit_number=4, expected_latency_s=0.15, quality=0.95)


@pytest.fixture
def keeper() -> PlanKeeper:
    keeper = PlanKeeper(KeeperSettings(margin=0.1, min_dwell_s=0.5))
    assert keeper.consider(0.0, SLOW, None) == Change(Cause.FIRST, SLOW)
    return keeper


def test_a_gain_beyond_the_margin_waits_for_the_dwell(keeper: PlanKeeper) -> None:
    assert keeper.consider(0.4, FASTER, SLOW) is None
    change = keeper.consider(0.6, FASTER, SLOW)
    assert change == Change(Cause.SAVING, FASTER, SLOW)
    assert change.words() == "saves 20% of the latency"
    assert keeper.plan is FASTER


def test_the_more_it_saves_the_sooner_it_is_taken(keeper: PlanKeeper) -> None:
    much = replace(FASTER, expected_latency_s=0.02)
    assert keeper.consider(0.12, much, SLOW) is None
    change = keeper.consider(0.13, much, SLOW)
    assert change is not None
    assert (change.cause, change.saving) == (Cause.SAVING, pytest.approx(0.8))


def test_the_same_plan_over_another_server_is_another_plan(keeper: PlanKeeper) -> None:
    stages = (Stage("car"), Stage("edge2"))
    other = replace(SLOW, stages=stages, expected_latency_s=0.08)
    change = keeper.consider(0.6, other, SLOW)
    assert change is not None and change.cause is Cause.SAVING
    # Back to a favourite one goes without a gain, but not to a clearly worse one, nor at once.
    worse = replace(SLOW, expected_latency_s=0.085)
    assert keeper.consider(1.2, worse, other, favourite=True) is None
    as_good = replace(SLOW, expected_latency_s=0.083)
    assert keeper.consider(0.7, as_good, other, favourite=True) is None
    assert keeper.consider(1.2, as_good, other) is None
    change = keeper.consider(1.2, as_good, other, favourite=True)
    assert change is not None and change.cause is Cause.FAVOURITE


def test_it_says_when_the_dwell_is_over(keeper: PlanKeeper) -> None:
    assert keeper.reconsider_s == math.inf
    assert keeper.consider(0.1, FASTER, SLOW) is None
    assert keeper.reconsider_s == pytest.approx(0.5)
    assert keeper.consider(0.2, SLIGHTLY, SLOW) is None
    assert keeper.reconsider_s == math.inf
    assert keeper.consider(0.3, FASTER, SLOW) is None
    assert keeper.consider(keeper.reconsider_s, FASTER, SLOW)
    assert keeper.reconsider_s == math.inf


def test_a_gain_within_the_margin_is_not_worth_it(keeper: PlanKeeper) -> None:
    assert keeper.consider(9.0, SLIGHTLY, SLOW) is None
    assert keeper.plan is SLOW


def test_the_same_plan_is_no_change(keeper: PlanKeeper) -> None:
    assert keeper.consider(9.0, replace(SLOW, expected_latency_s=0.01), SLOW) is None


def test_the_same_plan_is_told_again_when_its_answers_take_another_time(keeper: PlanKeeper) -> None:
    unknown, soon, later, late = (
        plan_sending("a", transfer_s=of_s, edge_s=0.01, expected_latency_s=0.1)
        for of_s in (math.inf, 0.02, 0.04, 0.06)
    )
    keeper = PlanKeeper(KeeperSettings(min_dwell_s=0.5))
    keeper.consider(0.0, unknown, None)
    assert keeper.consider(0.1, unknown, None, follow=True) is None
    assert keeper.consider(0.4, soon, soon) is None
    assert keeper.consider(0.6, soon, soon) == Change(Cause.OUTDATED, soon, soon)
    assert keeper.consider(9.0, later, soon) is None
    assert keeper.consider(9.0, late, soon)
    assert keeper.consider(9.1, unknown, unknown) is None


def test_quality_that_fits_is_taken_even_if_slower(keeper: PlanKeeper) -> None:
    change = keeper.consider(9.0, DEEPER, SLOW)
    assert change == Change(Cause.QUALITY, DEEPER, SLOW)
    assert change.words("mAP") == "mAP 0.950 instead of 0.900 fits now"


def test_quality_is_not_given_up_for_time_while_the_plan_in_force_is_in_bounds() -> None:
    keeper = PlanKeeper(KeeperSettings(quality_margin=0.005))
    keeper.consider(0.0, DEEPER, None)
    assert keeper.consider(9.0, FASTER, DEEPER) is None
    nearly = replace(FASTER, quality=0.946)
    assert keeper.consider(9.0, nearly, DEEPER) == Change(Cause.SAVING, nearly, DEEPER)
    keeper.consider(20.0, DEEPER, None)
    assert keeper.consider(20.1, FASTER, replace(DEEPER, late=True))


def test_quality_within_the_tolerance_is_no_reason() -> None:
    keeper = PlanKeeper(KeeperSettings(quality_margin=0.06))
    keeper.consider(0.0, SLOW, None)
    assert keeper.consider(9.0, DEEPER, SLOW) is None


def test_what_would_be_late_or_cannot_be_kept_is_left_at_once(keeper: PlanKeeper) -> None:
    late = replace(SLOW, late=True)
    assert keeper.consider(0.01, SLIGHTLY, late) == Change(Cause.LATE, SLIGHTLY, late)
    assert keeper.consider(0.02, SLOW, None) == Change(Cause.IMPOSSIBLE, SLOW)


def test_a_late_plan_does_not_displace_one_in_time(keeper: PlanKeeper) -> None:
    assert keeper.consider(9.0, replace(FASTER, late=True), SLOW) is None


def test_a_changed_wish_is_followed_at_once_and_only_once(keeper: PlanKeeper) -> None:
    keeper.release()
    assert keeper.consider(0.01, SLIGHTLY, SLOW) == Change(Cause.RELEASED, SLIGHTLY, SLOW)
    assert keeper.consider(0.02, SLOW, SLIGHTLY) is None


def test_another_policy_is_obeyed_after_the_dwell(keeper: PlanKeeper) -> None:
    worse = replace(SLOW, stages=(Stage("car"),), crossings=(), expected_latency_s=1.0)
    assert keeper.consider(0.1, worse, SLOW, follow=True) is None
    assert keeper.consider(0.6, worse, SLOW, follow=True) == Change(Cause.POLICY, worse, SLOW)


def test_sending_has_to_gain_more_than_the_margin() -> None:
    alone = replace(SLOW, stages=(Stage("car"),), crossings=())
    assert not worth_sending(SLIGHTLY, alone, 0.1)
    assert worth_sending(FASTER, alone, 0.1)
    assert worth_sending(SLIGHTLY, replace(alone, late=True), 0.1)
    assert worth_sending(DEEPER, alone, 0.1)
    by_period = replace(SLIGHTLY, objective=PERIOD, period_s=0.05)
    assert worth_sending(by_period, replace(alone, objective=PERIOD), 0.1)


BEHIND = replace(DEEPER, late=True, expected_latency_s=0.2, period_s=0.2)
"""Of high quality, but frames come faster."""


def test_of_late_plans_the_one_that_loses_fewer_frames_is_taken_whatever_its_quality(
    keeper: PlanKeeper,
) -> None:
    shallow = replace(SLOW, late=True, expected_latency_s=0.25, period_s=0.12)
    late = replace(SLOW, late=True)
    keeper.consider(1.0, BEHIND, late, follow=True)
    assert keeper.plan is BEHIND
    change = keeper.consider(2.0, shallow, BEHIND)
    assert change == Change(Cause.LESS_BEHIND, shallow, BEHIND)
    assert keeper.consider(3.0, BEHIND, shallow) is None


@pytest.mark.parametrize(
    ("changes", "taken"),
    [
        ({"period_s": 0.19}, False),
        ({"expected_latency_s": 0.19}, False),
        ({"expected_latency_s": 0.15}, True),
        ({"expected_latency_s": 0.15, "period_s": 0.21}, True),
        ({"expected_latency_s": 0.05, "period_s": 0.3}, False),
    ],
)
def test_late_plans_take_turns_only_for_a_clear_gain(
    keeper: PlanKeeper, changes: dict[str, Any], taken: bool
) -> None:
    keeper.consider(1.0, BEHIND, replace(SLOW, late=True), follow=True)
    other = replace(BEHIND, exit_number=2, **changes)
    assert (keeper.consider(2.0, other, BEHIND) is not None) is taken
