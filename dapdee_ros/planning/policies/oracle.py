"""The bound: the exact choice with the link's true future, which only an experiment knows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dapdee_ros.planning.candidates import BYTES, CAR, SENDS
from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.policies.exact import Exact
from dapdee_ros.planning.policy import Problem, Situation
from dapdee_ros.planning.sites import Hop
from dapdee_ros.planning.view import View, cost_weights


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
        view = View.of(table.candidates, s.gates, s.keep_raw_on_car, False, s.quality_floor)
        head_s = s.car_slowdown * view.worst[CAR]
        transfer_s = np.where(
            view.worst[SENDS] > 0, s.true_transfer_s(head_s, view.worst[BYTES]), s.link.rtt_s
        )
        on_air_s = np.maximum(transfer_s - s.link.rtt_s, 0.0)
        # Bytes become the seconds they truly take, so one unit of them weighs 1 s.
        worst = view.worst.copy()
        worst[BYTES] = on_air_s * (view.worst[SENDS] > 0)
        expected = None
        if view.expected is not None:
            expected = view.expected.copy()
            expected[BYTES] = worst[BYTES] * view.expected[SENDS]
        weights = cost_weights(s.sites, (Hop(8.0, s.link.rtt_s),))
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
