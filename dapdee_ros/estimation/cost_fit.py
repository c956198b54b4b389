"""A fixed part and a part per byte, from what pieces of work of several sizes take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


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
