"""The default: the exact choice among all candidates."""

from __future__ import annotations

from dapdee_ros.graph.cuts import TooManyCuts
from dapdee_ros.partition.plan import Plan
from dapdee_ros.partition.policy import Policy, Problem, Situation


class Exact:
    """``CandidateTable.decide``; minimum cuts where the candidates are too many to list."""

    def __init__(self, problem: Problem, codec: str = "any") -> None:
        """Build the table, or fall back to the DAPDEE policy and say so in every reason."""
        self._problem = problem.with_codecs(codec)
        self._instead: Policy | None = None
        try:
            self._table = self._problem.table
        except TooManyCuts:
            from dapdee_ros.partition.policies.dapdee import Dapdee

            self._instead = Dapdee(self._problem, "any")

    def plan(self, situation: Situation) -> Plan:
        """The best plan."""
        if self._instead is not None:
            return self._instead.plan(situation)
        return situation.decide(self._table)
