"""What a plan costs: the formulas, over lists of sites and hops.

Site k runs its part in ``part_s[k]`` as profiled (with its part of the codecs), and hop k carries
``sent_bytes[k - 1]``. Up to the last hop that is crossed, and 0 from there on:

- stage T_k = slowdown_k * part_s[k] + o_k, where o_k is what the frame costs the site beside the
  network: frame_s, and per hop by which it comes or leaves crossing_s + s_per_byte * bytes
- hop H_k = rtt_k + 8 * bytes_k / rate_k
- latency T = the sum of all T_k and H_k
- period P = max(every T_k, every 8 * bytes_k / rate_k, T / window): a frame that is sent has a
  slot in the window from the start of its head to its answer (Little's law). Over a fast link to a
  fast edge server that is the bottleneck, although every stage alone could do more
- car energy E = compute_w * T_0 + send_j_per_byte * bytes_1 + wait_w * (T - T_0)

Over one hop T_0, H_1 and T_1 are T_d, T_t and T_e of the papers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from dapdee_ros.planning.errors import DeadlineError, PlanningError
from dapdee_ros.planning.objective import Objective, objective_named
from dapdee_ros.planning.sites import Hop, Site

# Below this load score a task counts as light and is planned for latency (the paper's threshold).
HEAVY_LOAD_SCORE = 0.4


class PlanCost(NamedTuple):
    """What a plan takes, in s, by the module's formulas.

    Attributes:
        stage_s: T_k of the sites that compute: the car, and one more for every hop crossed.
        hop_s: H_k of the hops crossed.
        latency_s: T.
        period_s: P.
    """

    stage_s: tuple[float, ...]
    hop_s: tuple[float, ...]
    latency_s: float
    period_s: float


def plan_cost(
    part_s: Sequence[float],
    sent_bytes: Sequence[float],
    sites: Sequence[Site],
    hops: Sequence[Hop],
    window: float = math.inf,
    sent_share: float = 1.0,
) -> PlanCost:
    """Price a plan by the module's formulas.

    Args:
        part_s: profiled seconds of each site that computes, the car's first.
        sent_bytes: what each hop carries that is crossed, one fewer.
        sites: the sites, in order.
        hops: the hops between them; over one that is unusable it takes forever (infinity).
        window: how many frames may be under way.
        sent_share: share of the frames that wait for the round trips, 0 to 1; for means over frames
            of which a gate ends some.

    Raises:
        PlanningError: if there are more parts than sites, or not one hop between any two.

    >>> sites, hops = (Site("car", 2.0), Site("edge")), (Hop(8e6, rtt_s=0.01),)
    >>> plan_cost((0.02, 0.03), (50_000,), sites, hops)
    PlanCost(stage_s=(0.04, 0.03), hop_s=(0.060000000000000005,), latency_s=0.13, period_s=0.05)
    """
    if len(part_s) > len(sites) or len(sent_bytes) != len(part_s) - 1:
        raise PlanningError(
            f"{len(part_s)} parts with {len(sent_bytes)} boundaries do not fit {len(sites)} sites"
        )
    beside_s = sites[0].overhead.seconds(sent_bytes[:1], share=sent_share)
    latency_s = period_s = sites[0].slowdown * part_s[0] + beside_s
    stage_s, hop_s = [latency_s], []
    for k, carried in enumerate(sent_bytes):
        site, hop = sites[k + 1], hops[k]
        on_air_s = 8 * carried / hop.rate_bps if hop.usable else math.inf
        hop_s.append(sent_share * hop.rtt_s + on_air_s)
        # The hop by which the frame comes and the one by which it goes on, if it does.
        crossed_bytes = sent_bytes[k : k + 2]
        beside_s = site.overhead.seconds(crossed_bytes, sent_share, sent_share)
        stage_s.append(site.slowdown * part_s[k + 1] + beside_s)
        latency_s = latency_s + hop_s[-1] + stage_s[-1]
        period_s = max(period_s, on_air_s, stage_s[-1])
    if hop_s:
        # What sends nothing takes its latency anyway, and a window is one frame or more.
        period_s = max(period_s, latency_s / window)
    return PlanCost(tuple(stage_s), tuple(hop_s), latency_s, period_s)


_MOST_PRICE = 1e5
"""Watts, and joules per byte: far more would let sums of energies overflow."""


@dataclass(frozen=True, slots=True)
class EnergyPrices:
    """The prices of the car's energy; all 0, and so is the energy, if unknown.

    Attributes:
        compute_w: power while it computes, in W.
        send_j_per_byte: energy of sending a byte, in J.
        wait_w: power while a frame is in flight, in W.
        source: where the numbers come from, for whoever reads them.

    Raises:
        PlanningError: at construction, for a price that is negative, not finite, or more than
            anything that a car carries can take.
    """

    compute_w: float = 0.0
    send_j_per_byte: float = 0.0
    wait_w: float = 0.0
    source: str = ""

    def __post_init__(self) -> None:
        for name in ("compute_w", "send_j_per_byte", "wait_w"):
            value = getattr(self, name)
            # Written so that NaN is refused, too.
            if not 0 <= value <= _MOST_PRICE:
                raise PlanningError(f"{name} is {value}; expected 0 to {_MOST_PRICE:g}")

    @property
    def any(self) -> bool:
        """Whether there is a price at all."""
        return bool(self.compute_w or self.send_j_per_byte or self.wait_w)

    def with_known(self, compute_w: float, send_j_per_byte: float, wait_w: float) -> EnergyPrices:
        """The same where those that are above 0 are known better."""
        if not (compute_w or send_j_per_byte or wait_w):
            return self
        return EnergyPrices(
            compute_w or self.compute_w,
            send_j_per_byte or self.send_j_per_byte,
            wait_w or self.wait_w,
            "set",
        )

    def car_j(self, head_s: Any, sent_bytes: Any, latency_s: Any) -> Any:
        """The car's energy for a frame, in J, by the module's formula; numbers or ``(n,)`` each."""
        energy_j = self.compute_w * head_s + self.send_j_per_byte * sent_bytes
        # Over a link that is gone the latency is infinite.
        return energy_j + self.wait_w * (latency_s - head_s) if self.wait_w else energy_j


FREE = EnergyPrices()
"""No prices are known."""


def resolve_objective(
    mode: str | Objective, load_score: float, priority: bool = False
) -> Objective:
    """What to minimise.

    Mode ``auto`` is the latency for a priority task or a light load, the period for a heavy one.

    Raises:
        ObjectiveError: for a mode that names no objective.
    """
    return objective_named(mode, not priority and load_score >= HEAVY_LOAD_SCORE)


def check_deadline(deadline_s: float, most_period_s: float = math.inf) -> None:
    """Raise DeadlineError unless a deadline is positive and finite, and a longest period positive.

    Both in seconds.
    """
    if not 0 < deadline_s < math.inf:
        raise DeadlineError(f"deadline_s is {deadline_s}; expected a finite number above 0")
    if not most_period_s > 0:
        raise DeadlineError(f"most_period_s is {most_period_s}; expected a number above 0")
