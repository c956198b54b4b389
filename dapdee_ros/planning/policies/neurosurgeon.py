"""Neurosurgeon: the best single cut of the full network seen as a chain.

Y. Kang, J. Hauswald, C. Gao, A. Rovinski, T. Mudge, J. Mars, L. Tang: Neurosurgeon: Collaborative
Intelligence Between the Cloud and Mobile Edge, ASPLOS 2017. Its regression of layer times is
replaced by the measured profile, which can only help it. Like the paper's it minimises the latency
or the energy of the mobile device; for the latter the watts have to be given.
"""

from __future__ import annotations

import math

import numpy as np

from dapdee_ros.planning.candidates import BYTES, CAR
from dapdee_ros.planning.chain_cuts import ChainCuts
from dapdee_ros.planning.errors import PolicyError
from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.policy import Problem, Situation
from dapdee_ros.planning.view import cost_weights


class Neurosurgeon:
    """Lowest latency over the cuts after the n-th node in topological order, deepest exit.

    With watts instead the lowest energy of the car: what it computes and what it sends.
    """

    ignores_overheads = True

    def __init__(
        self,
        problem: Problem,
        codec: str = "f32",
        compute_w: float | None = None,
        send_w: float | None = None,
    ) -> None:
        """Plan for this problem.

        Args:
            problem: the model and the devices.
            codec: how the boundary is coded.
            compute_w: watts of the car while it computes; with ``send_w`` it plans for energy.
            send_w: watts of its radio while it sends.

        Raises:
            PolicyError: for one of them alone, or a value that is not a number of 0 or more.
        """
        problem = problem.with_codecs(codec)
        self._cuts = ChainCuts(problem, len(problem.dag.exits))
        self._watts: tuple[float, float] | None = None
        if compute_w is not None or send_w is not None:
            self._watts = (_watts("compute_w", compute_w), _watts("send_w", send_w))

    def plan(self, situation: Situation) -> Plan:
        """The best cut now."""
        if self._watts is None:
            return self._cuts.fastest(situation, "the best cut of the chain")
        joules = np.zeros(4)
        seconds = cost_weights(situation.sites, situation.hops)
        joules[[CAR, BYTES]] = seconds[[CAR, BYTES]] * self._watts
        return self._cuts.cheapest(situation, joules, "the cut that takes the car the least energy")


def _watts(name: str, value: float | None) -> float:
    if value is None or not 0 <= value < math.inf:
        raise PolicyError(f"{name} is {value}; to plan for energy give compute_w and send_w in W")
    return value
