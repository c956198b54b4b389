"""The full network on the car."""

from __future__ import annotations

from dapdee_ros.planning.plan import NO_CODEC, Plan
from dapdee_ros.planning.policy import Problem, Situation


class DeviceOnly:
    """Deepest exit on the car, whatever happens."""

    def __init__(self, problem: Problem) -> None:
        """Plan for this problem."""
        self._problem = problem

    def plan(self, situation: Situation) -> Plan:
        """Send nothing."""
        deepest = len(self._problem.dag.exits)
        return situation.price(self._problem, deepest, (), NO_CODEC, "the full network on the car")
