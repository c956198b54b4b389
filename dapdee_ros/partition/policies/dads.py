"""DADS: the full network split by a minimum cut (light load) or by its search (heavy load).

C. Hu, W. Bao, D. Wang, F. Liu: Dynamic Adaptive DNN Surgery for Inference Acceleration on the Edge,
IEEE INFOCOM 2019, with the corrections of ``partition.min_cut``.
"""

from __future__ import annotations

from dapdee_ros.partition.plan import Plan
from dapdee_ros.partition.policies.light_cut import heavy_plan, light_plan
from dapdee_ros.partition.policy import Problem, Situation


class Dads:
    """Deepest exit; the mode says which of the two it is."""

    def __init__(self, problem: Problem, codec: str = "f32", max_cuts: int = 400) -> None:
        """Plan for this problem with at most ``max_cuts`` minimum cuts a search."""
        self._problem = problem.with_codecs(codec)
        self._max_cuts = max_cuts

    def plan(self, situation: Situation) -> Plan:
        """Lowest latency in mode ``latency``, the search's period in mode ``throughput``."""
        deepest = len(self._problem.dag.exits)
        if situation.objective == "latency":
            return light_plan(self._problem, deepest, situation, "minimum cut, full network")
        return heavy_plan(
            self._problem, deepest, situation, "search, full network", max_cuts=self._max_cuts
        )
