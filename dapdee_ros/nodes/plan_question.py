"""What a policy is asked on behalf of the manager, and how the answer is worked out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from dapdee_ros.graph.dag import GraphError
from dapdee_ros.partition.cost import LinkState, LoadState
from dapdee_ros.partition.errors import PlanningError
from dapdee_ros.partition.keeper import worth_sending
from dapdee_ros.partition.pinned import parse_pinned
from dapdee_ros.partition.plan import Plan
from dapdee_ros.partition.policy import Policy, Problem, Situation, ask
from dapdee_ros.runtime.rejections import shortened

NO_LINK = LinkState(0.0, connected=False)


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
    settings: dict[str, Any]
    most_period_s: float

    @property
    def follows_gain(self) -> bool:
        """Whether the policy minimises what plans are judged by; others are simply obeyed."""
        return bool(self.settings["policy"].partition("+")[0] == "exact")


def merged(before: Question, now: Question) -> Question:
    """The later of two, with the earlier occasion if it has none."""
    return replace(now, occasion=now.occasion or before.occasion)


def complaint(error: Exception) -> str:
    """Why there is no plan, in words."""
    return shortened(f"no new plan: {error}")


def worked_out(asked: Question) -> Plan | str:
    """The plan, or why there is none."""
    try:
        return _best(asked)
    except (PlanningError, GraphError) as error:
        return complaint(error)


def _best(asked: Question) -> Plan:
    settings, problem, policy = asked.settings, asked.problem, asked.policy
    situation = Situation(
        asked.link,
        asked.load,
        settings["deadline_s"],
        asked.mode,
        accuracy_floor=settings["accuracy_floor"],
        accuracy_tolerance=settings["accuracy_tolerance"],
        period_tolerance=settings["period_tolerance"],
        keep_raw_on_car=settings["keep_raw_on_car"],
        gates=settings["gates"],
        risk=settings["risk"],
        most_period_s=asked.most_period_s,
    )
    pinned = parse_pinned(settings["pinned_plan"])
    if pinned is None:
        plan = ask(policy, situation, problem)
        if not plan.boundary or not asked.follows_gain:
            return plan
        alone = ask(policy, replace(situation, link=NO_LINK), problem)
        sends = worth_sending(plan, alone, settings["plan_margin"])
        return plan if sends else replace(alone, reason="the link would gain too little")
    return situation.price(
        problem,
        pinned.exit_number,
        pinned.boundary,
        pinned.codec,
        "pinned",
        gate=pinned.gate,
        gate_threshold=pinned.gate_threshold,
    )
