"""When is a change more than noise: the rule of mean plus two standard deviations."""

from __future__ import annotations

import math
from collections import deque


class ChangeDetector:
    """Judges the size of a change against the recent ones.

    A change is significant when it exceeds the mean of recent changes by more than ``sigmas``
    standard deviations (the trigger of DAPDEE's load score, with sigmas 2), and exceeds ``floor``,
    below which nothing is worth reacting to. While fewer than ``least`` changes have been seen
    their deviation means nothing, and ``floor`` times ``sigmas`` decides alone.

    Attributes:
        floor: smallest change that can be significant, in the unit of the changes.
        sigmas: standard deviations above the mean.
    """

    def __init__(self, floor: float, sigmas: float = 2.0, window: int = 20, least: int = 5) -> None:
        if floor <= 0 or sigmas <= 0 or not 2 <= least <= window:
            raise ValueError(
                f"expected floor > 0, sigmas > 0 and 2 <= least <= window, got {floor}, {sigmas}, "
                f"{least}, {window}"
            )
        self.floor = floor
        self.sigmas = sigmas
        self._least = least
        self._recent: deque[float] = deque(maxlen=window)

    @property
    def mean(self) -> float:
        """Mean of the recent changes, 0 before the first."""
        return sum(self._recent) / len(self._recent) if self._recent else 0.0

    @property
    def deviation(self) -> float:
        """Standard deviation of the recent changes, 0 before the second."""
        if len(self._recent) < 2:
            return 0.0
        mean = self.mean
        return math.sqrt(sum((c - mean) ** 2 for c in self._recent) / len(self._recent))

    @property
    def threshold(self) -> float:
        """What a change has to exceed now."""
        if len(self._recent) < self._least:
            return self.floor * self.sigmas
        return max(self.floor, self.mean + self.sigmas * self.deviation)

    def deviations(self, change: float) -> float:
        """How many standard deviations above the mean a change is; at least 0.

        The deviation is taken as at least a ``sigmas``-th of ``floor``, so that after a perfectly
        quiet time the smallest flicker does not count as infinitely surprising.
        """
        if not math.isfinite(change):
            return 0.0
        return max(0.0, (abs(change) - self.mean) / max(self.deviation, self.floor / self.sigmas))

    def is_significant(self, change: float) -> bool:
        """Whether a change (of either sign) is more than noise. Does not remember it."""
        return math.isfinite(change) and abs(change) > self.threshold

    def remember(self, change: float) -> None:
        """Count a change among the recent ones; what is not a finite number is ignored."""
        if math.isfinite(change):
            self._recent.append(abs(change))

    def reset(self) -> None:
        """Forget all: after a step the old changes say nothing about the new ones."""
        self._recent.clear()
