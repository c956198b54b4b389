"""The vocabulary of the runtime: the frames sent to the edge, and the results."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from dapdee_ros.codecs import TensorSpec
from dapdee_ros.planning import sites


class Status(IntEnum):
    """How the edge answered; the values are those of InferenceResult's STATUS_*."""

    OK = 0
    WRONG_MODEL = 1
    BAD_TENSOR = 2
    BUSY = 3
    ERROR = 4
    DRAINING = 5


class Place(IntEnum):
    """Where a frame was finished; the values are those of InferenceResult's PLACE_*."""

    CAR = 0
    EDGE = 1
    CAR_FALLBACK = 2

    @property
    def site(self) -> str:
        """Id of the site that finished the frame."""
        return sites.EDGE if self is Place.EDGE else sites.CAR

    @property
    def word(self) -> str:
        """What run logs, pages and tables call it: a site that finished as planned by its id."""
        return "fallback" if self is Place.CAR_FALLBACK else self.site

    @classmethod
    def of(cls, value: int) -> Place | None:
        """The place with this value; None if there is none, as in a message from outside.

        Compare it with None: ``CAR`` counts as false.
        """
        return next((place for place in cls if place == value), None)


DEADLINE_BOUNDS_S = (0.001, 60.0)
"""Shortest and longest deadline that can be set, or that a plan may have, in s."""

WINDOW_BOUNDS = (1, 16)
"""Fewest and most frames in flight between head and edge."""


@dataclass(frozen=True)
class Server:
    """An edge server that can finish the frames of a plan.

    Attributes:
        name: its name, the id of its site.
        remote_s: predicted T_t + T_e over it in s; NaN if unknown. Says how long its answer is
            worth waiting for.
        transfer_s: predicted T_t alone in s; NaN if unknown.
    """

    name: str = sites.EDGE
    remote_s: float = math.nan
    transfer_s: float = math.nan


@dataclass(frozen=True)
class FramePlan:
    """The head's program for a frame.

    Attributes:
        epoch: number of the plan, 0 for the one that a head starts with.
        exit_number: exit that answers, 1 is the shallowest.
        boundary: names of the tensors to send; empty: the car finishes alone.
        codec: how they are coded.
        gate: exit that may end the frame on the car, or None.
        gate_threshold: confidence, 0 to 1, from which on it does.
        predicted_remote_s: of ``server``, as in ``Server``.
        predicted_transfer_s: likewise.
        deadline_s: from accepting a frame to its result, in s; None: as the head is set.
        max_in_flight: most frames between head and edge; None: as the head is set.
        server: name of the edge server that finishes the frames.
        spares: other servers that can finish them, and are expected to be in time.
    """

    epoch: int
    exit_number: int
    boundary: tuple[str, ...] = ()
    codec: str = "f32"
    gate: int | None = None
    gate_threshold: float = 1.0
    predicted_remote_s: float = math.nan
    deadline_s: float | None = None
    max_in_flight: int | None = None
    predicted_transfer_s: float = math.nan
    server: str = sites.EDGE
    spares: tuple[Server, ...] = ()

    @property
    def servers(self) -> tuple[Server, ...]:
        """Its server and the spares."""
        own = Server(self.server, self.predicted_remote_s, self.predicted_transfer_s)
        return (own, *self.spares)


@dataclass(frozen=True)
class HeadFrame:
    """A frame sent to the edge; the same fields as the HeadTensor message.

    Attributes:
        number: the frame's number, counted by the head that accepted it.
        session: the head's session.
        sent_s: the car's monotonic clock, in s; only ever echoed.
        model_id: id of the model whose tensors these are.
        exit_number: exit to compute.
        codec: how the tensors were coded.
        specs: how they lie in ``data``.
        data: their bytes.
        car_id: the car that sent it.
        context: whatever the caller wants back with the answer (the image's header).
        answer_within_s: for how long, from its arrival, an answer is of use; 0: not known.
        server: name of the server that it is for; empty: whichever takes it.
    """

    number: int
    session: int
    sent_s: float
    model_id: str
    exit_number: int
    codec: str
    specs: Sequence[TensorSpec]
    data: array[int] | bytes
    car_id: str = ""
    context: Any = None
    answer_within_s: float = 0.0
    server: str = sites.EDGE

    @property
    def is_announcement(self) -> bool:
        """Whether it is no frame: it says which tensors the next ones will have."""
        return self.number == 0 and bool(self.specs) and not self.data


@dataclass(frozen=True)
class TailAnswer:
    """The edge's answer to one HeadFrame.

    Attributes:
        number: the frame's number.
        session: the head's session.
        status: ok, or why not.
        detail: why not, as text.
        answer: its exit's answer, a value of the model's task; None unless ok.
        exit_number: exit that gave it.
        tail_s: T_e, seconds of decoding and computing; of a batch, the frame's part.
        residence_s: seconds between arrival and answer, waiting included.
        sent_echo_s: ``sent_s`` of the frame.
        received_bytes: encoded tensor bytes received.
        edge_slowdown: measured over profiled seconds; NaN without a profile.
        context: the frame's context.
        send_interval_s: seconds between two frames by which the car uses its share of the edge; 0:
            it need not hold back.
        server: name of the server that it came from, as the receiver knows it.
    """

    number: int
    session: int
    status: Status
    detail: str
    answer: Any
    exit_number: int
    tail_s: float
    residence_s: float
    sent_echo_s: float
    received_bytes: int = 0
    edge_slowdown: float = math.nan
    context: Any = None
    send_interval_s: float = 0.0
    server: str = sites.EDGE


@dataclass(frozen=True)
class FrameResult:
    """The only result of a frame that the head accepted.

    Attributes:
        number: the frame's number.
        session: the head's session.
        plan: the plan under which it started.
        answer: a value of the model's task; None where nothing is computed, as in a simulation.
        exit_number: exit that gave it.
        place: where that was.
        detail: why there, if not as planned.
        head_s: T_d in s.
        transfer_s: T_t in s, 0 unless finished on the edge.
        tail_s: T_e in s, 0 unless finished on the edge.
        latency_s: from accepting the frame to this result, in s.
        sent_bytes: coded tensor bytes sent, 0 if nothing was.
        deadline_s: the deadline it ran under, in s.
        car_slowdown: measured over profiled seconds on the car; NaN without a profile.
        edge_slowdown: the same on the edge; NaN if nothing ran there.
        residence_s: seconds on the edge, 0 unless finished there.
        sent_s: when it was sent (car's clock), NaN if it was not.
        cpu_wait_s: of ``transfer_s``, at most how much the car waited for a processor; NaN if that
            is not known, or nothing was sent.
        sent_codec: how it was coded, if not as the plan says; else empty.
        server: name of the server that answered it, or that it was sent to last; empty: to none.
        context: passed with the frame.
    """

    number: int
    session: int
    plan: FramePlan
    answer: Any
    exit_number: int
    place: Place
    detail: str
    head_s: float
    transfer_s: float
    tail_s: float
    latency_s: float
    sent_bytes: int
    deadline_s: float
    car_slowdown: float = math.nan
    edge_slowdown: float = math.nan
    residence_s: float = 0.0
    sent_s: float = math.nan
    cpu_wait_s: float = math.nan
    sent_codec: str = ""
    context: Any = None
    server: str = ""

    @property
    def site(self) -> str:
        """Id of the site that finished it."""
        return self.server or sites.EDGE if self.place is Place.EDGE else sites.CAR
