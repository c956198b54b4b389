"""The content of one image of the live view. No ROS here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from dapdee_ros.nodes.drawing import CAR, EDGE, FALLBACK, Colour, Picture
from dapdee_ros.nodes.shown_scene import Box, NamedMap
from dapdee_ros.tasks.records import NO_ANSWER, Record

HEIGHT = 480
MARGIN = 18
HISTORY_S = 60.0
# An older answer says nothing about what the camera sees now.
OLD_S = 1.0
Stamp = tuple[int, int]
PLACES: dict[str, tuple[str, Colour]] = {
    "car": ("CAR", CAR),
    "edge": ("EDGE", EDGE),
    "fallback": ("CAR, FALLBACK", FALLBACK),
}


@dataclass(frozen=True)
class Answer:
    """The result of one frame.

    Attributes:
        label: name of the class.
        score: its probability, 0 to 1.
        truth: name of the true class, or None if it is unknown.
        exit_number: exit that answered.
        place: ``car``, ``edge`` or ``fallback``.
        boundary: names of the tensors sent.
        codec: their codec.
        sent_bytes: how much was sent.
        head_s: T_d in s.
        transfer_s: T_t in s.
        tail_s: T_e in s.
        latency_s: from receiving the image to the result, in s.
        car_share: share of the network's operations on the car, 0 to 1; None if unknown.
        detail: why it was finished where it was, if not as planned.
        deadline_s: the deadline that it ran under, in s; None: the one that is shown.
        boxes: the objects found, best first; None of a network that finds none.
        true_boxes: the objects that are there; None if they are unknown.
        class_map: the class of every place; None of a network that does not say.
        record: the answer as run logs hold it, to be judged.
        server: name of the edge server that answered; empty: none, or the only one.
    """

    label: str
    score: float
    truth: str | None
    exit_number: int
    place: str
    boundary: tuple[str, ...] = ()
    codec: str = ""
    sent_bytes: int = 0
    head_s: float = 0.0
    transfer_s: float = 0.0
    tail_s: float = 0.0
    latency_s: float = 0.0
    car_share: float | None = None
    detail: str = ""
    deadline_s: float | None = None
    boxes: tuple[Box, ...] | None = None
    true_boxes: tuple[Box, ...] | None = None
    class_map: NamedMap | None = None
    record: Record = NO_ANSWER
    server: str = ""

    @property
    def right(self) -> bool | None:
        """Whether the answer is right; None if that is unknown."""
        return None if self.truth is None else self.truth == self.label


@dataclass(frozen=True)
class TrueScene:
    """What a frame really shows.

    Attributes:
        label: name of its class; None if it has none, or it is unknown.
        boxes: the objects; None if they are unknown.
        record: the truth as run logs hold it; None if the model cannot be judged by it.
    """

    label: str | None = None
    boxes: tuple[Box, ...] | None = None
    record: Record | None = None


@dataclass(frozen=True)
class LinkPoint:
    """The link at one time.

    Attributes:
        time_s: its time on any monotonic clock.
        uplink_bps: its rate in bit/s, NaN if unknown.
        connected: whether the edge answers.
        rtt_s: round-trip time in s, NaN if unknown.
    """

    time_s: float
    uplink_bps: float
    connected: bool
    rtt_s: float = math.nan


@dataclass(frozen=True)
class Shown:
    """Everything that one image shows.

    Attributes:
        image: uint8 ``(H, W, 3)`` rgb, or None before the first one; the answer's, or the newest
            one if the answer is older than ``OLD_S``.
        answer: the network's, or None before the first one.
        answer_age_s: how old that is, in s.
        deadline_s: the deadline in s.
        exits: how many exits the model has; 0 if unknown.
        links: the link's history, oldest first; empty before the first message.
        now_s: current time on the clock of ``links``.
        mode: what was minimised, as text, empty before the first plan.
        plan: the plan as text.
        places: results by finishing site.
        right: how many results were right.
        judged: how many results could be scored.
        missed: how many were late.
        quality: figure of merit of the latest answers that are not right or wrong as a whole, 0
            to 1; None if it is not known.
        quality_name: what the task calls it.
        objects_per_frame: mean number of objects in the latest answers; None of other tasks.
        stamp: seconds and nanoseconds of the answer's frame, None before it.
    """

    image: Picture | None = None
    answer: Answer | None = None
    answer_age_s: float = 0.0
    deadline_s: float = 0.3
    exits: int = 0
    links: Sequence[LinkPoint] = ()
    now_s: float = 0.0
    mode: str = ""
    plan: str = ""
    places: dict[str, int] = field(default_factory=dict)
    right: int = 0
    judged: int = 0
    missed: int = 0
    quality: float | None = None
    quality_name: str = ""
    objects_per_frame: float | None = None
    stamp: Stamp | None = None
