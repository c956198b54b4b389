"""Frames of the same part together: when, which ones, and that nobody pays for it."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dapdee_ros.core.fair_queue import QueueBounds
from dapdee_ros.core.frames import Status, TailAnswer
from dapdee_ros.core.tail import TailCore
from dapdee_ros.core.tail_events import (
    BatchEnded,
    BatchesReady,
    PrepareBatches,
    RunTail,
    SendAnswer,
    TailAction,
    TailComputed,
    TailEvent,
    TailFailed,
    TailStopped,
    TensorsArrived,
)

ONE_S = 0.1
MOST = 8


def pays(size: int) -> float:
    """Seconds of a batch that halves what each further frame takes."""
    return ONE_S * (1 + 0.5 * (size - 1))


def frame(
    car: int, number: int, part: str = "p", within_s: float = 0.0, context: Any = None
) -> TensorsArrived:
    return TensorsArrived(
        number, car, 2, 5.0, 100, f"car{car}", part, None, context, within_s
    )  # fmt: skip


def done(run: RunTail, spent_s: float) -> TailEvent:
    count = len(run.frames)
    one = TailComputed("answer", spent_s / count, ONE_S)
    return BatchEnded([one] * count) if run.others else one


class Edge:
    """An edge whose every part is computed in batches that take ``takes_s``, on a clock of its own.

    Cars send whenever ``every_s`` says so.
    """

    def __init__(
        self, core: TailCore, takes_s: Callable[[int], float], possible: bool = True
    ) -> None:
        self.core, self.takes_s, self.possible = core, takes_s, possible
        self.now_s = 0.0
        self.events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self.count = itertools.count(1)
        self.answers: list[TailAnswer] = []
        self.runs: list[RunTail] = []
        self.spent_s: defaultdict[str, float] = defaultdict(float)

    def at(self, at_s: float, call: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self.events, (at_s, next(self.count), call, args))

    def camera(self, car: int, every_s: float, part: str, within_s: float) -> None:
        self.tell(frame(car, next(self.count), part, within_s))
        self.at(self.now_s + every_s, self.camera, car, every_s, part, within_s)

    def run(self, until_s: float) -> None:
        while self.events and self.events[0][0] <= until_s:
            self.now_s, _, call, args = heapq.heappop(self.events)
            call(*args)

    def tell(self, event: TailEvent) -> None:
        for action in self.core.handle(self.now_s, event):
            if isinstance(action, RunTail):
                self.runs.append(action)
                spent_s = self.takes_s(len(action.frames))
                for one in action.frames:
                    self.spent_s[one.car_id] += spent_s / len(action.frames)
                self.at(self.now_s + spent_s, self.tell, done(action, spent_s))
            elif isinstance(action, PrepareBatches):
                ready = BatchesReady(action.frame.part, self.possible)
                self.at(self.now_s + 0.05, self.tell, ready)
            else:
                self.answers.append(action.answer)


def trained(
    parts: tuple[str, ...] = ("p",),
    bounds: QueueBounds | None = None,
    shares: Mapping[str, float] | None = None,
    takes_s: Callable[[int], float] = pays,
) -> TailCore:
    """An edge that knows that batches of some parts pay, and waits for frames at 1000 s."""
    core = TailCore(bounds or QueueBounds(frames=4, cars=32), shares, most_batch=MOST)
    edge = Edge(core, takes_s)
    for number, part in enumerate(parts):
        edge.now_s = 100.0 * number
        for _ in range(60):
            for car in range(MOST + 1):
                edge.tell(frame(car, next(edge.count), part))
            edge.run(math.inf)
    assert len(edge.runs[-1].frames) in (1, 8), edge.runs[-1]
    assert not core.queue_depth
    return core


def runs(actions: list[TailAction]) -> list[list[tuple[int, int]]]:
    return [[(f.session, f.number) for f in a.frames] for a in actions if isinstance(a, RunTail)]


def told(actions: list[TailAction]) -> list[tuple[int, int, Status]]:
    return [
        (a.answer.session, a.answer.number, a.answer.status)
        for a in actions
        if isinstance(a, SendAnswer)
    ]


def end(core: TailCore, now_s: float, count: int = 1) -> list[TailAction]:
    one = TailComputed("answer", 0.1, ONE_S)
    return core.handle(now_s, one if count == 1 else BatchEnded([one] * count))


def test_batches_are_asked_for_once_when_frames_of_a_part_wait_for_each_other() -> None:
    core = TailCore(QueueBounds(frames=4), most_batch=MOST)
    asked: list[TailAction] = []
    for now_s, number in enumerate(range(1, 20, 2)):
        core.handle(float(now_s), frame(1, number))
        core.handle(float(now_s), frame(1, number + 1))
        for step in (0.3, 0.6):
            actions = end(core, now_s + step)
            assert len(told(actions)) == 1
            asked += [a for a in actions if isinstance(a, PrepareBatches)]
            assert all(len(run) == 1 for run in runs(actions))
    assert asked == []  # Never two waited besides the one in work.
    core.handle(50.0, frame(1, 100))
    for car in (2, 3, 4):
        core.handle(50.0, frame(car, 1))
    actions = end(core, 50.1)
    (ask,) = [a for a in actions if isinstance(a, PrepareBatches)]
    assert ask.frame.part == "p" and runs(actions) == [[(2, 1)]]
    actions = end(core, 50.2)
    assert not [a for a in actions if isinstance(a, PrepareBatches)] and runs(actions) == [[(3, 1)]]


def test_frames_of_the_same_part_are_computed_together_and_others_are_not() -> None:
    core = trained(("p", "q"))
    core.handle(1000.0, frame(1, 1))
    for car, number, part in ((2, 1, "p"), (3, 1, "q"), (4, 1, "p"), (5, 1, "p"), (6, 1, "q")):
        assert core.handle(1000.0, frame(car, number, part)) == []
    core.handle(1000.0, frame(2, 2))
    assert core.queue_depth == 7
    actions = end(core, 1000.1)
    # Three cars' frames before the second one of a car.
    (batch,) = runs(actions)
    assert batch == [(2, 1), (4, 1), (5, 1), (2, 2)]
    assert core.queue_depth == 6
    actions = end(core, 1000.4, 4)
    assert told(actions) == [(*one, Status.OK) for one in batch]
    answers = [a.answer for a in actions if isinstance(a, SendAnswer)]
    # Each took its part of the edge; the rest is waiting.
    assert {round(a.tail_s, 6) for a in answers} == {0.075}
    assert {round(a.residence_s, 6) for a in answers} == {0.4}
    assert {a.edge_slowdown for a in answers} == {1.0}
    assert runs(actions) == [[(3, 1), (6, 1)]]
    assert told(end(core, 1000.6, 2)) == [(3, 1, Status.OK), (6, 1, Status.OK)]
    assert core.queue_depth == 0


def test_frames_without_a_part_are_never_computed_together() -> None:
    core = TailCore(QueueBounds(frames=4), most_batch=MOST)
    edge = Edge(core, pays)
    for car in range(6):
        edge.tell(TensorsArrived(car, 1, 2, 5.0, 100, f"car{car}"))
    edge.run(math.inf)
    assert len(edge.answers) == len(edge.runs) == 6


def test_a_part_that_cannot_be_batched_goes_on_one_by_one() -> None:
    edge = Edge(TailCore(QueueBounds(frames=4), most_batch=MOST), pays, possible=False)
    for car in range(8):
        edge.camera(car, 0.3, "p", 0.0)
    edge.run(60.0)
    assert max(len(run.frames) for run in edge.runs) == 1
    assert len(edge.runs) >= 0.98 * 60.0 / ONE_S


def test_batches_that_fail_are_not_tried_again() -> None:
    core = trained()
    core.handle(1000.0, BatchesReady("p", False))
    for car in range(6):
        core.handle(1000.0, frame(car, 1))
    for step in range(1, 7):
        actions = end(core, 1000.0 + 0.1 * step)
        assert all(len(run) == 1 for run in runs(actions))
    assert core.queue_depth == 0


@pytest.mark.parametrize(
    ("first_s", "others_s", "expected"),
    [
        (math.inf, (math.inf,) * 3, 4),
        (0.45, (0.45,) * 3, 4),  # 0.1 s until the batch begins, 0.25 s of four
        (0.30, (0.45,) * 3, 2),  # that of the first one leaves time for two
        (0.45, (0.30, 0.45, 0.45), 2),
        (0.22, (0.45,) * 3, 1),
    ],
)
def test_all_of_a_batch_are_ready_in_time(
    first_s: float, others_s: tuple[float, ...], expected: int
) -> None:
    core = trained()
    core.handle(1000.0, frame(9, 1))
    for car, within_s in enumerate((first_s, *others_s), start=1):
        within_s = 0.0 if within_s == math.inf else within_s
        assert told(core.handle(1000.0, frame(car, 1, within_s=within_s))) == []
    (batch,) = runs(end(core, 1000.1))
    assert len(batch) == expected
    assert batch[0] == (1, 1)


def test_a_batch_does_not_make_the_frame_late_whose_turn_is_next() -> None:
    core = trained(("p", "q"))
    for within_s, expected in ((0.33, 1), (0.37, 2), (1.0, 4)):
        core.handle(1000.0, frame(9, 1))
        core.handle(1000.0, frame(1, 1))
        core.handle(1000.0, frame(2, 1, "q", within_s))
        for car in (3, 4, 5):
            core.handle(1000.0, frame(car, 1))
        actions = end(core, 1000.1)
        assert [len(batch) for batch in runs(actions)] == [expected]
        answered = Counter[Status]()
        now_s = 1000.1
        while batches := runs(actions):
            now_s += pays(len(batches[0]))
            actions = end(core, now_s, len(batches[0]))
            answered.update(status for _, _, status in told(actions))
        assert answered == {Status.OK: 5}


def test_a_frame_that_turns_out_to_be_invalid_harms_no_other_of_its_batch() -> None:
    core = trained()
    before_s = core._costs.run_s("p", 4)
    core.handle(1000.0, frame(9, 1))
    for car in (1, 2, 3, 4):
        core.handle(1000.0, frame(car, 1))
    end(core, 1000.1)
    good, bad = TailComputed("answer", 0.1, ONE_S), TailFailed(Status.BAD_TENSOR, "no number")
    actions = core.handle(1003.1, BatchEnded([good, bad, good, good]))
    assert told(actions) == [
        (1, 1, Status.OK), (2, 1, Status.BAD_TENSOR), (3, 1, Status.OK), (4, 1, Status.OK),
    ]  # fmt: skip
    assert core.refused[Status.BAD_TENSOR] == 1
    # What a batch takes is not learned from one that was not computed whole.
    assert core._costs.run_s("p", 4) == before_s


def test_an_edge_that_ends_answers_the_batch_in_work_and_refuses_the_rest() -> None:
    core = trained()
    for car in range(7):
        core.handle(1000.0, frame(car, 1))
    (batch,) = runs(end(core, 1000.1))
    assert len(batch) == 4
    assert told(core.handle(1000.2, TailStopped())) == [
        (car, 1, Status.BUSY) for car in (5, 6)
    ]  # fmt: skip
    assert len(told(end(core, 1000.3, 4))) == 4
    assert core.queue_depth == 0


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("parts", ["pppppppp", "ppppppqr", "ppqqrrst"])
def test_shares_hold_in_seconds_of_the_edge(depth: int, parts: str) -> None:
    shares = {"car0": 2.0, "car6": 3.0, "car7": 0.5}
    core = TailCore(QueueBounds(frames=depth), shares, most_batch=MOST)
    edge = Edge(core, pays)
    for number, part in enumerate(parts):
        edge.camera(number, 0.07 + 0.001 * number, part, 0.0)
    edge.run(60.0)
    before = edge.spent_s.copy()
    edge.runs.clear()
    edge.run(260.0)
    had_s = {car: edge.spent_s[car] - before[car] for car in before}
    weights = {car: shares.get(car, 1.0) for car in had_s}
    for car, weight in weights.items():
        got = had_s[car] / sum(had_s.values())
        assert got == pytest.approx(weight / sum(weights.values()), rel=0.1), had_s
    if parts[:6] == "pppppp":
        assert sum(len(run.frames) for run in edge.runs) >= 1.5 * len(edge.runs)


def test_more_is_answered_in_time_where_batches_pay_and_as_much_where_they_do_not() -> None:
    def answered(takes_s: Callable[[int], float], most: int) -> int:
        edge = Edge(TailCore(QueueBounds(frames=2), most_batch=most), takes_s)
        for car in range(8):
            edge.camera(car, 0.39 + 0.001 * car, "p", 1.0)
        edge.run(120.0)
        late = [a for a in edge.answers if a.status is Status.OK and a.residence_s > 1.0]
        assert not late
        return sum(a.status is Status.OK for a in edge.answers)

    assert answered(pays, MOST) >= 1.4 * answered(pays, 1)
    for ratio in (1.0, 1.3):

        def takes_s(size: int, ratio: float = ratio) -> float:
            return ONE_S * size * (ratio if size > 1 else 1.0)

        assert answered(takes_s, MOST) >= 0.98 * answered(takes_s, 1)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 9), st.sampled_from("ppq"), st.sampled_from([0.0, 0.15, 0.4, 2.0])
        ),
        max_size=150,
    ),
    st.integers(0, 2**32),
    st.sampled_from([1, 3]),
)
def test_every_frame_is_answered_once(
    frames: list[tuple[int, str, float]], seed: int, depth: int
) -> None:
    draw = random.Random(seed)
    core = TailCore(QueueBounds(frames=depth, cars=5), most_batch=MOST)
    answered: Counter[int] = Counter()
    in_work: list[RunTail] = []
    now_s = 0.0

    def tell(event: TailEvent) -> None:
        for action in core.handle(now_s, event):
            if isinstance(action, RunTail):
                assert not in_work
                assert len({f.part for f in action.frames}) == 1
                in_work.append(action)
            elif isinstance(action, PrepareBatches):
                waiting.append(action.frame.part)
            else:
                answered[action.answer.number] += 1

    def finish() -> None:
        outcomes: list[TailComputed | TailFailed] = [
            TailComputed("answer", 0.1, 0.1)
            if draw.random() < 0.9
            else TailFailed(Status.ERROR, "x")
            for _ in in_work.pop().frames
        ]
        tell(BatchEnded(outcomes) if len(outcomes) > 1 else outcomes[0])

    waiting: list[Any] = []
    for number, (car, part, within_s) in enumerate(frames):
        now_s += draw.expovariate(20.0)
        tell(frame(car, number, part, within_s))
        if waiting and draw.random() < 0.5:
            tell(BatchesReady(waiting.pop(), draw.random() < 0.8))
        if in_work and draw.random() < 0.4:
            finish()
    tell(TailStopped())
    while in_work:
        finish()
    assert core.queue_depth == 0
    assert answered == Counter(range(len(frames)))
