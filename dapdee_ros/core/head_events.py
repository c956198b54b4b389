"""The events and actions of ``HeadCore``.

Frames are identified by their number; the driver keeps a frame's image and tensors from ``RunHead``
until ``Publish`` or ``Drop``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from dapdee_ros.core.frames import FrameResult, TailAnswer
from dapdee_ros.core.head_settings import HeadSettings
from dapdee_ros.core.ledger import DropKind
from dapdee_ros.core.programs import HeadProgram
from dapdee_ros.planning.sites import EDGE

# --- events -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FrameArrived:
    """A frame arrived; its ``context`` is returned with its result."""

    context: Any = None


@dataclass(frozen=True, slots=True)
class PlanArrived:
    """A plan arrived and was prepared; it is in force from the next frame on."""

    program: HeadProgram


@dataclass(frozen=True, slots=True)
class ManagerHeard:
    """A heartbeat of the last plan's manager: the plan stays in force, or is in force again."""


@dataclass(frozen=True, slots=True)
class SettingsChanged:
    """A parameter was set; it applies from the next frame on."""

    settings: HeadSettings


@dataclass(frozen=True, slots=True)
class GateComputed:
    """The first stage of a frame is done: ``score``, 0 to 1, is the gate's confidence in
    ``answer``.

    Attributes:
        number: the frame.
        score: the gate's confidence.
        answer: the gate's answer.
        spent_s: seconds of computation so far.
    """

    number: int
    score: float
    answer: Any
    spent_s: float


@dataclass(frozen=True, slots=True)
class HeadComputed:
    """The whole head of a frame is done.

    Attributes:
        number: the frame.
        answer: its exit's answer, if the car computed all of it.
        spent_s: seconds of computation, including the gate's; NaN if there was nothing to compute.
        unread_s: seconds that finishing the frame here takes in addition, since its image has not
            been decoded.
    """

    number: int
    answer: Any
    spent_s: float
    unread_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Encoded:
    """The boundary of a frame is encoded.

    Attributes:
        number: the frame.
        sent_bytes: its size.
        cpu_wait_s: for how long the driver has waited for a processor since it began; NaN if that
            is not known.
        codec: how it is coded, if not as planned; else empty.
    """

    number: int
    sent_bytes: int
    cpu_wait_s: float = math.nan
    codec: str = ""


@dataclass(frozen=True, slots=True)
class SendFailed:
    """A frame could not be sent, with the reason as text."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Finished:
    """A frame that the edge did not answer was finished on the car, in ``spent_s`` seconds."""

    number: int
    answer: Any
    spent_s: float


@dataclass(frozen=True, slots=True)
class ComputingFailed:
    """A frame could not be computed, with the reason as text."""

    number: int
    reason: str
    kind: DropKind


@dataclass(frozen=True, slots=True)
class AnswerArrived:
    """The edge answered.

    Attributes:
        answer: its answer.
        misfit: why an ok answer cannot come from this network; empty if it can.
        cpu_wait_s: as in ``Encoded``, now.
    """

    answer: TailAnswer
    misfit: str = ""
    cpu_wait_s: float = math.nan


@dataclass(frozen=True, slots=True)
class TimePassed:
    """The time of a ``WakeAt`` has been reached."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The head ends."""


Event = (
    FrameArrived
    | PlanArrived
    | ManagerHeard
    | SettingsChanged
    | GateComputed
    | HeadComputed
    | Encoded
    | SendFailed
    | Finished
    | ComputingFailed
    | AnswerArrived
    | TimePassed
    | Stopped
)

# --- actions ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunHead:
    """Compute the first stage of a program, the gate's if it has one.

    ``GateComputed``, ``HeadComputed`` or ``ComputingFailed`` follows.
    """

    number: int
    context: Any
    program: HeadProgram


@dataclass(frozen=True, slots=True)
class RunRest:
    """The gate was not confident: compute the rest of the head. ``HeadComputed`` follows."""

    number: int


@dataclass(frozen=True, slots=True)
class Encode:
    """Encode the boundary of a frame. ``Encoded`` follows."""

    number: int


@dataclass(frozen=True, slots=True)
class Finish:
    """Compute an exit from a frame's kept tensors. ``Finished`` follows."""

    number: int
    exit_number: int


Job = RunHead | RunRest | Encode | Finish
"""A job for the inference thread; there is never more than one at a time."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send the encoded boundary of a frame; ``SendFailed`` if that fails at once.

    Attributes:
        number: the frame.
        session: the head's number.
        sent_s: now.
        sent_bytes: size of the boundary.
        program: what the frame goes by.
        context: the frame's.
        answer_within_s: as in ``HeadFrame``.
        server: to whom.
        keep: whether it may have to be sent again, to another server.
    """

    number: int
    session: int
    sent_s: float
    sent_bytes: int
    program: HeadProgram
    context: Any
    answer_within_s: float = 0.0
    server: str = EDGE
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Publish:
    """The only result of a frame. Its state can be freed."""

    result: FrameResult


@dataclass(frozen=True, slots=True)
class Drop:
    """A frame ends without a result. Its state can be freed."""

    number: int
    reason: str
    kind: DropKind


@dataclass(frozen=True, slots=True)
class Unused:
    """An answer of the edge that ended no frame, for a frame that was really sent.

    Attributes:
        answer: the answer.
        sent_s: when the frame was sent, in s on the car's clock.
        sent_bytes: encoded tensor bytes.
        cpu_wait_s: as in ``FrameResult``.
    """

    answer: TailAnswer
    sent_s: float
    sent_bytes: int
    cpu_wait_s: float = math.nan


@dataclass(frozen=True, slots=True)
class Refused:
    """Input from outside was refused: its kind, and why."""

    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class PlanExpired:
    """No heartbeat for this many seconds: the car works alone."""

    after_s: float


@dataclass(frozen=True, slots=True)
class PlanHoldsAgain:
    """The manager is back, and its plan of this epoch is in force."""

    epoch: int


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Deliver ``TimePassed`` at this time, replacing any earlier request."""

    at_s: float


Action = (
    RunHead
    | RunRest
    | Encode
    | Finish
    | Send
    | Publish
    | Drop
    | Unused
    | Refused
    | PlanExpired
    | PlanHoldsAgain
    | WakeAt
)
