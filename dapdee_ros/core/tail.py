"""The edge's side as a state machine: which car's frame is computed next, and which are refused.

One inference thread does all computing. Before it stands a mailbox for every car, in which that
car's newest frame wins; the one that it displaces is answered as busy at once, so that its head
need not wait for nothing. Cars are served in turn, so none can displace or starve another's frames.
A frame whose part of the network has yet to be compiled waits for that in its car's mailbox, while
other cars' frames, and those that came before it, go on. ``TailCore.handle`` takes an event and its
time and says what is to be done.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from dapdee_ros.core.frames import Status, TailAnswer
from dapdee_ros.estimation.rejections import shortened

BUSY_NEWER = "a newer frame took its place on the edge"
BUSY_CARS = "frames of too many cars are waiting on the edge"
BUSY_SHUTDOWN = "the edge is shutting down"

MOST_CARS = 32
"""Most cars whose frames may be waiting; of more the one that has waited longest is refused."""


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
class TailStopped:
    """The edge ends."""


TailEvent = TensorsArrived | TailComputed | TailFailed | TailUnready | PartReady | TailStopped


@dataclass(frozen=True, slots=True)
class RunTail:
    """Check and compute a frame; ``TailComputed`` or ``TailFailed`` follows."""

    frame: TensorsArrived


@dataclass(frozen=True, slots=True)
class SendAnswer:
    """Answer a frame."""

    answer: TailAnswer


TailAction = RunTail | SendAnswer


class TailCore:
    """Finishes frames that heads began, of any number of cars. Not for several threads at once.

    Attributes:
        computed: frames that were computed.
        refused: frames answered with a status other than ok, by status.
    """

    def __init__(self) -> None:
        self.computed = 0
        self.refused: dict[Status, int] = dict.fromkeys(list(Status)[1:], 0)
        self._waiting: OrderedDict[str, tuple[TensorsArrived, float]] = OrderedDict()
        self._work: tuple[TensorsArrived, float, float] | None = None
        self._compiling: set[Hashable] = set()
        self._stopped = False

    @property
    def queue_depth(self) -> int:
        """Frames waiting or in work."""
        return len(self._waiting) + (self._work is not None)

    def handle(self, now_s: float, event: TailEvent) -> list[TailAction]:
        """Take an event and say what is to be done, in order.

        Args:
            now_s: when it happened, on the caller's monotonic clock.
            event: what happened.
        """
        actions: list[TailAction] = []
        if isinstance(event, TensorsArrived):
            for refused, why in self._make_room(event, now_s):
                actions.append(self._refuse(*refused, Status.BUSY, why, now_s))
        elif isinstance(event, TailStopped):
            self._stopped = True
            while self._waiting:
                _, waiting = self._waiting.popitem(last=False)
                actions.append(self._refuse(*waiting, Status.BUSY, BUSY_SHUTDOWN, now_s))
        elif isinstance(event, PartReady):
            self._compiling.discard(event.part)
        else:
            if self._work is None:
                raise ValueError("no frame is in work")
            frame, received_s, begun_s = self._work
            self._work = None
            if isinstance(event, TailUnready):
                actions += self._put_back(frame, received_s, now_s)
            elif isinstance(event, TailFailed):
                refusal = self._refuse(frame, received_s, event.status, event.reason, now_s)
                actions.append(refusal)
            else:
                actions.append(self._answer(frame, received_s, begun_s, event, now_s))
        if self._work is None:
            # The car that has waited longest; its next frame queues up behind all others.
            ready = (f for f, _ in self._waiting.values() if f.part not in self._compiling)
            if (next_frame := next(ready, None)) is not None:
                frame, received_s = self._waiting.pop(next_frame.car_id)
                self._work = (frame, received_s, now_s)
                actions.append(RunTail(frame))
        return actions

    def _put_back(self, frame: TensorsArrived, received_s: float, now_s: float) -> list[SendAnswer]:
        """A frame whose part is not ready goes back to the head of the queue."""
        if self._stopped:
            return [self._refuse(frame, received_s, Status.BUSY, BUSY_SHUTDOWN, now_s)]
        self._compiling.add(frame.part)
        if frame.car_id in self._waiting:
            return [self._refuse(frame, received_s, Status.BUSY, BUSY_NEWER, now_s)]
        self._waiting[frame.car_id] = (frame, received_s)
        self._waiting.move_to_end(frame.car_id, last=False)
        return []

    def _make_room(
        self, frame: TensorsArrived, now_s: float
    ) -> list[tuple[tuple[TensorsArrived, float], str]]:
        """Put a frame into its car's mailbox; returns what has to make way for it, and why."""
        if self._stopped:
            return [((frame, now_s), BUSY_SHUTDOWN)]
        displaced = self._waiting.get(frame.car_id)
        # The place in the queue is the car's: it does not lose it to a newer frame of its own.
        self._waiting[frame.car_id] = (frame, now_s)
        if displaced is not None:
            return [(displaced, BUSY_NEWER)]
        if len(self._waiting) > MOST_CARS:
            return [(self._waiting.popitem(last=False)[1], BUSY_CARS)]
        return []

    def _answer(
        self,
        frame: TensorsArrived,
        received_s: float,
        begun_s: float,
        done: TailComputed,
        now_s: float,
    ) -> SendAnswer:
        self.computed += 1
        return SendAnswer(
            TailAnswer(
                number=frame.number,
                session=frame.session,
                status=Status.OK,
                detail="",
                answer=done.answer,
                exit_number=frame.exit_number,
                tail_s=now_s - begun_s,
                residence_s=now_s - received_s,
                sent_echo_s=frame.sent_s,
                received_bytes=frame.received_bytes,
                edge_slowdown=done.spent_s / done.profiled_s if done.profiled_s > 0 else math.nan,
                context=frame.context,
            )
        )

    def _refuse(
        self, frame: TensorsArrived, received_s: float, status: Status, reason: str, now_s: float
    ) -> SendAnswer:
        self.refused[status] += 1
        return SendAnswer(
            TailAnswer(
                number=frame.number,
                session=frame.session,
                status=status,
                detail=shortened(reason),
                answer=None,
                exit_number=frame.exit_number,
                tail_s=0.0,
                residence_s=now_s - received_s,
                sent_echo_s=frame.sent_s,
                received_bytes=frame.received_bytes,
                context=frame.context,
            )
        )
