"""The edge's side as a state machine: which car's frame is computed next, and which are refused.

One inference thread does all computing. Before it stands a queue for every car, in which that car's
newest frames win; the one that they displace is answered as busy at once, so that its head need not
wait for nothing. Cars share the edge's time by their shares, and none can displace another's frames
(``core.fair_queue``). While cars ask for more than there is, every answer says how often its car
may send (``core.demand``). A frame that cannot be ready when its car stops waiting is refused as
soon as that is known: when it comes, or when it would be begun. A frame whose part of the network
has yet to be compiled waits for that in its car's queue, while other cars' frames, and those that
came before it, go on. ``TailCore.handle`` takes an event and its time and says what is to be done.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from dapdee_ros.core.demand import Demands
from dapdee_ros.core.fair_queue import FairQueue, QueueBounds, Waiting, Why
from dapdee_ros.core.frames import Status, TailAnswer
from dapdee_ros.estimation.rejections import shortened

BUSY_NEWER = "a newer frame took its place on the edge"
BUSY_CARS = "frames of too many cars are waiting on the edge"
BUSY_BYTES = "too many bytes are waiting on the edge"
BUSY_LATE = "it would not be ready in time on the edge"
BUSY_SHUTDOWN = "the edge is shutting down"

_REASONS = {Why.NEWER: BUSY_NEWER, Why.CARS: BUSY_CARS, Why.BYTES: BUSY_BYTES}

MOST_CARS = 32
"""Most cars whose frames may be waiting; another one's is refused."""

_SMOOTHING = 0.2
_MOST_PARTS = 256


@dataclass(frozen=True, slots=True)
class TensorsArrived:
    """A head's frame came.

    Attributes:
        number: the frame's number.
        session: its head's, drawn anew at every start.
        exit_number: the exit to compute.
        sent_s: when it was sent, on the car's clock; only ever echoed.
        received_bytes: coded tensor bytes.
        car_id: the car it came from.
        part: what of the network it needs; equal for frames that need the same.
        payload: the frame itself, for whoever computes it.
        context: whatever shall come back with the answer.
        answer_within_s: for how long, from now, an answer is of use; not above 0: not known.
    """

    number: int
    session: int
    exit_number: int
    sent_s: float
    received_bytes: int
    car_id: str = ""
    part: Hashable = None
    payload: Any = None
    context: Any = None
    answer_within_s: float = 0.0


@dataclass(frozen=True, slots=True)
class TailComputed:
    """The frame in work was computed.

    Attributes:
        answer: what its exit says.
        spent_s: seconds of computing.
        profiled_s: what that takes by the profile; NaN without one.
    """

    answer: Any
    spent_s: float
    profiled_s: float


@dataclass(frozen=True, slots=True)
class TailFailed:
    """The frame in work was not computed: with which status it is answered, and why."""

    status: Status
    reason: str


@dataclass(frozen=True, slots=True)
class TailUnready:
    """The frame in work cannot be computed before its part is compiled; ``PartReady`` follows."""


@dataclass(frozen=True, slots=True)
class PartReady:
    """What frames of one part waited for is over: it was compiled, or cannot be."""

    part: Hashable


@dataclass(frozen=True, slots=True)
class SharesSet:
    """The cars' shares of the edge's time, relative to each other; not named: 1."""

    shares: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class TailStopped:
    """The edge ends."""


TailEvent = (
    TensorsArrived | TailComputed | TailFailed | TailUnready | PartReady | SharesSet | TailStopped
)


@dataclass(frozen=True, slots=True)
class RunTail:
    """Check and compute a frame; ``TailComputed`` or ``TailFailed`` follows."""

    frame: TensorsArrived


@dataclass(frozen=True, slots=True)
class SendAnswer:
    """Answer a frame."""

    answer: TailAnswer


TailAction = RunTail | SendAnswer


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A frame and when it came."""

    frame: TensorsArrived
    received_s: float


class _PartCosts:
    """What frames of each part took, smoothed; in s."""

    def __init__(self) -> None:
        self._seconds: dict[Hashable, float] = {}

    def of(self, part: Hashable) -> float:
        """Expected seconds of a frame; 0 before the first one."""
        return self._seconds.get(part, 0.0)

    def learn(self, part: Hashable, seconds: float) -> None:
        """A frame took so long."""
        before_s = self._seconds.get(part)
        if before_s is not None:
            seconds = before_s + _SMOOTHING * (seconds - before_s)
        elif len(self._seconds) >= _MOST_PARTS:
            del self._seconds[next(iter(self._seconds))]
        self._seconds[part] = seconds


class TailCore:
    """Finishes frames that heads began, of any number of cars. Not for several threads at once.

    Attributes:
        computed: frames that were computed.
        refused: frames answered with a status other than ok, by status.
    """

    def __init__(
        self, bounds: QueueBounds | None = None, shares: Mapping[str, float] | None = None
    ) -> None:
        """Prepare.

        Args:
            bounds: how much may wait; by default one frame per car, of ``MOST_CARS``.
            shares: as in ``SharesSet``.

        Raises:
            ShareError: if a share makes no sense.
        """
        self.computed = 0
        self.refused: dict[Status, int] = dict.fromkeys(list(Status)[1:], 0)
        self._queue = FairQueue[_Arrival](bounds or QueueBounds(frames=1, cars=MOST_CARS), shares)
        self._costs = _PartCosts()
        self._demands = Demands()
        self._work: tuple[Waiting[_Arrival], float] | None = None
        self._compiling: set[Hashable] = set()
        self._stopped = False

    @property
    def queue_depth(self) -> int:
        """Frames waiting or in work."""
        return len(self._queue) + (self._work is not None)

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
        elif isinstance(event, PartReady):
            self._compiling.discard(event.part)
            self._queue.ready_again(lambda item: item.frame.part == event.part)
        else:
            self._end_work(event, now_s, actions)
        if self._work is None:
            self._begin_next(now_s, actions)
        return actions

    def _admit(self, frame: TensorsArrived, now_s: float, actions: list[TailAction]) -> None:
        """Put a frame into its car's queue, or refuse it; what has to make way is refused."""
        arrival = _Arrival(frame, now_s)
        if self._stopped:
            self._refuse(arrival, Status.BUSY, BUSY_SHUTDOWN, now_s, actions)
            return
        cost_s = self._costs.of(frame.part)
        self._demands.came(now_s, frame.car_id, cost_s)
        due_s = now_s + frame.answer_within_s if frame.answer_within_s > 0 else math.inf
        # An idle edge tries every frame: only so it learns that it is faster than it expected.
        if self._work is not None and due_s < math.inf:
            work, begun_s = self._work
            free_s = max(now_s, begun_s + work.cost_s)
            if free_s + self._queue.ahead_s(frame.car_id, due_s) + cost_s > due_s:
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
        event: TailComputed | TailFailed | TailUnready,
        now_s: float,
        actions: list[TailAction],
    ) -> None:
        if self._work is None:
            raise ValueError("no frame is in work")
        (work, begun_s), self._work = self._work, None
        arrival = work.item
        if isinstance(event, TailUnready):
            if self._stopped:
                self._refuse(arrival, Status.BUSY, BUSY_SHUTDOWN, now_s, actions)
                return
            self._compiling.add(arrival.frame.part)
            if not self._queue.put_back(work):
                self._refuse(arrival, Status.BUSY, BUSY_NEWER, now_s, actions)
            return
        spent_s = now_s - begun_s
        if isinstance(event, TailFailed):
            self._refuse(arrival, event.status, event.reason, now_s, actions)
        else:
            self._costs.learn(arrival.frame.part, spent_s)
            actions.append(self._answer(arrival, begun_s, event, now_s))
        self._queue.charge(work, spent_s)

    def _begin_next(self, now_s: float, actions: list[TailAction]) -> None:
        """Give the inference thread its next frame, past those that can't be ready in time."""
        compiling = self._compiling
        ready = (lambda item: item.frame.part not in compiling) if compiling else None
        while (waiting := self._queue.take(ready)) is not None:
            arrival = waiting.item
            waited = now_s > arrival.received_s
            if waited and now_s + self._costs.of(arrival.frame.part) > waiting.deadline_s:
                self._refuse(arrival, Status.BUSY, BUSY_LATE, now_s, actions)
                continue
            self._work = (waiting, now_s)
            actions.append(RunTail(arrival.frame))
            return

    def _answer(
        self,
        arrival: _Arrival,
        begun_s: float,
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
                tail_s=now_s - begun_s,
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
