"""A synthetic drive: the uplink of a car that passes cells, fades, handovers and a tunnel."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.simulation.link_trace import FIXED_RATES_BPS, LinkTrace, LinkTraceError

DRIVE_DURATION_S = 90.0
TUNNEL_S = (26.0, 31.0)
"""The tunnel's nominal start and end; a seed moves both by at most half a second."""

_STEP_S = 0.05
_HIGHEST_BPS = 19e6
_LOWEST_BPS = FIXED_RATES_BPS["cat1"]
_HANDOVER_BPS = 0.02e6
# (from_s, median Mbit/s): a good cell, a hot spot, the edge of a town, the tunnel, and so on. The
# order is fixed so that whatever the seed, the first minute asks for very different plans.
_PLACES = (
    (0.0, 5.85),
    (9.0, 16.0),
    (18.0, 1.1),
    (TUNNEL_S[0], 0.0),
    (TUNNEL_S[1], 3.5),
    (40.0, 14.0),
    (48.0, 0.3),
    (55.0, 5.85),
    (66.0, 1.1),
    (74.0, 17.0),
    (82.0, 8.0),
)
_SLOW_FADING = (2.5, 0.30)
_FAST_FADING = (0.3, 0.12)


def drive_link(seed: int = 0) -> LinkTrace:
    """A drive of 90 s that starts over, the same for the same seed.

    Made of three things, none of them measured (for measured drives read a trace file):

    - places: the median rate of the cell the car is in, 0.3 to 17 Mbit/s, in a fixed order; the
      seed moves the borders by up to half a second. Between seconds 26 and 31 a tunnel: nothing.
    - fading: the logarithm of the rate wanders around the place's (two Ornstein-Uhlenbeck
      processes: 2.5 s and 0.30, 0.3 s and 0.12), clipped to 0.13 to 19 Mbit/s.
    - handovers: at every border, and twice more at random, 0.2 to 0.5 s at 0.02 Mbit/s.

    Raises:
        LinkTraceError: if the seed is negative.
    """
    if seed < 0:
        raise LinkTraceError(f"the seed of a drive must be at least 0, got {seed}")
    rng = np.random.default_rng(seed)
    times = np.arange(round(DRIVE_DURATION_S / _STEP_S), dtype=np.float64) * _STEP_S
    borders = np.array([at_s for at_s, _ in _PLACES])
    borders[1:] += rng.uniform(-0.5, 0.5, len(borders) - 1)
    medians = np.array([mbps * 1e6 for _, mbps in _PLACES])
    place = np.searchsorted(borders, times, side="right") - 1
    rates = medians[place] * np.exp(
        _wander(rng, len(times), *_SLOW_FADING) + _wander(rng, len(times), *_FAST_FADING)
    )
    rates = np.clip(rates, _LOWEST_BPS, _HIGHEST_BPS)
    handovers = [*borders[1:], *rng.uniform(2.0, DRIVE_DURATION_S - 2.0, 2)]
    for start_s, length_s in zip(handovers, rng.uniform(0.2, 0.5, len(handovers)), strict=True):
        rates[(times >= start_s) & (times < start_s + length_s)] = _HANDOVER_BPS
    rates[medians[place] == 0] = 0.0
    return LinkTrace(times, rates, DRIVE_DURATION_S, "drive" + (f":seed={seed}" if seed else ""))


def _wander(
    rng: np.random.Generator, count: int, correlation_s: float, deviation: float
) -> NDArray[np.float64]:
    """An Ornstein-Uhlenbeck path, float64 ``(count,)``, stationary from its first value on."""
    keep = math.exp(-_STEP_S / correlation_s)
    kicks = rng.normal(0.0, deviation, count)
    path = np.empty(count)
    path[0] = value = kicks[0]
    for index in range(1, count):
        value = keep * value + math.sqrt(1 - keep * keep) * kicks[index]
        path[index] = value
    return path
