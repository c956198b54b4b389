"""Cuts of the nodes in topological order: a network seen as a chain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dapdee_ros.planning.candidates import BYTES, SENDS, Candidates, Floats
from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.policy import Problem, Situation
from dapdee_ros.planning.pricing import plan_of
from dapdee_ros.planning.view import cost_weights


class ChainCuts:
    """All cuts of one exit after the n-th node in topological order, priced once."""

    def __init__(self, problem: Problem, exit_number: int) -> None:
        """Price them for the problem's codecs, without gates."""
        self._basis = problem.basis
        part = np.flatnonzero(self._basis.part(exit_number))
        heads = np.zeros((len(part), len(problem.dag.nodes)), bool)
        for count, row in enumerate(heads, start=1):
            row[part[:count]] = True
        every: Candidates = self._basis.price(exit_number, heads)
        self._candidates = every.take(every.gates < 0)
        self._names = [node.name for node in problem.dag.nodes]

    def fastest(self, situation: Situation, reason: str) -> Plan:
        """The one with the lowest latency now."""
        return self.cheapest(situation, cost_weights(situation.sites, situation.hops), reason)

    def cheapest(self, situation: Situation, weights: Floats, reason: str) -> Plan:
        """The one with the lowest sum of its costs.

        Args:
            situation: now.
            weights: what a profiled car second, a byte, a profiled edge second and a sent frame
                cost, ``(4,)``, whatever the unit.
            reason: goes into the plan.
        """
        c = self._candidates
        costs = weights @ c.worst
        if not situation.link.usable:
            costs[c.worst[SENDS] > 0] = np.inf
        row = int(costs.argmin())
        boundary = tuple(self._names[i] for i in np.flatnonzero(c.boundaries[row]))
        words = f"{reason}: {c.worst[BYTES, row]:.0f} bytes"
        plan = plan_of(self._basis, c, row, boundary, situation, False, words)
        return replace(plan, late=not plan.latency_s <= situation.deadline_s)
