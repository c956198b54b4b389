"""The events and actions of ``TailCore``.

Frames of equal ``part`` need the same of the network, so that several of them can be computed
together, as a batch.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dapdee_ros.core.frames import Status, TailAnswer

# --- events -----------------------------------------------------------------------------------


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
        spent_s: seconds of computing; of a batch, the frame's part of them.
        profiled_s: what that takes by the profile; NaN without one.
        took_s: seconds of the whole run, if it was of this frame alone, from its first check to its
            answer; NaN: those since it was begun.
        place: as ``RunTail`` said.
        waited_s: seconds since it was begun in which it only waited for other runs.
    """

    answer: Any
    spent_s: float
    profiled_s: float
    took_s: float = math.nan
    place: int = 0
    waited_s: float = 0.0


@dataclass(frozen=True, slots=True)
class TailFailed:
    """The frame in work was not computed.

    Attributes:
        status: with which status it is answered.
        reason: why.
        place: as ``RunTail`` said.
    """

    status: Status
    reason: str
    place: int = 0


@dataclass(frozen=True, slots=True)
class BatchEnded:
    """The batch in work ended.

    Attributes:
        outcomes: each frame's, in the order of ``RunTail.frames``.
        took_s: seconds of the whole run; NaN: those since it was begun.
        place: as ``RunTail`` said.
        waited_s: as of ``TailComputed``.
    """

    outcomes: Sequence[TailComputed | TailFailed]
    took_s: float = math.nan
    place: int = 0
    waited_s: float = 0.0


@dataclass(frozen=True, slots=True)
class TailUnready:
    """The frame in work cannot be computed before its part is compiled; ``PartReady`` follows.

    Attributes:
        place: as ``RunTail`` said.
    """

    place: int = 0


@dataclass(frozen=True, slots=True)
class PartReady:
    """What frames of one part waited for is over: it was compiled, or cannot be."""

    part: Hashable


@dataclass(frozen=True, slots=True)
class BatchesReady:
    """What ``PrepareBatches`` asked for is over: a part is computed in batches from now on, or not.

    It may also be told later that it is not any more.
    """

    part: Hashable
    possible: bool


@dataclass(frozen=True, slots=True)
class SharesSet:
    """The cars' shares of the edge's time, relative to each other; not named: 1."""

    shares: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class PlacesSet:
    """So many runs may be in work at once from now on; at least one may.

    More of them that are in work already go on.
    """

    places: int


@dataclass(frozen=True, slots=True)
class TailStopped:
    """The edge ends."""


TailEvent = (
    TensorsArrived
    | TailComputed
    | TailFailed
    | BatchEnded
    | TailUnready
    | PartReady
    | BatchesReady
    | SharesSet
    | PlacesSet
    | TailStopped
)

# --- actions ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunTail:
    """Check and compute a frame; ``TailComputed``, ``TailFailed`` or ``TailUnready`` follows.

    Attributes:
        frame: the frame.
        others: frames of the same part to be computed together with it; then ``BatchEnded``
            follows.
        place: what follows has to name it; no two runs that are in work have the same.
    """

    frame: TensorsArrived
    others: tuple[TensorsArrived, ...] = ()
    place: int = 0

    @property
    def frames(self) -> tuple[TensorsArrived, ...]:
        """All of them."""
        return (self.frame, *self.others)


@dataclass(frozen=True, slots=True)
class PrepareBatches:
    """Frames like this one wait for each other: compile their part for batches.

    ``BatchesReady`` follows; a driver that has no batches may ignore it.
    """

    frame: TensorsArrived


@dataclass(frozen=True, slots=True)
class SendAnswer:
    """Answer a frame."""

    answer: TailAnswer


TailAction = RunTail | PrepareBatches | SendAnswer
