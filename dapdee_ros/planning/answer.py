"""The plan to follow, from a policy or a pinned plan; and the current price of the one in force."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dapdee_ros.graph.dag import GraphError
from dapdee_ros.planning.errors import PlanningError
from dapdee_ros.planning.keeper import worth_sending
from dapdee_ros.planning.pinned import PinnedPlan
from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.policy import Policy, Problem, Situation, ask
from dapdee_ros.planning.sites import NO_HOP


@dataclass(frozen=True)
class Answer:
    """The outcome of a request for a plan.

    Attributes:
        plan: the plan to follow; with a complaint only if the plan in force is not allowed any
            more. None: no plan is allowed.
        complaint: why it is not the requested plan, as text; empty if it is.
    """

    plan: Plan | None
    complaint: str = ""


def best_of(
    answers: Sequence[Answer], quality_tolerance: float = 0.0, favour: float = 0.0
) -> Answer:
    """The one to follow of the answers for several edge servers, the car's favourite first.

    As among candidates of one table: of plans in time the highest quality, then the lowest
    objective; if none is in time, the lowest latency. One with a complaint counts only if all have.

    Args:
        answers: at least one.
        quality_tolerance: quality that may be given up for a lower objective, 0 to 1.
        favour: by what share of the objective a server may be worse and still come before those
            that are less liked: what is measured of two like servers always differs a little.
    """
    sound = [a for a in answers if a.plan is not None and not a.complaint]
    if len(sound) < 2:
        return (sound or answers)[0]
    plans = {k: a.plan for k, a in enumerate(sound) if a.plan is not None}
    in_time = [k for k, plan in plans.items() if not plan.late]
    if not in_time:
        return sound[min(plans, key=lambda k: plans[k].latency_s)]
    quality = {k: 0.0 if math.isnan(q := plans[k].quality) else q for k in in_time}
    enough = max(quality.values()) - quality_tolerance - 1e-9
    near = [k for k in in_time if quality[k] >= enough]
    best = min(near, key=lambda k: plans[k].objective_s)
    most_s = (1 + favour) * plans[best].objective_s
    return sound[next((k for k in near if plans[k].objective_s <= most_s), best)]


def answer(
    policy: Policy,
    situation: Situation,
    problem: Problem,
    *,
    pinned: PinnedPlan | None = None,
    gains_over_alone: float | None = None,
) -> Answer:
    """The plan to follow now.

    If the policy fails, or its plan or a pinned one breaks a hard condition, the fallback is the
    best plan with which the car finishes alone.

    Args:
        policy: the policy, unless a plan is pinned.
        situation: the situation to plan for.
        problem: likewise.
        pinned: the pinned plan.
        gains_over_alone: share of the objective by which a plan that sends has to be better than
            the policy's best without a link, or that one is taken; None: whatever the policy says.
    """
    try:
        if pinned is not None:
            return Answer(_priced(pinned, situation, problem))
        plan = ask(policy, situation, problem)
        if plan.crossings and plan.server != situation.sites[1].id:
            # A policy of one's own need not know what servers are called.
            car, _, *rest = plan.stages
            stage = plan.stages[1]._replace(site=situation.sites[1].id)
            plan = replace(plan, stages=(car, stage, *rest))
        if not plan.boundary or gains_over_alone is None:
            return Answer(plan)
        alone = ask(policy, situation.over(NO_HOP), problem)
        if worth_sending(plan, alone, gains_over_alone):
            return Answer(plan)
        return Answer(replace(alone, reason="the link would gain too little"))
    except (PlanningError, GraphError) as error:
        return Answer(_standing_by(situation, problem, str(error)), str(error))


def repriced(plan: Plan | None, situation: Situation, problem: Problem) -> Plan | None:
    """The plan in force at current prices.

    A plan that cannot keep up with the frames (``Situation.most_period_s``) is marked as late.

    Returns:
        None if there is none or it is not possible any more: it needs a link that is down, breaks a
        hard condition, or does not belong to this problem.
    """
    if plan is None or (plan.boundary and not situation.link.usable):
        return None
    exit_number, boundary, codec, gate, threshold = plan.key
    if situation.conditions.breaches(problem, *plan.key):
        return None
    try:
        priced = problem.pricing_table.price(
            exit_number, boundary, codec, situation, gate=gate, gate_threshold=threshold
        )
    except (PlanningError, GraphError):
        return None
    return replace(priced, late=priced.late or priced.period_s > situation.most_period_s)


def _priced(pinned: PinnedPlan, situation: Situation, problem: Problem) -> Plan:
    plan = situation.price(
        problem,
        pinned.exit_number,
        pinned.boundary,
        pinned.codec,
        "pinned",
        gate=pinned.gate,
        gate_threshold=pinned.gate_threshold,
    )
    situation.conditions.check(problem, plan.key, "the pinned plan")
    return plan


def _standing_by(situation: Situation, problem: Problem, why: str) -> Plan | None:
    try:
        plan = problem.table_alone.decide(situation.over(NO_HOP))
    except PlanningError:
        # Not even the car alone reaches the quality floor.
        return None
    return replace(plan, reason=f"the car alone, because {why}")
