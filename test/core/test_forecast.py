"""What the plan in force is expected to take now, waiting included."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from simulation.small_world import PLANNING, problem

from dapdee_ros.core.forecast import MEMORY_S, NEWS, Forecast
from dapdee_ros.core.frames import Place
from dapdee_ros.core.manager import ManagerCore
from dapdee_ros.core.manager_events import (
    Action,
    AnswerFound,
    Ask,
    Event,
    Foretell,
    LinkEstimated,
    ProblemChanged,
    ResultCame,
    TellPlan,
    TimePassed,
)
from dapdee_ros.planning.plan import Crossing, Plan, Stage
from dapdee_ros.planning.policy import make_policy
from dapdee_ros.planning.sites import NO_HOP, Hop

LINK = Hop(8e6, rtt_s=0.01)
SENDING = Plan(
    2,
    stages=(Stage("car", 0.02), Stage("edge", 0.005)),
    crossings=(Crossing(("image",), "f32", 10_000, 0.02),),
    latency_s=0.045,
    expected_latency_s=0.045,
)
ALONE = Plan(2, stages=(Stage("car", 0.03),), latency_s=0.03, expected_latency_s=0.03)
PROBLEM = problem()


def result(place: Place = Place.EDGE, **changes: float) -> ResultCame:
    """A frame that took what ``SENDING`` says, but for ``changes``."""
    values: dict[str, Any] = {"latency_s": 0.045, "head_s": 0.02, "transfer_s": 0.02}
    if place is Place.EDGE:
        values |= {"tail_s": 0.005, "sent_bytes": 10_000}
    return ResultCame(1, place, 2, **(values | changes), car_slowdown=1.0, edge_slowdown=1.0)


def forecast(plan: Plan, *results: ResultCame, link: Hop = LINK) -> Forecast:
    learned = Forecast()
    learned.on_plan(plan)
    for number, of in enumerate(results):
        learned.on_result(0.1 * number, of, link)
    return learned


def test_what_frames_wait_beside_the_price_is_foreseen() -> None:
    # Behind others on the link, then in the mailbox and on the edge server: latency has it all.
    queued = result(latency_s=0.095, transfer_s=0.06)
    learned = forecast(SENDING, *[queued] * 5)
    assert learned.latency_s(0.5, SENDING) == pytest.approx(0.095)
    foreseen = learned.of(0.5, SENDING)
    assert foreseen is not None
    assert foreseen == replace(SENDING, expected_latency_s=foreseen.expected_latency_s)
    assert foreseen.expected_latency_s == pytest.approx(0.095)
    assert learned.of(0.5, SENDING) is None  # it was told


def test_a_frame_of_the_car_alone_waits_for_the_one_before() -> None:
    waited = result(Place.CAR, latency_s=0.05, head_s=0.03)
    assert forecast(ALONE, *[waited] * 3).latency_s(0.3, ALONE) == pytest.approx(0.05)


def test_there_is_no_news_where_frames_take_what_is_priced() -> None:
    learned = forecast(SENDING, *[result()] * 5)
    assert learned.latency_s(0.5, SENDING) == pytest.approx(0.045)
    assert learned.of(0.5, SENDING) is None


def test_another_price_is_told_before_there_are_frames() -> None:
    assert forecast(SENDING).of(0.5, SENDING) is None
    priced = replace(SENDING, expected_latency_s=0.06)
    assert forecast(SENDING).of(0.5, priced) == priced


def test_the_link_is_followed_at_once() -> None:
    learned = forecast(SENDING, *[result(latency_s=0.095)] * 5)
    slower = replace(SENDING, crossings=(Crossing(("image",), "f32", 10_000, 0.12),))
    assert learned.latency_s(0.5, slower) == pytest.approx(0.195)


def test_where_the_window_is_full_parts_that_make_up_for_each_other_do_not_matter() -> None:
    # Little's law: what the head took longer the frame waits less in flight.
    heads_s = (0.01, 0.01, 0.01, 0.08, 0.08)
    frames = [result(latency_s=0.15, head_s=s, transfer_s=0.145 - s) for s in heads_s]
    assert forecast(SENDING, *frames).latency_s(0.5, SENDING) == pytest.approx(0.15)


def test_a_stall_and_a_fallback_say_nothing_of_other_frames() -> None:
    learned = forecast(
        SENDING,
        result(),
        result(latency_s=3.0),
        result(),
        *[result(Place.CAR_FALLBACK, latency_s=0.9)] * 9,
    )
    assert learned.latency_s(1.0, SENDING) == pytest.approx(0.045)


def test_too_few_frames_old_ones_and_those_of_another_plan_do_not_count() -> None:
    queued = result(latency_s=0.095)
    assert forecast(SENDING, *[queued] * 2).latency_s(0.2, SENDING) == 0.045
    learned = forecast(SENDING, *[queued] * 3)
    assert learned.latency_s(0.2 + MEMORY_S + 0.1, SENDING) == 0.045
    learned = forecast(SENDING, *[queued] * 3)
    learned.on_plan(replace(SENDING, expected_latency_s=0.06))
    assert learned.latency_s(0.3, SENDING) == pytest.approx(0.095)  # the same, priced anew
    learned.on_plan(ALONE)
    assert learned.latency_s(0.3, ALONE) == 0.03
    learned.on_plan(SENDING)  # two plans that take turns
    assert learned.latency_s(0.3, SENDING) == pytest.approx(0.095)
    for gate in range(1, 9):
        learned.on_plan(replace(SENDING, gate=gate))
    learned.on_plan(SENDING)
    assert learned.latency_s(0.3, SENDING) == 0.045


def test_probes_that_waited_longer_than_frames_do_are_made_up_for() -> None:
    slow_probes = Hop(8e6, rtt_s=0.07)
    priced = replace(
        SENDING,
        crossings=(Crossing(("image",), "f32", 10_000, 0.08),),
        expected_latency_s=0.105,
    )
    learned = forecast(priced, *[result()] * 4, link=slow_probes)
    assert learned.latency_s(0.4, priced) == pytest.approx(0.045)
    # Until the frames of then are forgotten, what is left may be less than nothing.
    assert learned.latency_s(0.4, SENDING) == 0.045


def test_behind_a_gate_the_mean_over_those_that_stay_and_those_that_go_counts() -> None:
    gated = replace(SENDING, gate=1, gate_threshold=0.9, gate_share=0.25)
    stay = result(Place.CAR, latency_s=0.03)
    go = result(latency_s=0.085)
    learned = forecast(gated, *[stay, go] * 4)
    assert learned.latency_s(0.8, gated) == pytest.approx(0.25 * 0.03 + 0.75 * 0.085)
    assert forecast(gated, *[go] * 8).latency_s(0.8, gated) == gated.expected_latency_s


def test_what_makes_no_sense_is_not_learned() -> None:
    learned = forecast(SENDING, *[result(latency_s=math.nan)] * 5)
    assert learned.latency_s(0.5, SENDING) == 0.045
    learned = forecast(SENDING, *[result(latency_s=1.0)] * 5, link=NO_HOP)
    assert learned.latency_s(0.5, SENDING) == 0.045


def drive(manager: ManagerCore, now_s: float, event: Event) -> list[Action]:
    """What a manager does about an event, questions answered at once."""
    actions = manager.handle(now_s, event)
    for asked in [action.question for action in actions if isinstance(action, Ask)]:
        actions += drive(manager, now_s, AnswerFound(asked, asked.answer()))
    return actions


def foretold(actions: list[Action]) -> list[Foretell]:
    return [action for action in actions if isinstance(action, Foretell)]


def busy_manager(
    waited_s: float, policy: str = "exact"
) -> tuple[ManagerCore, TellPlan, list[Foretell]]:
    """A manager, and what it said in 3 s in which frames wait so long beside what is priced."""
    manager = ManagerCore(replace(PLANNING, policy=policy), PROBLEM)
    link = LinkEstimated(8e6, 0.01, 0.1, True)
    drive(manager, 0.0, link)
    drive(manager, 0.0, ProblemChanged(PROBLEM, make_policy(policy, PROBLEM)))
    told, said = manager.told, []
    assert told is not None
    plan = told.plan
    for number in range(1, 61):
        now_s = 0.05 * number
        came = ResultCame(
            told.epoch,
            Place.EDGE,
            plan.exit_number,
            plan.expected_latency_s + waited_s,
            plan.head_s,
            plan.transfer_s + waited_s,
            1.0,
            1.0,
            tail_s=plan.edge_s,
            sent_bytes=round(plan.boundary_bytes),
        )
        said += foretold(drive(manager, now_s, came))
        said += foretold(drive(manager, now_s, TimePassed()))
    return manager, told, said


def test_the_manager_says_what_frames_take_while_they_wait() -> None:
    manager, told, said = busy_manager(0.1)
    assert manager.told == told  # the plan is what it was
    (first,) = said  # said once, because it does not change any more
    assert first.told.plan.key == told.plan.key
    assert first.told.epoch == told.epoch
    took_s = told.plan.expected_latency_s + 0.1
    assert first.told.plan.expected_latency_s == pytest.approx(took_s, rel=NEWS)
    # What plans are compared by, and what load is told by, is the price without waiting.
    assert first.told.plan.latency_s == pytest.approx(told.plan.latency_s, rel=0.01)


def test_the_manager_says_nothing_where_frames_take_what_the_plan_says() -> None:
    assert not busy_manager(0.0)[2]


def test_a_plan_that_is_predicted_anew_is_followed_by_what_its_frames_wait() -> None:
    manager, told, _ = busy_manager(0.1, "edge-only")
    # Answers come after more than twice the time, so the head is told of the same plan again.
    again, foreseen = (
        action
        for action in drive(manager, 3.1, LinkEstimated(8e6, 0.1, 0.1, True))
        if isinstance(action, TellPlan | Foretell)
    )
    assert isinstance(again, TellPlan)
    assert isinstance(foreseen, Foretell)
    assert again.plan.key == told.plan.key
    waiting_s = foreseen.told.plan.expected_latency_s - again.plan.expected_latency_s
    assert waiting_s == pytest.approx(0.1, rel=NEWS)
