"""A frame on the car, from its start to its result; and which answers can end it."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

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


@dataclass(slots=True)
class Frame:
    """A frame that has not ended; times in s on the car's clock."""

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
    fallback_at_s: float = math.inf
    planned_s: float = math.nan
    planned_slowdown: float = math.nan
    exit_number: int = 0
    car_slowdown: float = math.nan
    detail: str = ""

    @property
    def deadline_at_s(self) -> float:
        """When its result is due."""
        return self.accepted_s + self.settings.deadline_s

    def on_encoded(self, now_s: float, event: Encoded) -> None:
        """It is sent now."""
        self.sent_bytes, self.sent_s = event.sent_bytes, now_s
        self.sent_codec = event.codec
        self.cpu_wait_at_sending_s = event.cpu_wait_s
        self.head_s = now_s - self.begun_s

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
    ) -> FrameResult:
        """Its result, now; see ``FrameResult`` for the arguments."""
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
            sent_s=self.sent_s,
            cpu_wait_s=cpu_wait_s,
            context=self.context,
        )


class SentFrames:
    """When the last frames were sent, and their sizes, even if they have ended."""

    def __init__(self) -> None:
        self._sent: OrderedDict[int, tuple[float, int, float]] = OrderedDict()

    def remember(self, frame: Frame) -> None:
        """A frame was sent."""
        self._sent[frame.number] = (frame.sent_s, frame.sent_bytes, frame.cpu_wait_at_sending_s)
        while len(self._sent) > _SENT_REMEMBERED:
            self._sent.popitem(last=False)

    def forget(self, number: int) -> None:
        """The frame has a result, which contains this information."""
        self._sent.pop(number, None)

    def unused(self, answer: TailAnswer, ours: bool, cpu_wait_s: float) -> list[Unused]:
        """The local record of an answer that ended no frame, returned once per frame.

        The answer itself may be forged, so it is no evidence of a frame.

        Args:
            answer: the answer.
            ours: whether it names this head's session.
            cpu_wait_s: for how long the driver has waited for a processor since it began.
        """
        sent = self._sent.pop(answer.number, None) if ours else None
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
    exit_number, round_trip_s = frame.program.plan.exit_number, now_s - frame.sent_s
    fault = misfit or answer_fault(answer, exit_number)
    if not fault and answer.residence_s > round_trip_s:
        fault = f"{answer.residence_s} s of residence in a round trip of {round_trip_s} s"
    return f"its answer makes no sense: {fault}" if fault else ""
