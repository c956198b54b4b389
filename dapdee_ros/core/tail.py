"""The edge's side as a state machine: which car's frame is computed next, and which are refused.

One thread does all computing, or several machines do: there are as many places as runs may be in
work at once. Before them stands a queue for every car, in which that car's newest frames win; the
one that they displace is answered as busy at once, so that its head need not wait for nothing. Cars
share the edge's time by their shares, and none can displace another's frames (``core.fair_queue``).
While cars ask for more than there is, every answer says how often its car may send
(``core.demand``). A frame that cannot be ready when its car stops waiting is refused as soon as
that is known: when it comes, or when it would be begun. A frame whose part of the network has yet
to be compiled waits for that in its car's queue, while other cars' frames, and those that came
before it, go on. Where it pays, waiting frames of the same part are computed together, of whichever
cars (``core.part_costs``); each is charged an equal part of what they took. With several places a
frame counts as taking the edge its time over their number. ``TailCore.handle`` takes an event and
its time and says what is to be done.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial

from dapdee_ros.core.demand import Demands
from dapdee_ros.core.fair_batch import beside
from dapdee_ros.core.fair_queue import FairQueue, QueueBounds, Waiting, Why
from dapdee_ros.core.frames import Status, TailAnswer
from dapdee_ros.core.part_costs import PartCosts
from dapdee_ros.core.tail_events import (
    BatchEnded,
    BatchesReady,
    PartReady,
    PlacesSet,
    PrepareBatches,
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
from dapdee_ros.estimation.rejections import shortened

BUSY_NEWER = "a newer frame took its place on the edge"
BUSY_CARS = "frames of too many cars are waiting on the edge"
BUSY_BYTES = "too many bytes are waiting on the edge"
BUSY_LATE = "it would not be ready in time on the edge"
BUSY_SHUTDOWN = "the edge is shutting down"

_REASONS = {Why.NEWER: BUSY_NEWER, Why.CARS: BUSY_CARS, Why.BYTES: BUSY_BYTES}

MOST_CARS = 32
"""Most cars whose frames may be waiting; another one's is refused."""


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A frame and when it came."""

    frame: TensorsArrived
    received_s: float


@dataclass(frozen=True, slots=True)
class _Work:
    """What is computed, since when, and when it is expected to be done."""

    batch: list[Waiting[_Arrival]]
    begun_s: float
    ends_s: float


class TailCore:
    """Finishes frames that heads began, of any number of cars. Not for several threads at once.

    Attributes:
        computed: frames that were computed.
        runs: how often something was computed: fewer, where frames were computed together.
        refused: frames answered with a status other than ok, by status.
    """

    def __init__(
        self,
        bounds: QueueBounds | None = None,
        shares: Mapping[str, float] | None = None,
        most_batch: int = 1,
        places: int = 1,
    ) -> None:
        """Prepare.

        Args:
            bounds: how much may wait; by default one frame per car, of ``MOST_CARS``.
            shares: as in ``SharesSet``.
            most_batch: most frames that are computed together, where that pays.
            places: as in ``PlacesSet``.

        Raises:
            ShareError: if a share makes no sense.
        """
        self.computed = self.runs = 0
        self.refused: dict[Status, int] = dict.fromkeys(list(Status)[1:], 0)
        self._queue = FairQueue[_Arrival](bounds or QueueBounds(frames=1, cars=MOST_CARS), shares)
        self._costs = PartCosts(most_batch)
        self._demands = Demands()
        self._places = max(1, places)
        self._work: dict[int, _Work] = {}
        self._compiling: set[Hashable] = set()
        self._stopped = False

    @property
    def queue_depth(self) -> int:
        """Frames waiting or in work."""
        return len(self._queue) + sum(len(work.batch) for work in self._work.values())

    def handle(self, now_s: float, event: TailEvent) -> list[TailAction]:
        """Take an event and say what is to be done, in order.

        Args:
            now_s: when it happened, on the caller's monotonic clock.
            event: what happened.

        Raises:
            ShareError: if a share that is set makes no sense; then all stay as they are.
        """
        actions: list[TailAction] = []
        if isinstance(event, TensorsArrived):
            self._admit(event, now_s, actions)
        elif isinstance(event, TailStopped):
            self._stopped = True
            for waiting in self._queue.drain():
                self._refuse(waiting.item, Status.BUSY, BUSY_SHUTDOWN, now_s, actions)
        elif isinstance(event, SharesSet):
            self._queue.set_shares(event.shares)
        elif isinstance(event, PlacesSet):
            self._places = max(1, event.places)
        elif isinstance(event, PartReady):
            self._compiling.discard(event.part)
            self._queue.ready_again(lambda item: item.frame.part == event.part)
        elif isinstance(event, BatchesReady):
            self._costs.batches_ready(event.part, event.possible)
        else:
            self._end_work(event, now_s, actions)
        free = (place for place in itertools.count() if place not in self._work)
        while len(self._work) < self._places and self._begin_next(next(free), now_s, actions):
            pass
        return actions

    def _admit(self, frame: TensorsArrived, now_s: float, actions: list[TailAction]) -> None:
        """Put a frame into its car's queue, or refuse it; what has to make way is refused."""
        arrival = _Arrival(frame, now_s)
        if self._stopped:
            self._refuse(arrival, Status.BUSY, BUSY_SHUTDOWN, now_s, actions)
            return
        takes_s = self._costs.share_s(frame.part)
        cost_s = takes_s / self._places
        self._demands.came(now_s, frame.car_id, cost_s)
        due_s = now_s + frame.answer_within_s if frame.answer_within_s > 0 else math.inf
        # An idle place tries every frame: only so it learns that it is faster than it expected.
        if len(self._work) >= self._places and due_s < math.inf:
            free_s = max(now_s, min(work.ends_s for work in self._work.values()))
            if free_s + self._queue.ahead_s(frame.car_id, due_s) + takes_s > due_s:
                self._refuse(arrival, Status.BUSY, BUSY_LATE, now_s, actions)
                return
        displaced = self._queue.put(
            frame.car_id,
            arrival,
            cost_s=cost_s,
            deadline_s=due_s,
            size_bytes=frame.received_bytes,
        )
        for waiting, why in displaced:
            self._refuse(waiting.item, Status.BUSY, _REASONS[why], now_s, actions)

    def _end_work(
        self,
        event: TailComputed | TailFailed | BatchEnded | TailUnready,
        now_s: float,
        actions: list[TailAction],
    ) -> None:
        work = self._work.pop(event.place, None)
        if work is None:
            raise ValueError("no frame is in work")
        first = work.batch[0]
        if isinstance(event, TailUnready):
            if self._stopped:
                self._refuse(first.item, Status.BUSY, BUSY_SHUTDOWN, now_s, actions)
                return
            self._compiling.add(first.item.frame.part)
            if not self._queue.put_back(first):
                self._refuse(first.item, Status.BUSY, BUSY_NEWER, now_s, actions)
            return
        self.runs += 1
        outcomes = event.outcomes if isinstance(event, BatchEnded) else [event]
        spent_s = now_s - work.begun_s
        if all(isinstance(outcome, TailComputed) for outcome in outcomes):
            took_s = math.nan if isinstance(event, TailFailed) else event.took_s
            self._costs.learn(first.item.frame.part, len(outcomes), spent_s, took_s)
        waited_s = 0.0 if isinstance(event, TailFailed) else event.waited_s
        share_s = max(0.0, spent_s - waited_s) / len(outcomes)
        for waiting, outcome in zip(work.batch, outcomes, strict=True):
            if isinstance(outcome, TailFailed):
                self._refuse(waiting.item, outcome.status, outcome.reason, now_s, actions)
            else:
                actions.append(self._answer(waiting.item, share_s, outcome, now_s))
            self._queue.charge(waiting, share_s / self._places, idle=not self._work)

    def _begin_next(self, place: int, now_s: float, actions: list[TailAction]) -> bool:
        """Have the next frames computed, past those that can't be ready in time; False: none."""
        compiling = self._compiling
        ready = (lambda item: item.frame.part not in compiling) if compiling else None
        while (waiting := self._queue.take(ready)) is not None:
            arrival = waiting.item
            waited = now_s > arrival.received_s
            if waited and now_s + self._costs.run_s(arrival.frame.part) > waiting.deadline_s:
                self._refuse(arrival, Status.BUSY, BUSY_LATE, now_s, actions)
                continue
            batch = [waiting]
            if len(self._queue) and self._costs.may_batch(arrival.frame.part):
                self._fill(batch, ready, now_s, actions)
            ends_s = now_s + self._costs.run_s(arrival.frame.part, len(batch))
            self._work[place] = _Work(batch, now_s, ends_s)
            frames = [one.item.frame for one in batch]
            actions.append(RunTail(frames[0], tuple(frames[1:]), place))
            return True
        return False

    def _fill(
        self,
        batch: list[Waiting[_Arrival]],
        ready: Callable[[_Arrival], bool] | None,
        now_s: float,
        actions: list[TailAction],
    ) -> None:
        """Add to a frame that is begun those that it pays to compute together with it.

        All of them have to be ready in time, and so has the frame whose turn would be next, if it
        is none of them and would be in time otherwise.
        """
        costs, first = self._costs, batch[0]
        part = first.item.frame.part
        available = sum(one.item.frame.part == part for one in self._queue)
        if part is None or not available:
            return
        if costs.ask_for_batches(part):
            actions.append(PrepareBatches(first.item.frame))
            return
        latest_s = first.deadline_s
        for one in beside(self._queue, first, 1, lambda one: ready is None or ready(one.item)):
            begun_by_s = one.deadline_s - costs.run_s(one.item.frame.part)
            if one.item.frame.part != part and begun_by_s >= now_s + costs.run_s(part):
                latest_s = min(latest_s, begun_by_s)
        size = costs.batch_size(part, 1 + available)
        while size > 1:
            ends_s = now_s + costs.run_s(part, size)
            if ends_s <= latest_s:
                others = beside(self._queue, first, size - 1, partial(_is_able, part, ends_s))
                if len(others) == size - 1:
                    for one in others:
                        self._queue.take_too(one)
                    batch.extend(others)
                    return
            size //= 2

    def _answer(
        self,
        arrival: _Arrival,
        tail_s: float,
        done: TailComputed,
        now_s: float,
    ) -> SendAnswer:
        self.computed += 1
        frame = arrival.frame
        return SendAnswer(
            TailAnswer(
                number=frame.number,
                session=frame.session,
                status=Status.OK,
                detail="",
                answer=done.answer,
                exit_number=frame.exit_number,
                tail_s=tail_s,
                residence_s=now_s - arrival.received_s,
                sent_echo_s=frame.sent_s,
                received_bytes=frame.received_bytes,
                edge_slowdown=done.spent_s / done.profiled_s if done.profiled_s > 0 else math.nan,
                context=frame.context,
                send_interval_s=self._send_interval_s(frame.car_id, now_s),
            )
        )

    def _send_interval_s(self, car: str, now_s: float) -> float:
        return self._demands.send_interval_s(now_s, car, self._queue.shares)

    def _refuse(
        self,
        arrival: _Arrival,
        status: Status,
        reason: str,
        now_s: float,
        actions: list[TailAction],
    ) -> None:
        self.refused[status] += 1
        frame = arrival.frame
        refusal = SendAnswer(
            TailAnswer(
                number=frame.number,
                session=frame.session,
                status=status,
                detail=shortened(reason),
                answer=None,
                exit_number=frame.exit_number,
                tail_s=0.0,
                residence_s=now_s - arrival.received_s,
                sent_echo_s=frame.sent_s,
                received_bytes=frame.received_bytes,
                context=frame.context,
                send_interval_s=self._send_interval_s(frame.car_id, now_s),
            )
        )
        actions.append(refusal)


def _is_able(part: Hashable, ends_s: float, one: Waiting[_Arrival]) -> bool:
    """Whether a frame can be in a batch of a part that ends then."""
    return one.item.frame.part == part and one.deadline_s >= ends_s
