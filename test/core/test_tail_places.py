"""An edge that computes on several machines: several runs in work, and the same rules."""

from __future__ import annotations

import heapq
import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dapdee_ros.core.fair_queue import QueueBounds
from dapdee_ros.core.frames import Status
from dapdee_ros.core.tail import BUSY_LATE, TailCore
from dapdee_ros.core.tail_events import (
    BatchEnded,
    BatchesReady,
    PlacesSet,
    PrepareBatches,
    RunTail,
    SendAnswer,
    TailAction,
    TailComputed,
    TailFailed,
    TailStopped,
    TailUnready,
    TensorsArrived,
)
from dapdee_ros.tasks.classification import Classification

SIGN = Classification(1, 0.9, (1,), (0.9,))


def frame(car: int, number: int, within_s: float = 0.0) -> TensorsArrived:
    return TensorsArrived(number, car, 2, 5.0, 100, f"car{car}", "part", answer_within_s=within_s)


def runs(actions: list[TailAction]) -> list[tuple[int, int, int]]:
    """Place, car and number of what is begun."""
    return [(a.place, a.frame.session, a.frame.number) for a in actions if isinstance(a, RunTail)]


def answers(actions: list[TailAction]) -> list[tuple[int, int, Status]]:
    return [
        (a.answer.session, a.answer.number, a.answer.status)
        for a in actions
        if isinstance(a, SendAnswer)
    ]


def done(place: int, *, waited_s: float = 0.0) -> TailComputed:
    return TailComputed(SIGN, 0.1, 0.1, place=place, waited_s=waited_s)


def test_as_many_runs_are_in_work_as_there_are_places() -> None:
    core = TailCore(places=2)
    assert runs(core.handle(0.0, frame(1, 1))) == [(0, 1, 1)]
    assert runs(core.handle(0.0, frame(2, 1))) == [(1, 2, 1)]
    assert core.handle(0.0, frame(3, 1)) == []
    assert core.queue_depth == 3
    # They end in any order, and the next one takes the place that is free.
    actions = core.handle(0.1, done(1))
    assert answers(actions) == [(2, 1, Status.OK)] and runs(actions) == [(1, 3, 1)]
    assert answers(core.handle(0.2, done(0))) == [(1, 1, Status.OK)]
    with pytest.raises(ValueError, match="no frame is in work"):
        core.handle(0.2, done(0))
    assert answers(core.handle(0.3, done(1))) == [(3, 1, Status.OK)]


def test_places_come_and_go_while_frames_are_in_work() -> None:
    core = TailCore(places=1)
    for car in range(5):
        core.handle(0.0, frame(car, 1))
    assert runs(core.handle(0.1, PlacesSet(3))) == [(1, 1, 1), (2, 2, 1)]
    assert runs(core.handle(0.2, PlacesSet(1))) == []
    assert runs(core.handle(0.3, done(0))) == runs(core.handle(0.4, done(2))) == []
    assert runs(core.handle(0.5, done(1))) == [(0, 3, 1)]
    # One place is always there.
    core.handle(0.5, PlacesSet(0))
    assert runs(core.handle(0.6, done(0))) == [(0, 4, 1)]


def test_an_answer_does_not_count_what_a_run_only_waited() -> None:
    core = TailCore(places=2)
    core.handle(1.0, frame(1, 1))
    (action,) = core.handle(1.5, done(0, waited_s=0.375))
    assert isinstance(action, SendAnswer)
    assert (action.answer.tail_s, action.answer.residence_s) == (0.125, 0.5)


def learnt(places: int, *, takes_s: float) -> TailCore:
    """A core that knows what a frame takes, with all places taken since 10 s."""
    core = TailCore(QueueBounds(frames=8), places=places)
    core.handle(0.0, frame(0, 1))
    core.handle(takes_s, done(0))
    for number in range(places):
        core.handle(10.0, frame(0, 2 + number))
    return core


@pytest.mark.parametrize("places", [1, 4])
def test_a_frame_that_cannot_be_in_time_on_any_place_is_refused_when_it_comes(places: int) -> None:
    core = learnt(places, takes_s=0.1)
    # The places are free 0.1 s from now, and it takes as long itself.
    assert answers(core.handle(10.0, frame(1, 1, within_s=0.19))) == [(1, 1, Status.BUSY)]
    assert core.handle(10.0, frame(1, 2, within_s=0.21)) == []
    # What waits before it takes one place 0.1 s, of four only a quarter of that.
    actions = core.handle(10.0, frame(1, 3, within_s=0.26))
    assert answers(actions) == ([(1, 3, Status.BUSY)] if places == 1 else [])
    assert [a.answer.detail for a in actions if isinstance(a, SendAnswer)] in ([], [BUSY_LATE])


def served_s(places: int, shares: dict[str, float], seconds: float) -> Counter[int]:
    """Seconds of the places that cars have had which always have two frames waiting."""
    core = TailCore(QueueBounds(frames=2), shares, places=places)
    ends: list[tuple[float, int, int, float]] = []
    had: Counter[int] = Counter()
    number, now_s = 0, 0.0

    def take(actions: list[TailAction]) -> None:
        nonlocal number
        for action in actions:
            if isinstance(action, RunTail):
                car = action.frame.session
                # One car's frames take twice as long.
                takes_s = 0.02 if car == 2 else 0.01
                heapq.heappush(ends, (now_s + takes_s, action.place, car, takes_s))
                number += 1
                take(core.handle(now_s, frame(car, number)))

    for car in (1, 2, 3):
        for _ in range(2 + places):
            number += 1
            take(core.handle(0.0, frame(car, number)))
    while now_s < seconds:
        now_s, place, car, takes_s = heapq.heappop(ends)
        had[car] += takes_s  # type: ignore[assignment]
        take(core.handle(now_s, done(place)))
    return had


@pytest.mark.parametrize("places", [1, 2, 4, 8])
def test_shares_hold_in_seconds_whatever_the_number_of_places(places: int) -> None:
    shares = {"car1": 2.0, "car2": 1.0, "car3": 1.0}
    had = served_s(places, shares, 20.0)
    for car, share in enumerate(shares.values(), start=1):
        assert had[car] / sum(had.values()) == pytest.approx(share / 4, rel=0.05), had


def test_a_batch_is_in_work_beside_other_runs() -> None:
    core = TailCore(QueueBounds(frames=4), most_batch=2, places=2)
    in_work: list[RunTail] = []
    told: list[tuple[int, int, Status]] = []

    def take(actions: list[TailAction]) -> None:
        told.extend(answers(actions))
        for action in actions:
            if isinstance(action, RunTail):
                in_work.append(action)
            elif isinstance(action, PrepareBatches):
                take(core.handle(1.0, BatchesReady("part", True)))

    take(core.handle(0.0, frame(0, 0)))
    take(core.handle(0.1, done(in_work.pop().place)))
    for number in range(1, 4):
        for car in range(4):
            take(core.handle(1.0, frame(car, number)))
    batches = 0
    while in_work:
        assert len({run.place for run in in_work}) == len(in_work) <= 2
        run = in_work.pop(0)
        if run.others:
            batches += 1
            outcomes: list[TailComputed | TailFailed] = [done(0), TailFailed(Status.ERROR, "bad")]
            take(core.handle(2.0, BatchEnded(outcomes, 0.1, place=run.place)))
        else:
            take(core.handle(2.0, done(run.place)))
    assert batches
    assert len(told) == len({frame[:2] for frame in told}) == 13
    assert Counter(status for _, _, status in told)[Status.ERROR] == batches


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("frame"), st.integers(0, 12)),
            st.tuples(st.just("places"), st.integers(0, 5)),
            st.tuples(st.sampled_from(["computed", "failed", "unready"]), st.integers(0, 5)),
        ),
        max_size=150,
    )
)
def test_every_frame_is_answered_once_whatever_comes_and_goes(
    chances: list[tuple[str, int]],
) -> None:
    core, number = TailCore(places=2), 0
    in_work: set[int] = set()
    told: Counter[int] = Counter()

    def take(actions: list[TailAction]) -> None:
        for action in actions:
            if isinstance(action, RunTail):
                assert action.place not in in_work
                in_work.add(action.place)
            elif isinstance(action, SendAnswer):
                told[action.answer.number] += 1

    for step, (what, which) in enumerate(chances):
        now_s = 0.1 * step
        if what == "frame":
            number += 1
            take(core.handle(now_s, frame(which, number)))
        elif what == "places":
            take(core.handle(now_s, PlacesSet(which)))
        elif in_work:
            place = sorted(in_work)[which % len(in_work)]
            in_work.discard(place)
            if what == "computed":
                take(core.handle(now_s, done(place)))
            elif what == "failed":
                take(core.handle(now_s, TailFailed(Status.ERROR, "", place)))
            else:
                take(core.handle(now_s, TailUnready(place)))
    take(core.handle(1e3, TailStopped()))
    while in_work:
        take(core.handle(1e3, TailFailed(Status.ERROR, "", in_work.pop())))
    assert told == Counter(range(1, number + 1))
    assert core.queue_depth == 0


def test_costs_that_make_no_sense_starve_nobody() -> None:
    core = TailCore(places=2)
    core.handle(0.0, frame(1, 1))
    core.handle(0.0, frame(2, 1))
    core.handle(0.0, frame(1, 2))
    core.handle(0.0, frame(2, 2))
    actions = core.handle(0.1, TailComputed(SIGN, math.nan, math.nan, waited_s=math.nan))
    assert len(runs(actions)) == 1
    actions = core.handle(0.1, TailComputed(SIGN, math.inf, 0.0, waited_s=math.inf, place=1))
    assert len(runs(actions)) == 1
