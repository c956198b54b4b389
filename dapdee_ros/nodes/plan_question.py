"""What a policy is asked on behalf of the manager, and how the answer is worked out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from dapdee_ros.core.planning_settings import PlanningSettings
from dapdee_ros.estimation.rejections import shortened
from dapdee_ros.partition.answer import Answer, answer
from dapdee_ros.partition.cost import LinkState, LoadState
from dapdee_ros.partition.pinned import parse_pinned
from dapdee_ros.partition.policy import Policy, Problem, Situation


@dataclass(frozen=True)
class Question:
    """What a plan is asked for.

    Attributes:
        occasion: why, in words; None: something was heard.
        problem: as of then.
        policy: likewise.
        link: likewise.
        load: likewise.
        mode: ``latency`` or ``throughput``.
        settings: the parameters as of then.
        most_period_s: seconds between frames that the plan has to keep up with.
    """

    occasion: str | None
    problem: Problem
    policy: Policy
    link: LinkState
    load: LoadState
    mode: str
    settings: PlanningSettings
    most_period_s: float

    @cached_property
    def situation(self) -> Situation:
        """What the policy is asked with."""
        return self.settings.situation(self.link, self.load, self.mode, self.most_period_s)

    @property
    def follows_gain(self) -> bool:
        """Whether the policy minimises what plans are judged by; others are simply obeyed."""
        return self.settings.policy.partition("+")[0] == "exact"

    @property
    def is_quick(self) -> bool:
        """Whether the answer takes microseconds: a table's, or a pinned plan's price."""
        listed = self.follows_gain and self.problem.is_listed
        return listed or bool(self.settings.pinned_plan)


def merged(before: Question, now: Question) -> Question:
    """The later of two, with the earlier occasion if it has none."""
    return replace(now, occasion=now.occasion or before.occasion)


def worked_out(asked: Question) -> Answer:
    """The plan, or why there is none, and what to do then."""
    settings = asked.settings
    found = answer(
        asked.policy,
        asked.situation,
        asked.problem,
        pinned=parse_pinned(settings.pinned_plan),
        gains_over_alone=settings.plan_margin if asked.follows_gain else None,
    )
    if not found.complaint:
        return found
    return replace(found, complaint=shortened(f"no new plan: {found.complaint}"))
