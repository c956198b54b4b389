"""Neurosurgeon: the best single cut of the full network seen as a chain.

Y. Kang, J. Hauswald, C. Gao, A. Rovinski, T. Mudge, J. Mars, L. Tang: Neurosurgeon: Collaborative
Intelligence Between the Cloud and Mobile Edge, ASPLOS 2017. Its regression of layer times is
replaced by the measured profile, which can only help it.
"""

from __future__ import annotations

from dapdee_ros.partition.chain_cuts import ChainCuts
from dapdee_ros.partition.plan import Plan
from dapdee_ros.partition.policy import Problem, Situation


class Neurosurgeon:
    """Lowest latency over the cuts after the n-th node in topological order, deepest exit."""

    def __init__(self, problem: Problem, codec: str = "f32") -> None:
        """Plan for this problem."""
        problem = problem.with_codecs(codec)
        self._cuts = ChainCuts(problem, len(problem.dag.exits))

    def plan(self, situation: Situation) -> Plan:
        """The best cut now."""
        return self._cuts.fastest(situation, "the best cut of the chain")
