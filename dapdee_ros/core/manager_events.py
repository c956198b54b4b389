"""What the manager's rules are told, and what they want done."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from dapdee_ros.core.frames import Place
from dapdee_ros.core.planning_settings import PlanningSettings
from dapdee_ros.partition.answer import Answer, answer
from dapdee_ros.partition.pinned import parse_pinned
from dapdee_ros.partition.plan import Plan
from dapdee_ros.partition.policy import Policy, Problem, Situation, traits_of


@dataclass(frozen=True)
class Question:
    """What a plan is asked for.

    Attributes:
        occasion: why, in words; None: something was heard.
        problem: as of then.
        policy: likewise.
        situation: likewise.
        settings: likewise.
    """

    occasion: str | None
    problem: Problem = field(repr=False)
    policy: Policy = field(repr=False, compare=False)
    situation: Situation
    settings: PlanningSettings

    @property
    def follows_gain(self) -> bool:
        """Whether plans are judged by what they gain; those of other policies are simply obeyed."""
        return traits_of(self.policy).minimises_objective

    @property
    def is_quick(self) -> bool:
        """Whether the answer takes microseconds: a table's, or a pinned plan's price."""
        return bool(self.settings.pinned_plan) or traits_of(self.policy).is_quick

    def after(self, before: Question) -> Question:
        """The same, taking the place of one that still waits: with its occasion if it has none."""
        return replace(self, occasion=self.occasion or before.occasion)

    def answer(self) -> Answer:
        """The plan, or why there is none, and what to do then. May take its time."""
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
    """The state of the link, as ``LinkEstimate`` has it; NaN where it is not known."""

    uplink_bps: float
    rtt_s: float
    relative_spread: float
    connected: bool


@dataclass(frozen=True, slots=True)
class LoadMeasured:
    """How busy the car is: shares from 0 to 1, NaN where there is nothing to measure."""

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
    """

    plan_epoch: int
    place: Place
    exit_number: int
    latency_s: float
    head_s: float
    transfer_s: float
    car_slowdown: float
    edge_slowdown: float


@dataclass(frozen=True, slots=True)
class FramesCounted:
    """How many frames a head (one session each) has accepted so far."""

    session: int
    accepted: int


@dataclass(frozen=True, slots=True)
class ProblemChanged:
    """There are profiles of both machines, or other ones than before; ``policy`` plans with them.

    Making the policy can take long, which must not count as time that has passed since the event.
    """

    problem: Problem = field(repr=False)
    policy: Policy = field(repr=False)


@dataclass(frozen=True, slots=True)
class ProblemRefused:
    """What came cannot be planned with, for a reason in words."""

    reason: str


@dataclass(frozen=True, slots=True)
class SettingsChanged:
    """Somebody set parameters that ``ManagerCore.check`` has nothing against.

    Attributes:
        settings: all of them.
        policy: the policy that they name, if it is another one and there is a problem.
    """

    settings: PlanningSettings
    policy: Policy | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class AnswerFound:
    """The answer to a question that was asked with ``Ask``."""

    question: Question
    answer: Answer


@dataclass(frozen=True, slots=True)
class TimePassed:
    """The time of the last ``WakeAt`` has come."""


Event = (
    LinkEstimated
    | LoadMeasured
    | ResultCame
    | FramesCounted
    | ProblemChanged
    | ProblemRefused
    | SettingsChanged
    | AnswerFound
    | TimePassed
)


# --- actions -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ask:
    """Have a question answered, which may take long; ``AnswerFound`` follows.

    Of those that wait only the latest counts, ``Question.after`` the one before.
    """

    question: Question


@dataclass(frozen=True, slots=True)
class TellPlan:
    """Tell the head a plan: it is the one in force from now on.

    Attributes:
        plan: the plan, with its own reason.
        epoch: its number, counted from 1.
        why: why it is told, its own reason included.
        policy: who made it.
        deadline_s: from an image to its result.
        max_in_flight: most frames between head and edge.
        uplink_bps: the link's rate that it was made for.
        load_score: likewise.
    """

    plan: Plan
    epoch: int
    why: str
    policy: str
    deadline_s: float
    max_in_flight: int
    uplink_bps: float
    load_score: float


@dataclass(frozen=True, slots=True)
class SayAlive:
    """Say that whoever told the plan of this number lives."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Complain:
    """There is no plan as it was wanted.

    Attributes:
        text: why, in words.
        repeated: whether that was said the last time as well.
    """

    text: str
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Tell ``TimePassed`` at this time; it takes the place of the one before."""

    at_s: float


Action = Ask | TellPlan | SayAlive | Complain | WakeAt
