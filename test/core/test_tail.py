"""The edge's rules: whose frame is next, and which are refused."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dapdee_ros.core.frames import Status
from dapdee_ros.core.tail import (
    MOST_CARS,
    PartReady,
    RunTail,
    SendAnswer,
    TailAction,
    TailComputed,
    TailCore,
    TailEvent,
    TailFailed,
    TailStopped,
    TailUnready,
    TensorsArrived,
)
from dapdee_ros.tasks.classification import Classification

SIGN = Classification(1, 0.9, (1,), (0.9,))


def frame(car: int, number: int) -> TensorsArrived:
    return TensorsArrived(number, car, 2, 5.0, 100, f"car{car}")


def run(actions: list[TailAction]) -> list[tuple[int, int]]:
    return [(a.frame.session, a.frame.number) for a in actions if isinstance(a, RunTail)]


def told(actions: list[TailAction]) -> list[tuple[int, int, Status]]:
    return [
        (a.answer.session, a.answer.number, a.answer.status)
        for a in actions
        if isinstance(a, SendAnswer)
    ]


def test_a_cars_newest_frame_wins_and_the_other_is_busy_at_once() -> None:
    core = TailCore()
    assert run(core.handle(0.0, frame(1, 1))) == [(1, 1)]
    assert core.handle(0.1, frame(1, 2)) == []
    assert told(core.handle(0.2, frame(1, 3))) == [(1, 2, Status.BUSY)]
    actions = core.handle(0.3, TailComputed(SIGN, 0.2, 0.1))
    assert told(actions) == [(1, 1, Status.OK)] and run(actions) == [(1, 3)]
    (done,) = [a.answer for a in actions if isinstance(a, SendAnswer)]
    assert (done.tail_s, done.residence_s, done.edge_slowdown) == (0.3, 0.3, 2.0)
    assert (done.sent_echo_s, done.received_bytes, done.answer) == (5.0, 100, SIGN)


def test_a_fast_car_cannot_displace_or_starve_another_cars_frame() -> None:
    core = TailCore()
    core.handle(0.0, frame(1, 1))
    core.handle(0.1, frame(2, 1))
    served = []
    for step in range(2, 20):
        for number in range(3):  # three frames of the one car within each computation
            refused = told(core.handle(0.1 * step, frame(1, 10 * step + number)))
            assert all(car == 1 for car, _, _ in refused)
        served += run(core.handle(0.1 * step, TailComputed(SIGN, 0.1, 0.1)))
        if served[-1][0] == 2:
            core.handle(0.1 * step, frame(2, step))
    cars = [car for car, _ in served]
    assert cars == [2, 1] * 9


def test_more_cars_than_it_keeps_frames_of_are_refused() -> None:
    core = TailCore()
    core.handle(0.0, frame(0, 1))
    refused = []
    for car in range(1, MOST_CARS + 3):
        refused += told(core.handle(0.1, frame(car, 1)))
    assert refused == [(1, 1, Status.BUSY), (2, 1, Status.BUSY)]
    assert core.queue_depth == MOST_CARS + 1


def test_what_cannot_be_computed_is_answered_and_the_next_begun() -> None:
    core = TailCore()
    core.handle(0.0, frame(1, 1))
    core.handle(0.0, frame(2, 1))
    actions = core.handle(0.1, TailFailed(Status.BAD_TENSOR, "x" * 5000))
    assert told(actions) == [(1, 1, Status.BAD_TENSOR)] and run(actions) == [(2, 1)]
    assert isinstance(actions[0], SendAnswer) and len(actions[0].answer.detail) < 400
    assert core.refused[Status.BAD_TENSOR] == 1
    (done, *_) = core.handle(0.2, TailComputed(SIGN, 0.1, math.nan))
    assert isinstance(done, SendAnswer) and math.isnan(done.answer.edge_slowdown)


def test_nothing_in_work_cannot_end() -> None:
    with pytest.raises(ValueError, match="no frame is in work"):
        TailCore().handle(0.0, TailComputed(SIGN, 0.1, 0.1))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("frame"), st.integers(0, 40)),
            st.sampled_from([("computed", 0), ("failed", 0)]),
        ),
        max_size=120,
    )
)
def test_every_frame_is_answered_once(chances: list[tuple[str, int]]) -> None:
    core, numbers, in_work = TailCore(), Counter[int](), False
    answered: Counter[tuple[int, int]] = Counter()

    def tell(event: TailEvent) -> None:
        nonlocal in_work
        for action in core.handle(0.0, event):
            if isinstance(action, RunTail):
                assert not in_work
                in_work = True
            else:
                answered[action.answer.session, action.answer.number] += 1

    def end(event: TailEvent) -> None:
        nonlocal in_work
        if in_work:
            in_work = False
            tell(event)

    for what, car in chances:
        if what == "frame":
            numbers[car] += 1
            tell(frame(car, numbers[car]))
        else:
            end(
                TailComputed(SIGN, 0.1, 0.1) if what == "computed" else TailFailed(Status.ERROR, "")
            )
    tell(TailStopped())
    end(TailComputed(SIGN, 0.1, 0.1))
    tell(frame(1, 1000))
    assert answered[1, 1000] == 1
    assert set(answered.values()) == {1}
    assert answered.total() == numbers.total() + 1 and core.queue_depth == 0


def part(car: int, number: int, of: str) -> TensorsArrived:
    return replace(frame(car, number), part=of)


def test_a_frame_whose_part_is_compiled_waits_and_holds_up_no_other() -> None:
    core = TailCore()
    assert run(core.handle(0.0, part(1, 1, "new"))) == [(1, 1)]
    assert core.handle(0.1, TailUnready()) == []
    # Another car's frame, of a part that is ready, overtakes it; one of the same part waits too.
    assert run(core.handle(0.2, part(2, 1, "old"))) == [(2, 1)]
    assert core.handle(0.3, part(3, 1, "new")) == []
    actions = core.handle(0.4, TailComputed(SIGN, 0.2, 0.1))
    assert told(actions) == [(2, 1, Status.OK)]
    assert run(actions) == []
    assert core.queue_depth == 2
    assert run(core.handle(0.5, PartReady("new"))) == [(1, 1)]
    actions = core.handle(0.6, TailComputed(SIGN, 0.1, 0.1))
    assert told(actions) == [(1, 1, Status.OK)]
    assert run(actions) == [(3, 1)]
    (done,) = [a.answer for a in actions if isinstance(a, SendAnswer)]
    # What it waited for its part is residence, not time on the tail.
    assert (done.residence_s, done.tail_s) == pytest.approx((0.6, 0.1))


def test_a_newer_frame_takes_the_place_of_one_that_waits_for_its_part() -> None:
    core = TailCore()
    core.handle(0.0, part(1, 1, "new"))
    core.handle(0.1, TailUnready())
    actions = core.handle(0.2, part(1, 2, "old"))
    assert told(actions) == [(1, 1, Status.BUSY)]
    assert run(actions) == [(1, 2)]
    # Its successor came while it was looked at.
    core.handle(0.3, part(1, 3, "other"))
    core.handle(0.4, TailComputed(SIGN, 0.1, 0.1))
    core.handle(0.5, part(1, 4, "other"))
    assert told(core.handle(0.6, TailUnready())) == [(1, 3, Status.BUSY)]
    assert told(core.handle(0.7, TailStopped())) == [(1, 4, Status.BUSY)]
