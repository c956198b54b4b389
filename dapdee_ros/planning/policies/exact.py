"""The default: the exact choice among all candidates."""

from __future__ import annotations

from dataclasses import replace

from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.policy import Problem, Situation
from dapdee_ros.planning.table import CandidateTable


class Exact:
    """``CandidateTable.decide``; of what minimum cuts find where the cuts are too many to list."""

    minimises_objective = True

    def __init__(self, problem: Problem, codec: str = "any") -> None:
        """Build the table, or prepare to look for cuts and say so in every reason."""
        self._problem = problem.with_codecs(codec)
        self._table: CandidateTable | None = None
        if self._problem.is_listed:
            self._table = self._problem.table
        else:
            from dapdee_ros.planning.cut_pool import CutPool

            self._pool = CutPool(self._problem)

    @property
    def is_quick(self) -> bool:
        """Whether it only looks up a table; looking for cuts takes its time."""
        return self._table is not None

    def table(self, situation: Situation) -> CandidateTable:
        """The candidates to decide among."""
        return self._table or self._pool.table(situation)

    def plan(self, situation: Situation) -> Plan:
        """The best plan."""
        plan = self.table(situation).decide(situation)
        if self._table is not None:
            return plan
        return replace(plan, reason=f"{plan.reason}, of those that minimum cuts find")
