"""The state of link and load, and the cost of a split under them.

The formulas, for a head that takes ``car_s`` and a tail that takes ``edge_s`` as profiled (both
with their part of the codec) and ``boundary_bytes`` between them:

- T_d = car_slowdown * car_s, T_e = edge_slowdown * edge_s
- T_t = rtt_s + 8 * boundary_bytes / uplink_bps, and 0 where nothing is sent
- latency T = T_d + T_t + T_e
- period P = max(T_d, 8 * boundary_bytes / uplink_bps, T_e, T / window): a frame that is sent has a
  slot in the window from the start of its head to its answer (Little's law). Over a fast link to a
  fast edge server that is the bottleneck, although every stage alone could do more
- car energy E = compute_w * T_d + send_j_per_byte * boundary_bytes + wait_w * (T - T_d)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from dapdee_ros.partition.errors import DeadlineError, LinkError, LoadError, PlanningError
from dapdee_ros.partition.objective import Objective, objective_named

# Below this load score a task counts as light and is planned for latency (the paper's threshold).
HEAVY_LOAD_SCORE = 0.4


@dataclass(frozen=True, slots=True)
class LinkState:
    """The state of the radio link.

    Attributes:
        uplink_bps: rate from car to edge in bit/s; 0 means that nothing gets through.
        rtt_s: round-trip time of a small packet in s.
        connected: False if the edge does not answer.
        relative_spread: standard deviation of the rate's estimate over the estimate (0: certain).
        window: how many frames may be computed on, sent or waited for at a time; infinity: any.

    Raises:
        LinkError: at construction, for a negative, infinite or NaN value, or a window below 1.
    """

    uplink_bps: float
    rtt_s: float = 0.0
    connected: bool = True
    relative_spread: float = 0.0
    window: float = math.inf

    def __post_init__(self) -> None:
        for name in ("uplink_bps", "rtt_s", "relative_spread"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise LinkError(f"{name} is {value}; expected a finite number of 0 or more")
        if not self.window >= 1:
            raise LinkError(f"window is {self.window}; expected 1 or more frames")

    @property
    def usable(self) -> bool:
        """Whether a boundary can be sent at all."""
        return self.connected and self.uplink_bps > 0

    def pessimistic_bps(self, risk: float) -> float:
        """The rate that the link falls below with probability ``risk``, in bit/s.

        The estimate's error is taken as log-normal, so the rate stays above 0 whatever the spread.

        Args:
            risk: probability in (0, 0.5]; 0.5 is the estimate itself.
        """
        return self.uplink_bps * math.exp(_normal_quantile(risk) * self.relative_spread)


@dataclass(frozen=True, slots=True)
class LoadState:
    """The load of both sides.

    Attributes:
        car_slowdown: measured over profiled time on the car (1: as profiled).
        edge_slowdown: the same for the edge server.
        score: the load score, 0 (idle) to 1; decides about mode ``auto``.
        indicators: what the score is made of (``cpu``, ``memory``, ``uplink``, ``delay``,
            ``battery``, ``deadline``), each 0 to 1 with 1 = loaded; for policies that score the
            load themselves.

    Raises:
        LoadError: at construction, for a slowdown not above 0 or a score outside 0 to 1.
    """

    car_slowdown: float = 1.0
    edge_slowdown: float = 1.0
    score: float = 0.0
    indicators: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("car_slowdown", "edge_slowdown"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise LoadError(f"{name} is {value}; expected a finite number above 0")
        if not 0 <= self.score <= 1:
            raise LoadError(f"load score is {self.score}; expected 0 to 1")


@dataclass(frozen=True, slots=True)
class EnergyPrices:
    """The prices of the car's energy; all 0, and so is the energy, if unknown.

    Attributes:
        compute_w: power while it computes, in W.
        send_j_per_byte: energy of sending a byte, in J.
        wait_w: power while a frame is in flight, in W.

    Raises:
        PlanningError: at construction, for a price that is negative or not finite.
    """

    compute_w: float = 0.0
    send_j_per_byte: float = 0.0
    wait_w: float = 0.0

    def __post_init__(self) -> None:
        for name in ("compute_w", "send_j_per_byte", "wait_w"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise PlanningError(f"{name} is {value}; expected a finite number of 0 or more")

    @property
    def any(self) -> bool:
        """Whether there is a price at all."""
        return bool(self.compute_w or self.send_j_per_byte or self.wait_w)

    def car_j(self, head_s: Any, sent_bytes: Any, latency_s: Any) -> Any:
        """The car's energy for a frame, in J, by the module's formula; numbers or ``(n,)`` each."""
        energy_j = self.compute_w * head_s + self.send_j_per_byte * sent_bytes
        # Over a link that is gone the latency is infinite.
        return energy_j + self.wait_w * (latency_s - head_s) if self.wait_w else energy_j


FREE = EnergyPrices()
"""No prices are known."""


class SplitCost(NamedTuple):
    """Seconds of one split; ``latency_s`` and ``period_s`` as the module's formulas."""

    head_s: float
    transfer_s: float
    edge_s: float
    latency_s: float
    period_s: float


def split_cost(
    car_s: float,
    boundary_bytes: float,
    edge_s: float,
    sends: bool,
    link: LinkState,
    load: LoadState,
    sent_share: float = 1.0,
) -> SplitCost:
    """Price one split by the module's formulas.

    Args:
        car_s: profiled seconds of the head, encoding included.
        boundary_bytes: what is sent, in bytes.
        edge_s: profiled seconds of the tail, decoding included.
        sends: False if the car finishes alone; then nothing of link and edge counts.
        link: the link; a split that sends over an unusable link takes forever (infinity).
        load: slowdowns of both sides.
        sent_share: share of the frames that wait for the round trip, 0 to 1; for means over frames
            of which a gate ends some.
    """
    head_s = load.car_slowdown * car_s
    if not sends:
        return SplitCost(head_s, 0.0, 0.0, head_s, head_s)
    on_air_s = 8 * boundary_bytes / link.uplink_bps if link.usable else math.inf
    transfer_s = sent_share * link.rtt_s + on_air_s
    tail_s = load.edge_slowdown * edge_s
    latency_s = head_s + transfer_s + tail_s
    period_s = max(head_s, on_air_s, tail_s, latency_s / link.window)
    return SplitCost(head_s, transfer_s, tail_s, latency_s, period_s)


def resolve_objective(mode: str | Objective, load: LoadState, priority: bool = False) -> Objective:
    """What to minimise.

    Mode ``auto`` is the latency for a priority task or a light load, the period for a heavy one.

    Raises:
        ObjectiveError: for a mode that names no objective.
    """
    return objective_named(mode, not priority and load.score >= HEAVY_LOAD_SCORE)


def check_deadline(deadline_s: float, most_period_s: float = math.inf) -> None:
    """Raise DeadlineError unless a deadline is positive and finite, and a longest period positive.

    Both in seconds.
    """
    if not 0 < deadline_s < math.inf:
        raise DeadlineError(f"deadline_s is {deadline_s}; expected a finite number above 0")
    if not most_period_s > 0:
        raise DeadlineError(f"most_period_s is {most_period_s}; expected a number above 0")


@lru_cache(maxsize=64)
def _normal_quantile(probability: float) -> float:
    if not 0 < probability <= 0.5:
        raise PlanningError(
            f"risk is {probability}; expected a probability above 0 and up to 0.5 (the estimate)"
        )
    # Imported late: the manager's process stays small unless a risk is set.
    from statistics import NormalDist

    return NormalDist().inv_cdf(probability)
