"""What a head hears of, and what it has done in return: the events and actions of ``HeadCore``.

Frames are named by their number; what belongs to one (image, tensors) is kept by whoever drives the
core, from ``RunHead`` until ``Publish`` or ``Drop`` names the frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dapdee_ros.core.frames import FrameResult, TailAnswer
from dapdee_ros.core.head_settings import HeadSettings
from dapdee_ros.core.ledger import DropKind
from dapdee_ros.core.programs import HeadProgram

# --- events -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FrameArrived:
    """A frame came; its ``context`` comes back with its result."""

    context: Any = None


@dataclass(frozen=True, slots=True)
class PlanArrived:
    """A plan came and was worked out; it holds from the next frame on."""

    program: HeadProgram


@dataclass(frozen=True, slots=True)
class ManagerHeard:
    """Whoever made the last plan lives, so that it holds on, or holds again."""


@dataclass(frozen=True, slots=True)
class SettingsChanged:
    """Somebody set a parameter; it holds from the next frame on."""

    settings: HeadSettings


@dataclass(frozen=True, slots=True)
class GateComputed:
    """The first stage of a frame is done: ``score``, 0 to 1, is how sure the gate is of ``answer``.

    Attributes:
        number: the frame.
        score: the gate's confidence.
        answer: what the gate says of the frame.
        spent_s: seconds of computing so far.
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
        answer: what its exit says, if the car computed all of it.
        spent_s: seconds of computing, the gate's among them.
    """

    number: int
    answer: Any
    spent_s: float


@dataclass(frozen=True, slots=True)
class Encoded:
    """The boundary of a frame is coded, in so many bytes."""

    number: int
    sent_bytes: int


@dataclass(frozen=True, slots=True)
class SendFailed:
    """A frame that was to be sent was not, for a reason in words."""

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
    """What a frame needed could not be computed, for a reason in words."""

    number: int
    reason: str
    kind: DropKind


@dataclass(frozen=True, slots=True)
class AnswerArrived:
    """The edge answered.

    Attributes:
        answer: its answer.
        misfit: why one that says ok cannot come from this network; empty if it can.
    """

    answer: TailAnswer
    misfit: str = ""


@dataclass(frozen=True, slots=True)
class TimePassed:
    """The time of a ``WakeAt`` has come."""


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
    """The gate was not sure: compute the rest of the head. ``HeadComputed`` follows."""

    number: int


@dataclass(frozen=True, slots=True)
class Encode:
    """Code the boundary of a frame. ``Encoded`` follows."""

    number: int


@dataclass(frozen=True, slots=True)
class Finish:
    """Compute an exit from what was kept of a frame. ``Finished`` follows."""

    number: int
    exit_number: int


Job = RunHead | RunRest | Encode | Finish
"""What takes time on the inference thread; there is never more than one at a time."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send the coded boundary of a frame; ``SendFailed`` if that fails at once."""

    number: int
    session: int
    sent_s: float
    sent_bytes: int
    program: HeadProgram
    context: Any


@dataclass(frozen=True, slots=True)
class Publish:
    """The one result of a frame. Whatever was kept of it is not needed any more."""

    result: FrameResult


@dataclass(frozen=True, slots=True)
class Drop:
    """A frame ends without a result. Whatever was kept of it is not needed any more."""

    number: int
    reason: str
    kind: DropKind


@dataclass(frozen=True, slots=True)
class Unused:
    """An answer of the edge that ended no frame, to a frame that was really sent.

    Attributes:
        answer: the answer.
        sent_s: when the frame was sent, in s on the car's clock.
        sent_bytes: coded tensor bytes.
    """

    answer: TailAnswer
    sent_s: float
    sent_bytes: int


@dataclass(frozen=True, slots=True)
class Refused:
    """Something that came from outside was not used: its kind, and why."""

    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class PlanExpired:
    """No manager was heard for so many seconds: the car drives alone."""

    after_s: float


@dataclass(frozen=True, slots=True)
class PlanHoldsAgain:
    """A manager is heard again, and its plan of this epoch holds."""

    epoch: int


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Tell ``TimePassed`` at this time, instead of any that was named before."""

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
