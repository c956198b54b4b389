"""A frame on the car, from its start to its result; and which answers can end it."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NamedTuple

from dapdee_ros.core.frames import FrameResult, Place, Status, TailAnswer
from dapdee_ros.core.head_events import Encoded, Unused
from dapdee_ros.core.head_settings import HeadSettings
from dapdee_ros.core.programs import HeadProgram
from dapdee_ros.estimation.frame_delay import waited_since
from dapdee_ros.estimation.rejections import shortened

_SENT_REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class Waiting:
    """A frame in the mailbox: its number, its context, and its arrival time, in s."""

    number: int
    context: Any
    accepted_s: float


class Sending(NamedTuple):
    """To which server a frame was sent, and when, in s on the car's clock.

    Attributes:
        server: its name.
        sent_s: when.
        cpu_wait_s: how long the driver had waited for a processor by then; NaN if not known.
    """

    server: str
    sent_s: float
    cpu_wait_s: float = math.nan


@dataclass(slots=True)
class Frame:
    """A frame that has not ended; times in s on the car's clock.

    ``done_by_s`` is when the car has to have finished it, ``deepest_s`` and ``quickest_s`` what the
    car takes for that at the planned and at its quickest exit.
    """

    number: int
    context: Any
    accepted_s: float
    program: HeadProgram
    settings: HeadSettings
    may_send: bool = False
    begun_s: float = math.nan
    sent_s: float = math.nan
    cpu_wait_at_sending_s: float = math.nan
    head_s: float = 0.0
    sent_bytes: int = 0
    sent_codec: str = ""
    unread_s: float = 0.0
    server: str = ""
    earlier: Sending | None = None
    has_spare: bool = False
    is_refused: bool = False
    done_by_s: float = math.inf
    deepest_s: float = 0.0
    quickest_s: float = 0.0
    fallback_at_s: float = math.inf
    hand_over_at_s: float = math.inf
    planned_s: float = math.nan
    planned_slowdown: float = math.nan
    exit_number: int = 0
    car_slowdown: float = math.nan
    detail: str = ""

    @property
    def deadline_at_s(self) -> float:
        """When its result is due."""
        return self.accepted_s + self.settings.deadline_s

    @property
    def last_answer_s(self) -> float:
        """When an answer has to be there, so that the car could still have finished it instead."""
        return self.done_by_s - self.quickest_s

    def on_encoded(self, now_s: float, event: Encoded) -> None:
        """It can be sent."""
        self.sent_bytes = event.sent_bytes
        self.sent_codec = event.codec
        self.cpu_wait_at_sending_s = event.cpu_wait_s
        self.head_s = now_s - self.begun_s

    def on_sent(self, now_s: float, server: str) -> None:
        """It is sent to a server now, for the first or the second time."""
        if self.server:
            self.earlier = Sending(self.server, self.sent_s, self.cpu_wait_at_sending_s)
            self.cpu_wait_at_sending_s = math.nan
        self.server, self.sent_s, self.is_refused = server, now_s, False

    def was_sent_to(self, server: str) -> bool:
        """Whether this server may answer it."""
        return server == self.server or (self.earlier is not None and server == self.earlier.server)

    def sending_to(self, server: str) -> Sending:
        """When it was sent to a server that may answer it."""
        if self.earlier is not None and server == self.earlier.server:
            return self.earlier
        return Sending(self.server, self.sent_s, self.cpu_wait_at_sending_s)

    def result(
        self,
        session: int,
        now_s: float,
        answer: Any,
        *,
        exit_number: int,
        place: Place,
        transfer_s: float = 0.0,
        tail_s: float = 0.0,
        residence_s: float = 0.0,
        edge_slowdown: float = math.nan,
        cpu_wait_s: float = math.nan,
        sending: Sending | None = None,
    ) -> FrameResult:
        """Its result, now; see ``FrameResult`` for the arguments.

        Of two sendings ``sending`` is the one that was answered; by default the last.
        """
        server, sent_s, _ = sending or Sending(self.server, self.sent_s)
        return FrameResult(
            number=self.number,
            session=session,
            plan=self.program.plan,
            answer=answer,
            exit_number=exit_number,
            place=place,
            detail=self.detail,
            head_s=self.head_s,
            transfer_s=transfer_s,
            tail_s=tail_s,
            latency_s=now_s - self.accepted_s,
            sent_bytes=self.sent_bytes,
            sent_codec=self.sent_codec,
            deadline_s=self.settings.deadline_s,
            car_slowdown=self.car_slowdown,
            edge_slowdown=edge_slowdown,
            residence_s=residence_s,
            sent_s=sent_s,
            cpu_wait_s=cpu_wait_s,
            context=self.context,
            server=server,
        )


class SentFrames:
    """When the last frames were sent, and their sizes, even if they have ended."""

    def __init__(self) -> None:
        self._sent: OrderedDict[tuple[str, int], tuple[float, int, float]] = OrderedDict()

    def remember(self, frame: Frame) -> None:
        """A frame was sent."""
        record = (frame.sent_s, frame.sent_bytes, frame.cpu_wait_at_sending_s)
        self._sent[frame.server, frame.number] = record
        while len(self._sent) > _SENT_REMEMBERED:
            self._sent.popitem(last=False)

    def forget(self, server: str, number: int) -> None:
        """The frame has a result of this server, which contains this information."""
        self._sent.pop((server, number), None)

    def unused(self, answer: TailAnswer, ours: bool, cpu_wait_s: float) -> list[Unused]:
        """The local record of an answer that ended no frame, returned once per frame.

        The answer itself may be forged, so it is no evidence of a frame.

        Args:
            answer: the answer.
            ours: whether it names this head's session.
            cpu_wait_s: for how long the driver has waited for a processor since it began.
        """
        sent = self._sent.pop((answer.server, answer.number), None) if ours else None
        if sent is None:
            return []
        sent_s, sent_bytes, before_s = sent
        return [Unused(answer, sent_s, sent_bytes, waited_since(before_s, cpu_wait_s))]


def answer_fault(answer: TailAnswer, exit_number: int) -> str:
    """Why an ok answer cannot be for this exit; empty if it can."""
    if answer.exit_number != exit_number:
        return f"exit {answer.exit_number} instead of {exit_number}"
    if not all(0 <= s < math.inf for s in (answer.tail_s, answer.residence_s)):
        return f"{answer.tail_s} s of computing, {answer.residence_s} s of residence"
    return ""


def refusal_of(answer: TailAnswer, misfit: str, frame: Frame, now_s: float) -> str:
    """Why an answer does not end its frame; empty if it does."""
    if answer.status is not Status.OK:
        return f"{answer.status.name.lower()}: {shortened(answer.detail)}"
    exit_number = frame.program.plan.exit_number
    round_trip_s = now_s - frame.sending_to(answer.server).sent_s
    fault = misfit or answer_fault(answer, exit_number)
    if not fault and answer.residence_s > round_trip_s:
        fault = f"{answer.residence_s} s of residence in a round trip of {round_trip_s} s"
    return f"its answer makes no sense: {fault}" if fault else ""
