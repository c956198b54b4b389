"""How a policy compares with its rivals where one run each scatters as much as they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

CLOSE = 1.5
"""Within this factor of each other, either way, two runs are measured again."""

REPEATS = 3
"""How often those are measured in all."""

HEAVY = "heavy"


@dataclass(frozen=True)
class Comparison:
    """A policy and the best of its rivals in one cell.

    Attributes:
        ours: median over its runs, seconds under light load and frames/s under heavy.
        rival: the same of the best rival.
        policy: that rival's name.
        runs: how many the median of ours is over.
        ratio: how many times as good ours is: above 1 it is better, whatever the load.
    """

    ours: float
    rival: float
    policy: str
    runs: int
    ratio: float


def times_as_good(ours: float, rival: float, load: str) -> float:
    """Ratio of throughputs under heavy load, inverse ratio of latencies under light.

    >>> times_as_good(30.0, 24.0, "heavy"), times_as_good(0.030, 0.024, "light")
    (1.25, 0.8)
    """
    return ours / rival if load == HEAVY else rival / ours


def close_rivals(ours: float, rivals: Mapping[str, float], load: str) -> list[str]:
    """The rivals that one run each does not tell from ours, better or worse.

    >>> close_rivals(30.0, {"dads": 40.0, "edge-only": 27.0, "device-only": 8.0}, "heavy")
    ['dads', 'edge-only']
    """
    return [
        policy
        for policy, rival in rivals.items()
        if 1 / CLOSE <= times_as_good(ours, rival, load) <= CLOSE
    ]


def compare(
    ours: Sequence[float], rivals: Mapping[str, Sequence[float]], load: str
) -> Comparison | None:
    """Medians against each other; None without a rival.

    >>> compare([30.0, 20.0, 29.0], {"dads": [31.0, 28.0, 27.0], "edge-only": [20.0]}, "heavy")
    Comparison(ours=29.0, rival=28.0, policy='dads', runs=3, ratio=1.0357)
    """
    middle = median(ours)
    ratios = {policy: times_as_good(middle, median(runs), load) for policy, runs in rivals.items()}
    if not ratios:
        return None
    policy = min(ratios, key=lambda name: ratios[name])
    return Comparison(middle, median(rivals[policy]), policy, len(ours), round(ratios[policy], 4))
