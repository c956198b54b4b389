"""How the plan moves while one thing changes: the link's rate or the deadline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dapdee_ros.graph.cuts import head_of
from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.policy import Policy, Problem, Situation, ask

# Half a decade on both sides of the rates that the field uses (0.13 to 18.88 Mbit/s).
LINK_RATES_BPS = (0.04e6, 60e6)


@dataclass(frozen=True)
class SweepPoint:
    """One value and the plan for it.

    Attributes:
        value: uplink rate in bit/s or deadline in s.
        plan: what the policy planned.
        car_share: profiled car seconds of the head over those of the exit's whole part, 0 to 1:
            where the cut stands.
    """

    value: float
    plan: Plan
    car_share: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"value": self.value, "car_share": self.car_share, "plan": self.plan.to_dict()}


@dataclass(frozen=True)
class Sweep:
    """A policy's plans over a range.

    Attributes:
        what: ``link`` or ``deadline``.
        situation: what stayed the same.
        points: the plans, values rising.
    """

    what: str
    situation: Situation
    points: Sequence[SweepPoint]

    def changes(self) -> list[SweepPoint]:
        """The first point, and each at which exit, cut, codec or gate is another than before."""
        return [
            point
            for i, point in enumerate(self.points)
            if i == 0 or point.plan.key != self.points[i - 1].plan.key
        ]


def sweep(
    problem: Problem, policy: Policy, situation: Situation, what: str, count: int = 200
) -> Sweep:
    """Ask a policy over a range of rates or deadlines, evenly spaced by ratio.

    Args:
        problem: what is planned for.
        policy: who plans.
        situation: what stays the same.
        what: ``link`` (0.04 to 60 Mbit/s) or ``deadline`` (from a third of the policy's fastest
            plan to three times the whole network on the car).
        count: how many values.

    Raises:
        PolicyError: if the policy fails, or a plan breaks a hard condition.
    """
    if what == "link":
        low, high = LINK_RATES_BPS
    else:
        fastest = ask(policy, replace(situation, deadline_s=1e-9), problem).latency_s
        alone = situation.car_slowdown * problem.car.total_s
        low, high = min(fastest, alone) / 3, 3 * alone
    points = []
    for value in np.geomspace(low, high, count).tolist():
        asked = (
            situation.over(replace(situation.link, rate_bps=value))
            if what == "link"
            else replace(situation, deadline_s=value)
        )
        plan = ask(policy, asked, problem)
        points.append(SweepPoint(value, plan, car_share(problem, plan)))
    return Sweep(what, situation, points)


def car_share(problem: Problem, plan: Plan) -> float:
    """Profiled car seconds of a plan's head over those of its exit's whole part, 0 to 1."""
    seconds = problem.car.node_seconds
    whole = sum(seconds[n] for n in head_of(problem.dag, plan.exit_number, ()))
    head = sum(seconds[n] for n in head_of(problem.dag, plan.exit_number, plan.boundary))
    return head / whole if whole else 1.0
