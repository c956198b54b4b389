"""Parameters of the load score: the paper gives none, so all of these are ours."""

from __future__ import annotations

from dataclasses import dataclass, field

INDICATORS = ("cpu", "memory", "uplink", "delay", "battery", "deadline")
"""What the load score is made of, each 0 to 1 with 1 = loaded."""


def _base_weights() -> dict[str, float]:
    return {
        "cpu": 0.25,
        "memory": 0.10,
        "uplink": 0.20,
        "delay": 0.10,
        "battery": 0.10,
        "deadline": 0.25,
    }


@dataclass(frozen=True)
class LoadSettings:
    """Parameters of ``LoadEstimator``.

    Attributes:
        base_weights: weight of each indicator while nothing unusual happens, at least 0, not all
            0; only their ratios count. Indicators that are unknown don't count.
        memory_free: share of memory in use up to which memory is no load, 0 to 0.99.
        fast_bps: uplink rate from which on the uplink is no load, bit/s.
        slow_bps: uplink rate from which down it is fully loaded, below ``fast_bps``. Between them
            the indicator runs with the rate's logarithm.
        longest_delay_s: round trip that counts as fully loaded, 0.01 to 10.
        free_deadline: share of the deadline that a frame may take before there is pressure, 0 to
            0.99; at the whole deadline the pressure is full.
        smoothing_s: time constant of the indicators, 0 to 60.
        change_floor: smallest change of an indicator that may recompute the weights, 0.01 to 1.
        change_sigmas: standard deviations beyond the mean of recent changes that do, 1 to 5.
        most_deviations: bound on the deviations that a weight is raised by, 0 to 20.
        memory_s: after this time without such a change the weights go back to their base, 1 to
            600.
        most_feedback: bound on the factor by which measured over predicted time raises or lowers a
            weight, 1 to 10.
        threshold: load score that separates light from heavy (0.4 in the paper), 0 to 1.
        hysteresis: how far beyond the threshold the score must go to switch, 0 to 0.2.
        stale_s: an indicator that was not heard of for so long is unknown, 1 to 600.
    """

    base_weights: dict[str, float] = field(default_factory=_base_weights)
    memory_free: float = 0.5
    fast_bps: float = 18.88e6
    slow_bps: float = 0.13e6
    longest_delay_s: float = 0.2
    free_deadline: float = 0.5
    smoothing_s: float = 1.0
    change_floor: float = 0.1
    change_sigmas: float = 2.0
    most_deviations: float = 3.0
    memory_s: float = 20.0
    most_feedback: float = 2.0
    threshold: float = 0.4
    hysteresis: float = 0.03
    stale_s: float = 10.0

    def __post_init__(self) -> None:
        weights = self.base_weights
        if set(weights) != set(INDICATORS):
            raise ValueError(f"expected a base weight for each of {INDICATORS}, got {weights}")
        if min(weights.values()) < 0 or not 0 < sum(weights.values()) < float("inf"):
            raise ValueError(f"base weights must be at least 0 and not all 0, got {weights}")
        if not 0 < self.slow_bps < self.fast_bps:
            raise ValueError(f"expected 0 < slow_bps < fast_bps, got {self.slow_bps}")
        if not (0 <= self.memory_free < 1 and 0 <= self.free_deadline < 1):
            raise ValueError("memory_free and free_deadline must lie from 0 to below 1")
        if not 0 <= self.hysteresis <= min(self.threshold, 1 - self.threshold):
            raise ValueError(f"hysteresis {self.hysteresis} leaves 0 to 1 around {self.threshold}")
        if self.most_feedback < 1 or self.longest_delay_s <= 0 or self.stale_s <= 0:
            raise ValueError("expected most_feedback >= 1, longest_delay_s > 0 and stale_s > 0")
