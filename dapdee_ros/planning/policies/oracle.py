"""The bound: the exact choice with the link's true future, which only an experiment knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dapdee_ros.planning.candidates import BYTES, CAR, EDGE, SENDS, Floats
from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.policies.exact import Exact
from dapdee_ros.planning.policy import Problem, Situation
from dapdee_ros.planning.sites import Hop, Site
from dapdee_ros.planning.view import View, Weights


class Oracle:
    """Like ``exact``, but every candidate's transfer takes what it truly will take.

    Where ``situation.true_transfer_s`` is not given it takes the link for certain.
    """

    needs_future = True

    def __init__(self, problem: Problem, codec: str = "any") -> None:
        """Plan for this problem."""
        self._exact = Exact(problem, codec)

    def plan(self, situation: Situation) -> Plan:
        """The best plan in hindsight."""
        s = replace(situation, risk=0.5)
        if s.true_transfer_s is None:
            return self._exact.plan(s)
        table = self._exact.table(s)
        view = View.of(table.candidates, s.gates, s.most_exposure, False, s.quality_floor)
        head_s = Weights.of(s.sites, s.link).car_s(view.worst)
        transfer_s = np.where(
            view.worst[SENDS] > 0, s.true_transfer_s(head_s, view.worst[BYTES]), s.link.rtt_s
        )
        on_air_s = np.maximum(transfer_s - s.link.rtt_s, 0.0)
        # Bytes become the seconds they truly take, so one unit of them weighs 1 s.
        worst = _with_bytes_paid(view.worst, s.sites)
        worst[BYTES] = on_air_s * (view.worst[SENDS] > 0)
        expected = None
        if view.expected is not None:
            expected = _with_bytes_paid(view.expected, s.sites)
            expected[BYTES] = worst[BYTES] * view.expected[SENDS]
        paid = tuple(replace(o, overhead=replace(o.overhead, s_per_byte=0.0)) for o in s.sites)
        weights = Weights.of(paid, Hop(8.0, s.link.rtt_s))
        truly = replace(view, worst=worst, expected=expected)
        energy_j = None
        if s.objective.energy_s_per_j and s.energy.any:
            energy_j = truly.energy_j(weights, s.energy, view.means[BYTES])
        at, late = truly.choose(
            weights,
            weights,
            s.deadline_s,
            s.objective,
            s.quality_tolerance,
            s.most_period_s,
            s.window,
            s.period_tolerance,
            energy_j,
        )
        sent = view.worst.item(BYTES, at)
        true_bps = 8 * sent / worst.item(BYTES, at) if worst.item(BYTES, at) > 0 else 1e15
        row = view.rows.item(at)
        found = table.plan_at(row, s.over(replace(s.link, rate_bps=true_bps)))
        return replace(found, late=late, reason="the best with the true future of the link")


def _with_bytes_paid(costs: Floats, sites: Sequence[Site]) -> Floats:
    """Costs with what bytes take car and edge server counted as their profiled seconds."""
    costs = costs.copy()
    for row, site in zip((CAR, EDGE), sites, strict=True):
        costs[row] += costs[BYTES] * site.overhead.s_per_byte / site.slowdown
    return costs
