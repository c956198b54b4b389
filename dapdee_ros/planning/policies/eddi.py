"""EDDI: early exits and minimum cuts in the DAG.

L. Yang, X. Shen, C. Zhong, Y. Liao: On-demand inference acceleration for directed acyclic graph
neural networks over edge-cloud collaboration, Journal of Parallel and Distributed Computing, 2023,
doi:10.1016/j.jpdc.2022.09.005. Read from its abstract: the partition is a minimum cut of the DAG,
exit and partition are chosen together, at run time, under a latency that the user demands. Its
Evaluator, which approximates the DAG that is cut, is not described there; here the cut is in the
whole DAG, which can only help it.
"""

from __future__ import annotations

from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.policies.published_cuts import PublishedCuts
from dapdee_ros.planning.policy import Problem, Situation


class Eddi:
    """From the deepest exit up: minimum cut of the exit's DAG; the first in time is taken."""

    ignores_overheads = True

    def __init__(self, problem: Problem, codec: str = "f32") -> None:
        """Plan for this problem."""
        self._cuts = PublishedCuts(problem.with_codecs(codec))
        self._exits = range(len(problem.dag.exits), 0, -1)

    def plan(self, situation: Situation) -> Plan:
        """The deepest exit in time, else the fastest."""
        seen = []
        for number in self._exits:
            plan = self._cuts.light(number, situation, "minimum cut, the deepest exit in time")
            if not plan.late:
                return plan
            seen.append(plan)
        return min(seen, key=lambda plan: plan.latency_s)
