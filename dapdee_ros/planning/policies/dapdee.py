"""DAPDEE: algorithm 4, exit and cut together, with algorithms 1 to 3 below it.

N. Ding, J. Wang, C. Ji, C. Hu, L. Xu: Dynamic Adaptive Partitioning of Deep Neural Networks Based
on Early Exit Mechanism under Edge-End Collaboration, Journal of Electronics & Information
Technology, 2025, doi:10.11999/JEIT250291. Resolved here: as printed, a priority task under a heavy
load runs both algorithms, the second overwriting the first (here: the first only), and if no exit
meets the deadline whatever came last is returned (here: the fastest seen).
"""

from __future__ import annotations

from collections.abc import Callable

from dapdee_ros.planning.cost import HEAVY_LOAD_SCORE
from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.policies.published_cuts import PublishedCuts
from dapdee_ros.planning.policy import Problem, Situation


class Dapdee:
    """From the deepest exit up: score the load, cut for latency or throughput, stop in time.

    The mode of the situation, unless it is ``auto``, overrules the score.
    """

    ignores_overheads = True

    def __init__(
        self,
        problem: Problem,
        codec: str = "f32",
        max_cuts: int = 400,
        score: Callable[[Situation], float] | None = None,
    ) -> None:
        """Plan for this problem.

        Args:
            problem: the model and the devices.
            codec: how the boundary is coded.
            max_cuts: minimum cuts a search at most, where the cuts are too many to list.
            score: the load score of a situation, 0 to 1; None takes ``situation.load_score``.
        """
        self._cuts = PublishedCuts(problem.with_codecs(codec), max_cuts)
        self._exits = range(len(problem.dag.exits), 0, -1)
        self._score = score or (lambda situation: situation.load_score)

    def plan(self, situation: Situation) -> Plan:
        """The deepest exit in time, else the fastest."""
        seen = []
        for number in self._exits:
            plan = self._cut(number, situation)
            if not plan.late:
                return plan
            seen.append(plan)
        return min(seen, key=lambda plan: plan.latency_s)

    def _cut(self, number: int, situation: Situation) -> Plan:
        score = self._score(situation)
        light = situation.priority or score < HEAVY_LOAD_SCORE
        if situation.mode != "auto":
            light = situation.objective.favours_latency
        cut, algorithm = (self._cuts.light, 1) if light else (self._cuts.heavy, 2)
        return cut(number, situation, f"algorithm {algorithm} (load {score:.2f}), deepest in time")
