"""The events and actions of ``ManagerCore``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dapdee_ros.core.camera_stream import CameraFiles
from dapdee_ros.core.fleet_car import Demand, Posted
from dapdee_ros.core.frames import Place, Server
from dapdee_ros.core.planning_settings import PlanningSettings
from dapdee_ros.planning.answer import Answer, answer, best_of
from dapdee_ros.planning.keeper import favour_of
from dapdee_ros.planning.pinned import parse_pinned
from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.policy import Policy, Problem, Situation, traits_of
from dapdee_ros.planning.sites import EDGE, NO_HOP, Hop


@dataclass(frozen=True)
class Question:
    """What a plan is asked for.

    Attributes:
        occasion: why, as text; None: new input.
        problem: as of then.
        policy: likewise.
        situation: likewise.
        settings: likewise.
        others: the same for other edge servers that the car could use.
    """

    occasion: str | None
    problem: Problem = field(repr=False)
    policy: Policy = field(repr=False, compare=False)
    situation: Situation
    settings: PlanningSettings
    others: tuple[Question, ...] = ()

    @property
    def server(self) -> str:
        """Name of the edge server that it is about."""
        return self.situation.sites[1].id

    def over(self, server: str) -> Question | None:
        """What is asked for over a server; an empty name: any. None if it is not asked for."""
        each = (q for q in (self, *self.others) if not server or q.server == server)
        return next(each, None)

    @property
    def follows_gain(self) -> bool:
        """Whether plans have to gain a margin; those of other policies are always adopted."""
        return traits_of(self.policy).minimises_objective

    @property
    def is_quick(self) -> bool:
        """Whether the answer takes microseconds: a table's, or a pinned plan's price."""
        if self.settings.pinned_plan:
            return True
        return all(traits_of(q.policy).is_quick for q in (self, *self.others))

    def after(self, before: Question) -> Question:
        """The same, replacing one that still waits: with its occasion if it has none itself."""
        return replace(self, occasion=self.occasion or before.occasion)

    def answer(self) -> Answer:
        """The plan over the best server, or why there is none, and what to do then. May be slow."""
        answers = [question._over_its_server() for question in (self, *self.others)]
        favour = favour_of(self.settings.plan_margin) if self.follows_gain else 0.0
        return best_of(answers, self.situation.quality_tolerance, favour)

    def _over_its_server(self) -> Answer:
        return answer(
            self.policy,
            self.situation,
            self.problem,
            pinned=parse_pinned(self.settings.pinned_plan),
            gains_over_alone=self.settings.plan_margin if self.follows_gain else None,
        )


# --- events -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LinkEstimated:
    """The state of the link to an edge server, as in ``LinkEstimate``; NaN if unknown."""

    uplink_bps: float
    rtt_s: float
    relative_spread: float
    connected: bool
    server: str = EDGE

    @property
    def hop(self) -> Hop:
        """What plans are priced by."""
        if not (self.connected and 0 < self.uplink_bps < math.inf):
            return NO_HOP
        spread = self.relative_spread
        return Hop(
            rate_bps=self.uplink_bps,
            rtt_s=self.rtt_s if 0 <= self.rtt_s < math.inf else 0.0,
            relative_spread=spread if 0 <= spread < math.inf else 1.0,
        )


@dataclass(frozen=True, slots=True)
class LoadMeasured:
    """The car's load: shares from 0 to 1, NaN if there is nothing to measure."""

    cpu_ratio: float
    memory_ratio: float
    battery_ratio: float


@dataclass(frozen=True, slots=True)
class ResultCame:
    """A frame ended with a result.

    Attributes:
        plan_epoch: the plan that it started with.
        place: where it was finished.
        exit_number: the exit that answered.
        latency_s: from accepting the frame to the result.
        head_s: of that on the car.
        transfer_s: of that on the link.
        car_slowdown: measured over profiled seconds on the car; NaN if nothing was measured.
        edge_slowdown: the same on the edge server.
        tail_s: of the latency on the edge server; 0 unless it was finished there.
        sent_bytes: coded bytes over the link, 0 if nothing was sent.
        source_bytes: size of the image's file if that could be sent as it is; else 0.
        load_s: seconds that making the network's input takes the car; 0 if not known.
        server: the edge server that it was sent to; empty: to none.
    """

    plan_epoch: int
    place: Place
    exit_number: int
    latency_s: float
    head_s: float
    transfer_s: float
    car_slowdown: float
    edge_slowdown: float
    tail_s: float = 0.0
    sent_bytes: int = 0
    source_bytes: int = 0
    load_s: float = 0.0
    server: str = EDGE


@dataclass(frozen=True, slots=True)
class FramesCounted:
    """How many frames a head (one session each) has accepted so far."""

    session: int
    accepted: int


@dataclass(frozen=True, slots=True)
class ProblemChanged:
    """There are profiles of both machines, or other prices than before; ``policy`` plans with them.

    Constructing the policy can be slow, which must not count as time since the event. ``server``
    names the edge server.
    """

    problem: Problem = field(repr=False)
    policy: Policy = field(repr=False)
    occasion: str = "profiles of car and edge are there"
    server: str = EDGE


@dataclass(frozen=True, slots=True)
class DrainSet:
    """An edge server says whether it takes no more frames, as before maintenance."""

    server: str
    draining: bool


@dataclass(frozen=True, slots=True)
class ProblemRefused:
    """Received profiles cannot be used for planning, with the reason as text."""

    reason: str


@dataclass(frozen=True, slots=True)
class SettingsChanged:
    """Parameters were set that passed ``ManagerCore.check``.

    Attributes:
        settings: all of them.
        policies: the policy that they name, if that has changed, for every server with a problem.
    """

    settings: PlanningSettings
    policies: Mapping[str, Policy] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class PricesCame:
    """A fleet node told its prices."""

    posted: Posted


@dataclass(frozen=True, slots=True)
class AnswerFound:
    """The answer to a question from ``Ask``."""

    question: Question
    answer: Answer


@dataclass(frozen=True, slots=True)
class TimePassed:
    """The time of the last ``WakeAt`` has been reached."""


Event = (
    LinkEstimated
    | LoadMeasured
    | ResultCame
    | FramesCounted
    | ProblemChanged
    | ProblemRefused
    | DrainSet
    | SettingsChanged
    | PricesCame
    | AnswerFound
    | TimePassed
)


# --- actions -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ask:
    """Answer a question, which may be slow; ``AnswerFound`` follows.

    Of the waiting ones only the latest counts, ``Question.after`` the one before.
    """

    question: Question


@dataclass(frozen=True, slots=True)
class CameraChanged:
    """Price plans anew: the camera's files have come, ceased, or changed in size.

    ``files`` says what they are like; None: none come. ``ProblemChanged`` or ``ProblemRefused``
    follows.
    """

    files: CameraFiles | None


@dataclass(frozen=True, slots=True)
class TellPlan:
    """Publish a plan: it is in force from now on.

    Attributes:
        plan: the plan, with its own reason.
        epoch: its number, counted from 1.
        why: why it is published, its own reason included.
        policy: its policy.
        deadline_s: from an image to its result.
        max_in_flight: most frames between head and edge.
        uplink_bps: the link's rate that it was made for.
        load_score: likewise.
        spares: edge servers that could finish its frames beside the one that it names.
    """

    plan: Plan
    epoch: int
    why: str
    policy: str
    deadline_s: float
    max_in_flight: int
    uplink_bps: float
    load_score: float
    spares: tuple[Server, ...] = ()


@dataclass(frozen=True, slots=True)
class Foretell:
    """Publish what the plan in force is expected to take now; it stays in force as it was told.

    Attributes:
        told: the plan as told, with its present costs; its expected latency holds what frames wait.
    """

    told: TellPlan


@dataclass(frozen=True, slots=True)
class SayAlive:
    """Publish a heartbeat for the plan of this number."""

    epoch: int


@dataclass(frozen=True, slots=True)
class TellDemand:
    """Tell the fleet node what this car asks for."""

    demand: Demand


@dataclass(frozen=True, slots=True)
class RefusePrices:
    """Count prices that have no effect; ``why``, as text."""

    why: str


@dataclass(frozen=True, slots=True)
class Complain:
    """Planning failed.

    Attributes:
        text: the reason.
        repeated: whether it is the same as last time.
    """

    text: str
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Deliver ``TimePassed`` at this time, replacing the earlier request."""

    at_s: float


Action = (
    Ask
    | CameraChanged
    | TellPlan
    | Foretell
    | SayAlive
    | TellDemand
    | RefusePrices
    | Complain
    | WakeAt
)
