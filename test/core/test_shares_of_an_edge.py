"""Heads and an edge together, on a simulated clock: shares, and few frames sent for nothing."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from dapdee_ros.core.frames import FramePlan, Place, Status
from dapdee_ros.core.head import HeadCore
from dapdee_ros.core.head_events import (
    Action,
    AnswerArrived,
    Encode,
    Encoded,
    Event,
    Finish,
    Finished,
    FrameArrived,
    HeadComputed,
    ManagerHeard,
    PlanArrived,
    Publish,
    RunHead,
    Send,
    Stopped,
    TimePassed,
    WakeAt,
)
from dapdee_ros.core.head_settings import HeadSettings
from dapdee_ros.core.programs import HeadProgram
from dapdee_ros.core.tail import TailCore
from dapdee_ros.core.tail_events import (
    BatchEnded,
    BatchesReady,
    PrepareBatches,
    RunTail,
    SendAnswer,
    TailComputed,
    TailEvent,
    TensorsArrived,
)
from dapdee_ros.tasks.classification import Classification

SIGN = Classification(1, 0.9, (1,), (0.9,))
TAIL_S, HOP_S, HEAD_S, FINISH_S = 0.06, 0.01, 0.002, 0.005


def program() -> HeadProgram:
    plan = FramePlan(1, 1, ("stem",), "f32", predicted_remote_s=0.1, deadline_s=1.0)
    return HeadProgram(
        plan, (("stem",),), ("stem",), (), ("stem",), math.nan, HEAD_S, {1: FINISH_S}
    )


def alone() -> HeadProgram:
    return HeadProgram(
        FramePlan(0, 1), (("out",),), (), ("out",), (), math.nan, HEAD_S + FINISH_S, {}
    )


class World:
    """Cars with cameras, an edge, a link that takes the same time for every frame.

    Each further frame of a batch takes the edge half of its time.
    """

    def __init__(
        self, rates_hz: Mapping[str, float], shares: Mapping[str, float], most_batch: int = 1
    ) -> None:
        self.now_s = 0.0
        self.events: list[tuple[float, int, Callable[..., None], tuple]] = []
        self.count = itertools.count()
        self.draw = random.Random(1)
        self.tail = TailCore(shares=shares, most_batch=most_batch)
        self.heads = {car: HeadCore([alone()], n, HeadSettings()) for n, car in enumerate(rates_hz)}
        self.tail_s = dict.fromkeys(rates_hz, 0.0)
        self.told: Counter[tuple[str, Status]] = Counter()
        self.places: Counter[tuple[str, Place]] = Counter()
        for car, rate_hz in rates_hz.items():
            self.tell(car, PlanArrived(program()))
            self.at(self.draw.random() / rate_hz, self.camera, car, rate_hz)

    def at(self, at_s: float, call: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self.events, (at_s, next(self.count), call, args))

    def run(self, until_s: float) -> None:
        while self.events and self.events[0][0] <= until_s:
            self.now_s, _, call, args = heapq.heappop(self.events)
            call(*args)

    def camera(self, car: str, rate_hz: float) -> None:
        self.tell(car, ManagerHeard())
        self.tell(car, FrameArrived())
        self.at(self.now_s + self.draw.uniform(0.8, 1.2) / rate_hz, self.camera, car, rate_hz)

    def tell(self, car: str, event: Event) -> None:
        for action in self.heads[car].handle(self.now_s, event):
            self.do(car, action)

    def do(self, car: str, action: Action) -> None:
        if isinstance(action, RunHead):
            done = HeadComputed(action.number, None, HEAD_S)
            if action.program.outputs:
                done = HeadComputed(action.number, SIGN, HEAD_S + FINISH_S)
            self.at(self.now_s + done.spent_s, self.tell, car, done)
        elif isinstance(action, Encode):
            self.at(self.now_s, self.tell, car, Encoded(action.number, 1000))
        elif isinstance(action, Finish):
            finished = Finished(action.number, SIGN, FINISH_S)
            self.at(self.now_s + FINISH_S, self.tell, car, finished)
        elif isinstance(action, WakeAt) and action.at_s < math.inf:
            self.at(max(action.at_s, self.now_s), self.tell, car, TimePassed())
        elif isinstance(action, Publish):
            self.places[car, action.result.place] += 1
        elif isinstance(action, Send):
            frame = TensorsArrived(
                action.number, action.session, 1, action.sent_s, 1000, car, "part", None, car,
                action.answer_within_s,
            )  # fmt: skip
            self.at(self.now_s + HOP_S, self.tell_edge, frame)

    def tell_edge(self, event: TailEvent) -> None:
        for action in self.tail.handle(self.now_s, event):
            if isinstance(action, RunTail):
                count = len(action.frames)
                spent_s = (0.5 + 0.5 * count) * TAIL_S * self.draw.uniform(0.8, 1.2)
                done = TailComputed(SIGN, spent_s / count, TAIL_S)
                event = BatchEnded([done] * count) if count > 1 else done
                self.at(self.now_s + spent_s, self.tell_edge, event)
            elif isinstance(action, PrepareBatches):
                ready = BatchesReady(action.frame.part, True)
                self.at(self.now_s + 0.1, self.tell_edge, ready)
            elif isinstance(action, SendAnswer):
                answer, car = action.answer, action.answer.context
                self.told[car, answer.status] += 1
                self.tail_s[car] += answer.tail_s
                self.at(self.now_s + HOP_S, self.tell, car, AnswerArrived(answer, "", 0.0))


@pytest.mark.parametrize(
    ("rates_hz", "shares"),
    [
        ({"car1": 15.0, "car2": 15.0, "car3": 15.0}, {"car1": 2.0}),
        ({"car1": 30.0, "car2": 30.0}, {}),
        ({"car1": 20.0, "car2": 20.0, "car3": 20.0, "car4": 20.0}, {"car1": 3.0, "car2": 2.0}),
    ],
)
def test_heads_keep_to_their_shares_and_nothing_is_lost(
    rates_hz: dict[str, float], shares: dict[str, float]
) -> None:
    world = World(rates_hz, shares)
    world.run(5.0)
    first_s = dict(world.tail_s)
    world.told.clear()
    world.run(65.0)
    had_s = {car: world.tail_s[car] - first_s[car] for car in rates_hz}
    weights = {car: shares.get(car, 1.0) for car in rates_hz}
    for car, weight in weights.items():
        part = had_s[car] / sum(had_s.values())
        assert part == pytest.approx(weight / sum(weights.values()), rel=0.1), (had_s, world.told)
    assert sum(had_s.values()) >= 0.9 * 60.0, had_s
    busy = sum(n for (_, status), n in world.told.items() if status is Status.BUSY)
    assert busy <= 0.15 * world.told.total(), world.told
    for car, head in world.heads.items():
        world.tell(car, Stopped())
        summary = head.ledger.summary()
        assert summary.balanced and summary.results >= 0.99 * summary.accepted, summary


def test_a_slow_car_loses_nothing_to_a_fast_one_that_uses_the_rest() -> None:
    world = World({"fast": 25.0, "slow": 2.0}, {})
    world.run(60.0)
    assert world.told["slow", Status.OK] >= 0.95 * 2.0 * 60.0
    assert sum(world.tail_s.values()) >= 0.8 * 60.0, (world.tail_s, world.told)


def test_with_batches_cars_have_more_of_the_edge_by_the_same_shares() -> None:
    rates_hz = {f"car{n}": 12.0 for n in range(6)}
    shares = {"car0": 2.0, "car1": 0.5}
    answered = []
    for most_batch in (1, 8):
        world = World(rates_hz, shares, most_batch)
        world.run(5.0)
        first_s = dict(world.tail_s)
        world.told.clear()
        world.run(65.0)
        had_s = {car: world.tail_s[car] - first_s[car] for car in rates_hz}
        weights = {car: shares.get(car, 1.0) for car in rates_hz}
        for car, weight in weights.items():
            part = had_s[car] / sum(had_s.values())
            assert part == pytest.approx(weight / sum(weights.values()), rel=0.1), had_s
        answered.append(sum(n for (_, status), n in world.told.items() if status is Status.OK))
        busy = sum(n for (_, status), n in world.told.items() if status is Status.BUSY)
        assert busy <= 0.15 * world.told.total(), world.told
        for car, head in world.heads.items():
            world.tell(car, Stopped())
            summary = head.ledger.summary()
            assert summary.balanced and summary.results >= 0.99 * summary.accepted, summary
    assert answered[1] >= 1.15 * answered[0], answered
