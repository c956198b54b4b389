"""A plan: exit, what crosses each hop, codec and gate, with what they are predicted to cost."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from dapdee_ros.planning.objective import LATENCY, Objective
from dapdee_ros.planning.sites import CAR

# The codec of a plan that sends nothing.
NO_CODEC = "none"

# Exit, boundary, codec, gate, threshold.
PlanKey = tuple[int, tuple[str, ...], str, int | None, float | None]


class Stage(NamedTuple):
    """What one site does for a frame: the part of the exit between two boundaries.

    Attributes:
        site: its id.
        seconds: what that takes for a frame that the gate does not end, coding included, in s.
    """

    site: str
    seconds: float = math.nan


class Crossing(NamedTuple):
    """What a hop carries for a frame.

    Attributes:
        boundary: names of the tensors that are sent, in topological order.
        codec: how they are coded.
        sent_bytes: what they take for one frame, coded, in bytes.
        seconds: what that takes, the round trip included, in s.
    """

    boundary: tuple[str, ...]
    codec: str = "f32"
    sent_bytes: float = 0
    seconds: float = math.nan


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run where, and what it should take.

    The head is everything that the boundary tensors depend on (``ModelDag.ancestors``), or the
    exit's whole part if the boundary is empty; that is unique, because every node of the head
    lies on a way to the exit and that way leaves the head at a boundary tensor. What a later stage
    runs follows from the boundaries before and after it in the same way.

    Attributes:
        exit_number: the exit that answers, 1 is the shallowest.
        stages: what the sites do, the car's first; one more than there are crossings.
        crossings: what the hops carry, the car's own link first; none if the car finishes alone.
        gate: exit that may end the frame on the car, or None.
        gate_threshold: confidence from which it does.
        gate_share: calibrated share of the frames that it ends.
        objective: what was minimised.
        latency_s: sum over stages and crossings, which a deadline is judged by.
        expected_latency_s: mean over the frames, counting those that end at the gate.
        period_s: mean seconds between frames that the slowest of sites and links sustains.
        quality: expected quality of the answers, 0 to 1, gate and codec counted in; NaN where it
            was not measured.
        late: True if it does not meet the deadline.
        reason: why this one, in words.
        energy_j: mean energy of the car for a frame, in J; 0 where its prices are not known.
        waiting_s: seconds that a frame which the gate does not end waits for other cars' at the
            edge server, as the fleet's prices say; in no other field.
        toll_s: what sharing edge server and link with other cars adds to what is minimised, in s.
    """

    exit_number: int
    stages: tuple[Stage, ...] = (Stage(CAR),)
    crossings: tuple[Crossing, ...] = ()
    gate: int | None = None
    gate_threshold: float | None = None
    gate_share: float = 0.0
    objective: Objective = LATENCY
    latency_s: float = math.nan
    expected_latency_s: float = math.nan
    period_s: float = math.nan
    quality: float = math.nan
    late: bool = False
    reason: str = ""
    energy_j: float = 0.0
    waiting_s: float = 0.0
    toll_s: float = 0.0

    @property
    def device_only(self) -> bool:
        """Whether the car finishes alone."""
        return not self.crossings

    @property
    def server(self) -> str:
        """Id of the site that the car sends to; empty if it finishes alone."""
        return self.stages[1].site if self.crossings else ""

    @property
    def boundary(self) -> tuple[str, ...]:
        """The tensors that leave the car, in topological order; empty if it finishes alone."""
        return self.crossings[0].boundary if self.crossings else ()

    @property
    def codec(self) -> str:
        """How they are coded; ``none`` if nothing is sent."""
        return self.crossings[0].codec if self.crossings else NO_CODEC

    @property
    def boundary_bytes(self) -> float:
        """What the car sends for one frame, coded, in bytes."""
        return self.crossings[0].sent_bytes if self.crossings else 0

    @property
    def head_s(self) -> float:
        """Seconds on the car of a frame that the gate does not end: T_d of the papers."""
        return self.stages[0].seconds

    @property
    def transfer_s(self) -> float:
        """Seconds on all hops, likewise: T_t."""
        return sum((crossing.seconds for crossing in self.crossings), 0.0)

    @property
    def edge_s(self) -> float:
        """Seconds on all sites but the car, likewise: T_e."""
        return sum((stage.seconds for stage in self.stages[1:]), 0.0)

    @property
    def key(self) -> PlanKey:
        """What the runtime has to do differently when it changes; predictions are not in it."""
        return (self.exit_number, self.boundary, self.codec, self.gate, self.gate_threshold)

    @property
    def objective_s(self) -> float:
        """The minimised quantity, in s."""
        own_s: float = self.objective.of(self.expected_latency_s, self.period_s, self.energy_j)
        return own_s + self.toll_s

    def is_late(self, deadline_s: float) -> bool:
        """Whether it does not meet a deadline in s, waiting for other cars' frames included."""
        return not self.latency_s + self.waiting_s <= deadline_s

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain JSON values (a NaN becomes None), with its summary over the stages."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values |= {
            "stages": [_finite(stage._asdict()) for stage in self.stages],
            "crossings": [_finite(crossing._asdict()) for crossing in self.crossings],
            "objective": {f.name: getattr(self.objective, f.name) for f in fields(self.objective)},
            "boundary": list(self.boundary),
        }
        for name in ("codec", "boundary_bytes", "head_s", "transfer_s", "edge_s"):
            values[name] = getattr(self, name)
        return _finite(values)


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values.items()
    }
