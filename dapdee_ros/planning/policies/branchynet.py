"""BranchyNet: all on the car, with an exit that confident frames leave by.

S. Teerapittayanon, B. McDanel, H. T. Kung: BranchyNet: Fast Inference via Early Exiting from Deep
Neural Networks, ICPR 2016. It may leave at any branch; a plan here has one gate, so the best single
gate is taken.
"""

from __future__ import annotations

from dapdee_ros.planning.plan import NO_CODEC, Plan
from dapdee_ros.planning.policy import Problem, Situation


class BranchyNet:
    """Deepest exit on the car behind the gate with the lowest expected latency.

    A gate is considered if the quality of the pair is within ``quality_loss`` of the deepest
    exit's, or within the situation's tolerance where that is more.
    """

    ignores_overheads = True

    def __init__(self, problem: Problem, quality_loss: float = 0.005) -> None:
        """Plan for this problem."""
        self._problem = problem
        self._quality_loss = quality_loss

    def plan(self, situation: Situation) -> Plan:
        """The best gate, or none where none pays."""
        deepest = len(self._problem.dag.exits)
        full = situation.price(self._problem, deepest, (), NO_CODEC, "all on the car, no gate pays")
        loss = max(self._quality_loss, situation.quality_tolerance)
        gated = [
            situation.price(
                self._problem, deepest, (), NO_CODEC, "all on the car with an early exit",
                gate=option.gate, gate_threshold=option.threshold,
            )
            for option in self._problem.gates
            if option.exit_number == deepest and option.quality >= full.quality - loss
        ]  # fmt: skip
        return min([full, *gated], key=lambda plan: plan.expected_latency_s)
