"""Edgent: the deepest exit whose best chain cut meets the deadline.

E. Li, Z. Zhou, X. Chen: Edge Intelligence: On-Demand Deep Learning Model Co-Inference with
Device-Edge Synergy, MECOMM 2018 (its algorithm for a static link). Where no exit meets the deadline
it returns nothing; here it returns the fastest it saw, as late.
"""

from __future__ import annotations

from dapdee_ros.planning.chain_cuts import ChainCuts
from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.policy import Problem, Situation


class Edgent:
    """From the deepest exit up: best cut of the chain; the first in time is taken."""

    ignores_overheads = True

    def __init__(self, problem: Problem, codec: str = "f32") -> None:
        """Plan for this problem."""
        problem = problem.with_codecs(codec)
        deepest = len(problem.dag.exits)
        self._cuts = [ChainCuts(problem, number) for number in range(deepest, 0, -1)]

    def plan(self, situation: Situation) -> Plan:
        """The deepest exit in time, else the fastest."""
        seen = []
        for cuts in self._cuts:
            plan = cuts.fastest(situation, "the best chain cut of the deepest exit in time")
            if not plan.late:
                return plan
            seen.append(plan)
        return min(seen, key=lambda plan: plan.latency_s)
