"""A plan: exit, cut, codec and gate, with what they are predicted to cost."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from dapdee_ros.partition.objective import LATENCY, Objective

# The codec of a plan that sends nothing.
NO_CODEC = "none"

# Exit, boundary, codec, gate, threshold.
PlanKey = tuple[int, tuple[str, ...], str, int | None, float | None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run where, and what it should take.

    The head is everything that the boundary tensors depend on (``ModelDag.ancestors``), or the
    exit's whole part if the boundary is empty; that is unique, because every node of the head
    lies on a way to the exit and that way leaves the head at a boundary tensor.

    Attributes:
        exit_number: the exit that answers, 1 is the shallowest.
        boundary: names of the tensors that are sent, in topological order; empty if the car
            finishes alone.
        codec: how they are coded; ``none`` if nothing is sent.
        gate: exit that may end the frame on the car, or None.
        gate_threshold: confidence from which it does.
        gate_share: calibrated share of the frames that it ends.
        objective: what was minimised.
        head_s: T_d of a frame that the gate does not end, in s.
        transfer_s: T_t, likewise.
        edge_s: T_e, likewise.
        latency_s: their sum, which a deadline is judged by.
        expected_latency_s: mean over the frames, counting those that end at the gate.
        period_s: mean seconds between frames that the slowest of car, link and edge sustains.
        boundary_bytes: what one frame sends, coded, in bytes.
        quality: expected share of right answers, 0 to 1, gate and codec counted in; NaN where it
            was not measured.
        late: True if it does not meet the deadline.
        reason: why this one, in words.
        energy_j: mean energy of the car for a frame, in J; 0 where its prices are not known.
    """

    exit_number: int
    boundary: tuple[str, ...]
    codec: str = NO_CODEC
    gate: int | None = None
    gate_threshold: float | None = None
    gate_share: float = 0.0
    objective: Objective = LATENCY
    head_s: float = math.nan
    transfer_s: float = math.nan
    edge_s: float = math.nan
    latency_s: float = math.nan
    expected_latency_s: float = math.nan
    period_s: float = math.nan
    boundary_bytes: float = 0
    quality: float = math.nan
    late: bool = False
    reason: str = ""
    energy_j: float = 0.0

    @property
    def device_only(self) -> bool:
        """Whether the car finishes alone."""
        return not self.boundary

    @property
    def key(self) -> PlanKey:
        """What the runtime has to do differently when it changes; predictions are not in it."""
        return (self.exit_number, self.boundary, self.codec, self.gate, self.gate_threshold)

    @property
    def objective_s(self) -> float:
        """The minimised quantity, in s."""
        return self.objective.of(self.expected_latency_s, self.period_s, self.energy_j)

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain JSON values (a NaN becomes None)."""
        values = asdict(self)
        values["boundary"] = list(self.boundary)
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in values.items()
        }
