"""The edge's rules: whose frame is next, and which are refused."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dapdee_ros.core.fair_queue import QueueBounds, ShareError
from dapdee_ros.core.frames import Status
from dapdee_ros.core.tail import BUSY_LATE, MOST_CARS, TailCore
from dapdee_ros.core.tail_events import (
    PartReady,
    RunTail,
    SendAnswer,
    SharesSet,
    TailAction,
    TailComputed,
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
    core.handle(0.125, frame(1, 1))
    core.handle(0.125, frame(2, 1))
    served = []
    for step in range(2, 20):
        for number in range(3):  # three frames of the one car within each computation
            refused = told(core.handle(0.125 * step, frame(1, 10 * step + number)))
            assert all(car == 1 for car, _, _ in refused)
        served += run(core.handle(0.125 * step, TailComputed(SIGN, 0.1, 0.1)))
        if served[-1][0] == 2:
            core.handle(0.125 * step, frame(2, step))
    cars = [car for car, _ in served]
    assert cars == [2, 1] * 9


def test_more_cars_than_it_keeps_frames_of_are_refused() -> None:
    core = TailCore()
    core.handle(0.0, frame(0, 1))
    refused = []
    for car in range(1, MOST_CARS + 3):
        refused += told(core.handle(0.1, frame(car, 1)))
    # Not at the cost of those that wait.
    assert refused == [(MOST_CARS + n, 1, Status.BUSY) for n in (1, 2)]
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
            elif isinstance(action, SendAnswer):
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


def due(car: int, number: int, within_s: float) -> TensorsArrived:
    return replace(frame(car, number), part="p", answer_within_s=within_s)


def trained(bounds: QueueBounds | None = None) -> TailCore:
    """An edge that knows that frames of part p take 0.1 s; nothing waits."""
    core = TailCore(bounds)
    core.handle(0.0, due(9, 1, 0.0))
    core.handle(0.1, TailComputed(SIGN, 0.1, 0.1))
    return core


def why(actions: list[TailAction]) -> list[str]:
    return [a.answer.detail for a in actions if isinstance(a, SendAnswer)]


def test_what_cannot_be_ready_in_time_is_refused_when_it_comes() -> None:
    core = trained(QueueBounds(frames=4))
    core.handle(1.0, due(1, 1, 1.0))
    assert why(core.handle(1.0, due(1, 2, 1.0))) == []
    # It is due before the other: 0.1 s in work, 0.1 s for itself.
    assert why(core.handle(1.0, due(1, 3, 0.29))) == []
    # The last one has to wait for that, too.
    assert why(core.handle(1.0, due(1, 4, 0.295))) == [BUSY_LATE]
    assert core.refused[Status.BUSY] == 1


def test_another_cars_queue_counts_only_by_its_share() -> None:
    core = trained(QueueBounds(frames=8))
    core.handle(1.0, due(1, 1, 0.0))
    for number in range(2, 10):
        core.handle(1.0, due(1, number, 0.0))
    # 0.8 s wait, but the other car's turn comes after the one in work, or one more.
    assert why(core.handle(1.0, due(2, 1, 0.35))) == []
    core.handle(1.0, SharesSet({"car1": 8.0}))
    assert why(core.handle(1.0, due(3, 1, 0.15))) == [BUSY_LATE]


def test_an_idle_edge_tries_every_frame_and_learns_that_it_is_fast_again() -> None:
    core = trained()
    for number in range(2, 40):
        assert run(core.handle(number, due(1, number, 0.02))) == [(1, number)]
        core.handle(number + 0.01, TailComputed(SIGN, 0.01, 0.1))
    # Now it knows: behind another one there is time for this.
    core.handle(50.0, due(1, 50, 0.02))
    assert why(core.handle(50.0, due(2, 1, 0.03))) == []


def test_what_has_become_too_late_is_refused_and_not_computed() -> None:
    core = trained()
    core.handle(1.0, due(1, 1, 0.0))
    core.handle(1.0, due(2, 1, 0.25))
    core.handle(1.0, due(3, 1, 9.0))
    # The one in work took longer than all others.
    actions = core.handle(1.2, TailComputed(SIGN, 0.2, 0.1))
    assert told(actions) == [(1, 1, Status.OK), (2, 1, Status.BUSY)]
    assert why(actions)[1] == BUSY_LATE and run(actions) == [(3, 1)]


@pytest.mark.parametrize("within_s", [0.0, -1.0, math.nan, math.inf])
def test_a_frame_that_does_not_say_when_it_is_due_waits(within_s: float) -> None:
    core = trained()
    core.handle(1.0, due(1, 1, within_s))
    assert core.handle(1.0, due(2, 1, within_s)) == []
    actions = core.handle(1e6, TailComputed(SIGN, 0.1, 0.1))
    assert run(actions) == [(2, 1)]


@pytest.mark.parametrize("depth", [1, 3])
def test_cars_that_send_too_much_get_their_shares_of_the_edge(depth: int) -> None:
    core = TailCore(QueueBounds(frames=depth), {"car1": 2.0})
    number, answered, refused = 0, Counter[int](), Counter[int]()

    def tell(now_s: float, event: TailEvent) -> None:
        for car, _, status in told(core.handle(now_s, event)):
            (answered if status is Status.OK else refused)[car] += 1

    done_s = 0.0
    for tick in range(6000):  # 60 s; each car sends every 40 ms what takes 30 ms
        now_s = 0.01 * tick
        for car in (1, 2, 3):
            if tick % 4 == car:
                number += 1
                tell(now_s, replace(due(car, number, 0.5)))
        if core.queue_depth and now_s >= done_s:
            tell(now_s, TailComputed(SIGN, 0.03, 0.03))
            done_s = now_s + 0.03
    total = answered.total()
    for car, share in ((1, 0.5), (2, 0.25), (3, 0.25)):
        assert answered[car] / total == pytest.approx(share, rel=0.1), (answered, refused)
    assert total + refused.total() + core.queue_depth == number


def test_answers_say_how_often_a_car_may_send_while_there_is_too_much() -> None:
    core = TailCore(QueueBounds(frames=2), {"car1": 2.0})
    intervals_s: dict[tuple[int, Status], float] = {}
    tick = 0

    def tell(event: TailEvent) -> None:
        for action in core.handle(0.05 * tick, event):
            if isinstance(action, SendAnswer):
                answer = action.answer
                intervals_s[answer.session, answer.status] = answer.send_interval_s

    # What takes 50 ms comes from one car every 100 ms, which is not too much, then from three.
    for tick in range(400):
        if core.queue_depth:
            tell(TailComputed(SIGN, 0.05, 0.05))
        for car in (1, 2, 3) if tick >= 200 else (1,):
            if tick % 2 == 0:
                tell(replace(frame(car, 10 * tick + car), part="p"))
        if tick == 199:
            assert intervals_s == {(1, Status.OK): 0.0}
    for status in (Status.OK, Status.BUSY):  # a refusal says so as well
        for car, share in ((2, 0.25), (3, 0.25)):
            assert intervals_s[car, status] == pytest.approx(0.05 / share, rel=0.1)
    assert intervals_s[1, Status.OK] == pytest.approx(0.05 / 0.5, rel=0.1)


def test_shares_that_make_no_sense_change_nothing() -> None:
    with pytest.raises(ShareError, match="'car1' is 0"):
        TailCore(shares={"car1": 0.0})
    core = TailCore()
    with pytest.raises(ShareError, match="'car2' is nan"):
        core.handle(0.0, SharesSet({"car1": 2.0, "car2": math.nan}))
    assert run(core.handle(0.1, frame(1, 1))) == [(1, 1)]
