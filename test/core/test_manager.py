"""The manager's rules event by event, and under any order of events."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation.small_world import PLANNING, problem

from dapdee_ros.core.frames import Place
from dapdee_ros.core.manager import SAY_ALIVE_S, ManagerCore
from dapdee_ros.core.manager_events import (
    Action,
    AnswerFound,
    Ask,
    Complain,
    Event,
    FramesCounted,
    LinkEstimated,
    LoadMeasured,
    ProblemChanged,
    ProblemRefused,
    Question,
    ResultCame,
    SayAlive,
    SettingsChanged,
    TellPlan,
    TimePassed,
    WakeAt,
)
from dapdee_ros.core.planning_settings import PlanningSettings
from dapdee_ros.estimation.health import Level
from dapdee_ros.graph.dag import GraphError
from dapdee_ros.planning.errors import PlanningError, PolicyError
from dapdee_ros.planning.overhead import Overhead
from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.policy import (
    Policy,
    Problem,
    Situation,
    make_policy,
    policy_names,
    sends_plain,
    traits_of,
)

FAST = LinkEstimated(8e6, 0.01, 0.1, True)
DEAD = LinkEstimated(math.nan, math.nan, math.inf, False)
PROBLEM = problem()
PLANNED = ProblemChanged(PROBLEM, make_policy("exact", PROBLEM))
Kind = TypeVar("Kind")


def core(planning: PlanningSettings = PLANNING) -> ManagerCore:
    return ManagerCore(planning, PROBLEM)


def the(kind: type[Kind], actions: list[Action]) -> Kind:
    (found,) = (action for action in actions if isinstance(action, kind))
    return found


def result(epoch: int, place: Place = Place.CAR, **changes: float) -> ResultCame:
    values: dict[str, Any] = {"latency_s": 0.2, "head_s": 0.2, "transfer_s": 0.0, **changes}
    return ResultCame(epoch, place, 2, **values, car_slowdown=1.0, edge_slowdown=math.nan)


def test_nothing_is_told_before_there_is_a_problem() -> None:
    manager = core()
    assert not manager.handle(0.0, FAST)
    assert not manager.handle(0.1, SettingsChanged(PLANNING))
    told = the(TellPlan, manager.handle(0.2, PLANNED))
    assert (told.epoch, told.plan.boundary) == (1, ("image",))
    assert told.why.startswith("profiles of car and edge are there; ")
    assert (manager.told, manager.told_s) == (told, 0.2)


def test_a_dead_link_brings_the_car_home_and_a_living_one_back() -> None:
    manager = core()
    assert the(TellPlan, manager.handle(0.0, PLANNED)).plan.boundary == ()
    assert the(TellPlan, manager.handle(1.0, FAST)).plan.boundary == ("image",)
    assert not manager.handle(1.1, FAST)
    told = the(TellPlan, manager.handle(1.2, DEAD))
    assert (told.epoch, told.plan.boundary) == (3, ())
    assert "cannot be kept" in told.why


def test_signs_of_life_follow_the_first_plan_every_second() -> None:
    manager = core()
    wake = the(WakeAt, manager.handle(5.0, PLANNED))
    assert wake.at_s == 5.0 + SAY_ALIVE_S
    assert manager.handle(5.5, TimePassed()) == [WakeAt(6.0)]  # too early: no harm, once more
    assert manager.handle(6.01, TimePassed()) == [SayAlive(1), WakeAt(6.01 + SAY_ALIVE_S)]


def test_what_had_to_wait_for_the_dwell_is_decided_without_news() -> None:
    manager = core(replace(PLANNING, min_dwell_s=0.5))
    manager.handle(0.0, PLANNED)
    # What saves nearly all of the latency waits for a fraction of the dwell.
    (wake,) = manager.handle(0.01, FAST)
    assert isinstance(wake, WakeAt)
    assert 0.01 < wake.at_s < 0.5
    told = the(TellPlan, manager.handle(wake.at_s, TimePassed()))
    assert told.plan.boundary == ("image",)


def test_a_new_deadline_is_told_at_once_with_the_plan_in_force() -> None:
    manager = core()
    manager.handle(0.0, PLANNED)
    first = the(TellPlan, manager.handle(1.0, FAST))
    told = the(TellPlan, manager.handle(2.0, SettingsChanged(replace(PLANNING, deadline_s=0.25))))
    assert (told.epoch, told.plan.key, told.deadline_s) == (3, first.plan.key, 0.25)
    assert not manager.handle(3.0, SettingsChanged(replace(PLANNING, deadline_s=0.25)))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"policy": "some.module:Class"}, PolicyError),
        ({"policy": "best"}, PolicyError),
        ({"pinned_plan": "exit=2 boundary=nowhere"}, GraphError),
        ({"pinned_plan": "exit=two"}, PlanningError),
        ({"pinned_plan": "exit=2 boundary=image", "keep_raw_on_car": True}, PolicyError),
    ],
)
def test_settings_that_make_no_sense_change_nothing(
    change: dict[str, object], error: type[Exception]
) -> None:
    manager = core()
    manager.handle(0.0, PLANNED)
    with pytest.raises(error):
        manager.handle(1.0, SettingsChanged(replace(PLANNING, **change)))  # type: ignore[arg-type]
    assert manager.settings == PLANNING
    assert the(TellPlan, manager.handle(2.0, FAST)).policy == "exact"


class Slow:
    """Answers as ``exact`` does, but does not say that it is quick."""

    def __init__(self, of: Problem) -> None:
        self._exact = make_policy("exact", of)

    def plan(self, situation: Situation) -> Plan:
        return self._exact.plan(situation)


def test_a_slow_policy_is_asked_and_an_outdated_answer_ignored() -> None:
    manager = core()
    slow = ProblemChanged(PROBLEM, Slow(PROBLEM))
    before = the(Ask, manager.handle(0.0, slow)).question
    assert not before.is_quick
    assert not before.follows_gain
    now = the(Ask, manager.handle(0.1, SettingsChanged(replace(PLANNING, risk=0.4)))).question
    assert not manager.handle(0.2, AnswerFound(before, before.answer()))
    told = the(TellPlan, manager.handle(0.3, AnswerFound(now, now.answer())))
    assert told.why.startswith("a parameter was set; ")
    heard = the(Ask, manager.handle(0.4, FAST)).question
    assert heard.after(now).occasion == "a parameter was set"


def test_a_failing_policy_is_complained_about_and_stood_in_for() -> None:
    class Failing:
        def plan(self, situation: Situation) -> Plan:
            raise RuntimeError("out of ideas" * 1000)

    manager = core()

    def answered(now_s: float, event: Event) -> list[Action]:
        question = the(Ask, manager.handle(now_s, event)).question
        return manager.handle(now_s, AnswerFound(question, question.answer()))

    actions = answered(0.0, ProblemChanged(PROBLEM, Failing()))
    complaint = the(Complain, actions)
    assert "out of ideas" in complaint.text
    assert len(complaint.text) < 400
    assert not complaint.repeated
    assert the(TellPlan, actions).plan.boundary == ()
    assert the(Complain, answered(1.0, FAST)).repeated
    assert manager.complaint == complaint.text


def test_profiles_that_cannot_be_planned_with_leave_the_old_ones_in_force() -> None:
    manager = core()
    manager.handle(0.0, PLANNED)
    assert the(Complain, manager.handle(1.0, ProblemRefused("torn"))).text == "cannot plan: torn"
    assert manager.complaint == "cannot plan: torn"
    assert the(TellPlan, manager.handle(2.0, FAST)).plan.boundary == ("image",)
    assert not manager.complaint


def test_results_tell_of_slowdowns_and_of_the_plan_in_force() -> None:
    manager = core()
    manager.handle(0.0, PLANNED)
    manager.handle(0.5, replace(result(7), car_slowdown=3.0))
    assert manager.drift.frames == 0
    assert manager.situation(0.5).car_slowdown == pytest.approx(3.0, rel=0.01)
    manager.handle(0.6, result(1))
    assert (manager.drift.frames, manager.drift.measured_s) == (1, 0.2)
    assert manager.head.health(0.7).level is Level.OK
    manager.handle(1.0, replace(PLANNED, problem=problem()))
    assert manager.situation(1.0).car_slowdown == 1.0


def test_a_plan_has_to_keep_up_with_the_frames_that_are_counted() -> None:
    manager = core(replace(PLANNING, frame_utilisation=0.5))
    assert manager.situation(0.0).most_period_s == pytest.approx(0.5 * 0.3 / 3)
    for second in range(10):
        manager.handle(float(second), FramesCounted(1, 5 * second))
    assert manager.situation(10.0).most_period_s == pytest.approx(0.5 * 0.2)


def test_policies_say_what_they_are() -> None:
    traits = {name: traits_of(make_policy(name, PROBLEM)) for name in ("exact", "oracle", "dads")}
    assert traits["exact"] == (True, True, False, False)
    assert traits["oracle"] == (False, False, True, False)
    assert traits["dads"] == (False, False, False, True)
    crowded = replace(PROBLEM, most_cuts=1)
    assert traits_of(make_policy("exact", crowded)) == (True, False, False, False)


def test_who_sends_plain_tensors_may_be_given_a_codec() -> None:
    names = [name for name in policy_names() if sends_plain(name)]
    assert set(names) >= {"neurosurgeon", "dads", "edgent", "eddi", "dapdee", "edge-only"}
    for name in ("exact", "oracle", "device-only", "edge-only-jpeg", "branchynet", "dads+u8", "x"):
        assert not sends_plain(name)


def policy_of(slow: bool) -> Policy:
    return Slow(PROBLEM) if slow else make_policy("exact", PROBLEM)


events = st.one_of(
    st.builds(
        LinkEstimated,
        st.one_of(st.floats(1e3, 1e8), st.just(math.nan), st.just(0.0), st.just(math.inf)),
        st.one_of(st.floats(0, 1), st.just(math.nan), st.just(-1.0)),
        st.one_of(st.floats(0, 2), st.just(math.inf), st.just(math.nan)),
        st.booleans(),
    ),
    st.builds(LoadMeasured, st.floats(0, 1), st.floats(0, 1), st.just(math.nan)),
    st.builds(
        result,
        st.integers(0, 5),
        st.sampled_from(Place),
        latency_s=st.floats(0, 2),
        transfer_s=st.floats(0, 1),
    ),
    st.builds(FramesCounted, st.integers(0, 1), st.integers(0, 1000)),
    st.sampled_from(
        [
            PLANNED,
            ProblemRefused("torn"),
            TimePassed(),
            *(SettingsChanged(replace(PLANNING, deadline_s=s)) for s in (0.1, 0.5)),
            SettingsChanged(replace(PLANNING, mode="auto", pinned_plan="exit=1")),
            SettingsChanged(replace(PLANNING, max_in_flight=1, quality_floor=1.0)),
        ]
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.booleans(), st.lists(st.tuples(st.floats(0, 1.5), events), max_size=40))
def test_what_holds_whatever_comes(slow: bool, script: list[tuple[float, Event]]) -> None:
    manager = core()
    planned = ProblemChanged(PROBLEM, policy_of(slow))
    now_s, epoch, wake_s = 0.0, 0, math.inf
    waiting: Question | None = None
    for wait_s, event in script:
        now_s += wait_s
        event = planned if isinstance(event, ProblemChanged) else event
        batch = [event] if waiting is None else [AnswerFound(waiting, waiting.answer()), event]
        waiting = None
        for one in batch:
            if isinstance(one, TimePassed):
                wake_s = math.inf
            for action in manager.handle(now_s, one):
                if isinstance(action, TellPlan):
                    epoch += 1
                    assert action.epoch == epoch
                    terms = (manager.settings.deadline_s, manager.settings.max_in_flight)
                    assert (action.deadline_s, action.max_in_flight) == terms
                elif isinstance(action, WakeAt):
                    wake_s = action.at_s
                elif isinstance(action, Ask):
                    assert slow
                    waiting = action.question
                elif isinstance(action, SayAlive):
                    assert action.epoch == epoch
        # Whoever has told a plan has to be woken up again to say that it lives.
        assert epoch == 0 or wake_s < math.inf
    if manager.told is not None:
        assert manager.told.epoch == epoch


def with_overhead(car: Overhead) -> Problem:
    return replace(PROBLEM, profiles=(replace(PROBLEM.car, overhead=car), replace(PROBLEM.edge)))


def test_overheads_begin_as_profiled_and_are_learned_from_results() -> None:
    known = with_overhead(Overhead(0.004, 0.002, 1e-8))
    manager = ManagerCore(PLANNING, known)
    manager.handle(0.0, FAST)
    told = the(TellPlan, manager.handle(0.1, ProblemChanged(known, make_policy("exact", known))))
    assert told.plan.boundary == ("image",)
    # Nothing is computed on the car: 4 + 2 ms, and 12,000 bytes.
    assert told.plan.head_s == pytest.approx(0.00612)
    for number in range(40):
        came = ResultCame(
            1, Place.EDGE, 2, latency_s=0.1, head_s=0.050, transfer_s=0.02, car_slowdown=math.nan,
            edge_slowdown=2.0, tail_s=0.026, sent_bytes=12_000,
        )  # fmt: skip
        manager.handle(1.0 + 0.1 * number, came)
    car, edge = manager.situation(5.0).sites
    assert car.overhead.seconds((12_000,)) == pytest.approx(0.050, rel=0.05)
    # The tail is profiled with 10 ms, which took 20; 6 ms were beside it.
    assert edge.overhead.seconds((12_000,)) == pytest.approx(0.006, rel=0.1)


def test_where_sending_costs_the_car_most_of_its_time_it_computes_alone_for_a_while() -> None:
    manager = ManagerCore(replace(PLANNING, mode="throughput", deadline_s=2.0), PROBLEM)
    manager.handle(0.0, FAST)
    plans = [the(TellPlan, manager.handle(0.1, PLANNED))]
    assert plans[0].plan.boundary
    assert plans[0].plan.period_s < 0.05
    now_s = 1.0
    while now_s < 30.0:
        sends = bool(plans[-1].plan.boundary)
        came = ResultCame(
            plans[-1].epoch, Place.EDGE if sends else Place.CAR, 2, latency_s=0.3,
            head_s=0.6 if sends else 0.11, transfer_s=0.0, car_slowdown=1.0, edge_slowdown=1.0,
            tail_s=0.012 if sends else 0.0, sent_bytes=4_000 if sends else 0,
        )  # fmt: skip
        for event in (came, FAST):
            now_s += 0.05
            plans += [a for a in manager.handle(now_s, event) if isinstance(a, TellPlan)]
    # Again and again it is tried whether sending still costs that much.
    assert {bool(told.plan.boundary) for told in plans[1:]} == {False, True}


def test_a_car_that_only_sends_images_is_found_to_be_loaded() -> None:
    manager = core()
    manager.handle(0.0, FAST)
    told = the(TellPlan, manager.handle(0.1, PLANNED))
    assert told.plan.boundary == ("image",)

    def frames(first: int, count: int, head_s: float) -> float:
        for number in range(first, first + count):
            came = ResultCame(
                1, Place.EDGE, 2, latency_s=0.1, head_s=head_s, transfer_s=0.02,
                car_slowdown=math.nan, edge_slowdown=1.0, tail_s=0.011, sent_bytes=12_000,
            )  # fmt: skip
            manager.handle(1.0 + 0.1 * number, came)
        return manager.situation(1.0 + 0.1 * (first + count)).car_slowdown

    assert frames(0, 40, 0.005) == pytest.approx(1.0, rel=0.05)
    # Nothing of the network runs on the car; converting takes three times as long from now on.
    assert frames(40, 20, 0.015) == pytest.approx(3.0, rel=0.2)
    # One stall is no load.
    assert frames(60, 20, 0.005) == pytest.approx(1.0, rel=0.2)
    assert frames(80, 1, 0.5) < 1.5
    # What is measured on the network counts more.
    manager.handle(10.0, ResultCame(1, Place.CAR, 2, 0.3, 0.3, 0.0, 2.0, math.nan))
    assert manager.situation(10.0).car_slowdown == pytest.approx(2.0)
