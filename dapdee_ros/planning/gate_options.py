"""The settings of the calibrated gates that the planner considers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from dapdee_ros.planning.codec_cost import GateOption

# Quality that a gate may cost against the later exit alone, in the order of looking. One setting
# per loss and pair of exits: more would enlarge the candidate table for negligible differences. The
# manager may give up 0.005 by default. 0.003 leaves a margin for the uncertainty of 5,000
# calibration frames: quality on new frames was up to 0.002 lower than on those by which a setting
# was chosen.
LOSSES = (0.0, 0.001, 0.003, 0.01, 0.02)


class GateCurves(Protocol):
    """The calibration of gates (``exits.gates.Calibration``)."""

    @property
    def exit_quality(self) -> tuple[float, ...]:
        """Quality of each exit, shallowest first."""

    def thresholds(self, gate: int) -> tuple[float, ...]:
        """The measured thresholds of a gate."""

    def share(self, gate: int, threshold: float) -> float:
        """Share of frames that it ends."""

    def quality(self, gate: int, later_exit: int, threshold: float) -> float:
        """Quality over all frames with that later exit."""


def gate_options(curves: GateCurves, losses: Sequence[float] = LOSSES) -> list[GateOption]:
    """For every gate, later exit and loss the setting that ends the most frames.

    Settings that end no frame are left out, and so is one that another loss has already given.

    Args:
        curves: the calibration.
        losses: quality that the pair may lose against the later exit alone, 0 to 1.
    """
    exits = len(curves.exit_quality)
    options: list[GateOption] = []
    for gate in range(1, exits):
        for later in range(gate + 1, exits + 1):
            measured = [
                GateOption(gate, later, t, curves.share(gate, t), curves.quality(gate, later, t))
                for t in curves.thresholds(gate)
            ]
            for loss in losses:
                floor = curves.exit_quality[later - 1] - loss
                allowed = [o for o in measured if o.quality >= floor - 1e-12 and o.share > 0]
                best = max(allowed, key=lambda o: (o.share, o.quality), default=None)
                if best is not None and best not in options:
                    options.append(best)
    return options
