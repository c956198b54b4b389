"""DADS: the full network split by a minimum cut (light load) or by its search (heavy load).

C. Hu, W. Bao, D. Wang, F. Liu: Dynamic Adaptive DNN Surgery for Inference Acceleration on the Edge,
IEEE INFOCOM 2019, with the corrections of ``partition.min_cut``.
"""

from __future__ import annotations

from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.policies.published_cuts import PublishedCuts
from dapdee_ros.planning.policy import Problem, Situation


class Dads:
    """Deepest exit; the objective says which of the two it is."""

    ignores_overheads = True

    def __init__(self, problem: Problem, codec: str = "f32", max_cuts: int = 400) -> None:
        """Plan for this problem.

        Args:
            problem: the model and the devices.
            codec: how the boundary is coded.
            max_cuts: minimum cuts a search at most, where the cuts are too many to list.
        """
        self._cuts = PublishedCuts(problem.with_codecs(codec), max_cuts)
        self._deepest = len(problem.dag.exits)

    def plan(self, situation: Situation) -> Plan:
        """Lowest latency, or the search's period where that counts more."""
        if situation.objective.favours_latency:
            return self._cuts.light(self._deepest, situation, "minimum cut, full network")
        return self._cuts.heavy(self._deepest, situation, "search, full network")
