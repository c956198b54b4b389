"""Significance of changes: the rule of mean plus two standard deviations."""

from __future__ import annotations

import math
from collections import deque


class ChangeDetector:
    """Compares the size of a change with the recent ones.

    A change is significant when it exceeds the mean of recent changes by more than ``sigmas``
    standard deviations (the trigger of DAPDEE's load score, with sigmas 2), and exceeds ``floor``,
    below which changes are ignored. With fewer than ``least`` changes their deviation is
    meaningless, and only ``floor`` times ``sigmas`` decides.

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
        """The current bound for a change."""
        if len(self._recent) < self._least:
            return self.floor * self.sigmas
        return max(self.floor, self.mean + self.sigmas * self.deviation)

    def deviations(self, change: float) -> float:
        """How many standard deviations above the mean a change is; at least 0.

        The deviation is at least ``floor / sigmas``, so that after a perfectly quiet period the
        smallest fluctuation does not count as infinitely significant.
        """
        if not math.isfinite(change):
            return 0.0
        return max(0.0, (abs(change) - self.mean) / max(self.deviation, self.floor / self.sigmas))

    def is_significant(self, change: float) -> bool:
        """Whether a change (of either sign) is more than noise. Does not remember it."""
        return math.isfinite(change) and abs(change) > self.threshold

    def remember(self, change: float) -> None:
        """Add a change to the recent ones; non-finite values are ignored."""
        if math.isfinite(change):
            self._recent.append(abs(change))

    def reset(self) -> None:
        """Reset: after a step the old changes say nothing about new ones."""
        self._recent.clear()
