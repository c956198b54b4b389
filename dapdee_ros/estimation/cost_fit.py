"""A fixed part and a part per byte, from what pieces of work of several sizes take."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple

BLOCK_S = 0.02
"""Two periods of a short CPU quota (10 ms)."""


class Fit(NamedTuple):
    """What something takes: ``fixed_s`` and ``s_per_byte``, both 0 or more."""

    fixed_s: float
    s_per_byte: float

    def __add__(self, other: object) -> Fit:
        """Both, one after the other."""
        if not isinstance(other, Fit):
            return NotImplemented
        return Fit(self.fixed_s + other.fixed_s, self.s_per_byte + other.s_per_byte)


def fit(n_bytes: Sequence[float], seconds: Sequence[float]) -> Fit:
    """The line through measurements, by least squares, with neither part below 0.

    Args:
        n_bytes: sizes.
        seconds: what each took.

    >>> fit((1_000, 101_000), (0.001, 0.003))
    Fit(fixed_s=0.00098, s_per_byte=2e-08)
    >>> fit((1_000, 101_000), (0.002, 0.001))
    Fit(fixed_s=0.0015, s_per_byte=0.0)
    """
    count = len(seconds)
    mean_bytes, mean_s = sum(n_bytes) / count, sum(seconds) / count
    spread = sum((size - mean_bytes) ** 2 for size in n_bytes)
    slope = 0.0
    if spread:
        joint = sum((b - mean_bytes) * (s - mean_s) for b, s in zip(n_bytes, seconds, strict=True))
        slope = max(0.0, joint / spread)
    fixed_s = mean_s - slope * mean_bytes
    if fixed_s < 0:
        squares = sum(size**2 for size in n_bytes)
        slope = max(0.0, sum(b * s for b, s in zip(n_bytes, seconds, strict=True)) / squares)
        fixed_s = 0.0
    return Fit(fixed_s, slope)


def time_call(call: Callable[[], object], budget_s: float, block_s: float = BLOCK_S) -> float:
    """Seconds of a call: the median over blocks of calls of their mean.

    A processor on a quota computes at full speed and then stands still for the rest of its period.
    The median of short calls would leave that out; in a block of two periods it is.

    Args:
        call: what is timed; once more before, which allocates.
        budget_s: how long at most, if that is more than a block.
        block_s: how long a block is at least.
    """
    clock = time.perf_counter
    call()
    means: list[float] = []
    began_s = block_began_s = clock()
    calls = 0
    while True:
        call()
        calls += 1
        now_s = clock()
        if now_s - block_began_s >= block_s:
            means.append((now_s - block_began_s) / calls)
            if now_s - began_s >= budget_s:
                return median(means)
            calls, block_began_s = 0, now_s
