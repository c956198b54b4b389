"""What happens when: the clock of a simulation."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from typing import Any


class Agenda:
    """Calls functions at their times, in order; of equal times the one that was put in first.

    Nothing depends on the machine's clock or on hashes, so the same input gives the same run.

    Attributes:
        now_s: the time of what is happening, in s.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self._order = itertools.count()
        self._due: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []

    def at(self, when_s: float, call: Callable[..., None], *arguments: Any) -> None:
        """Schedule a function; times in the past run now, infinity never."""
        if when_s < math.inf:
            entry = (max(when_s, self.now_s), next(self._order), call, arguments)
            heapq.heappush(self._due, entry)

    def run(self, until_s: float) -> None:
        """Run everything due up to a time; the clock is at that time afterwards."""
        due = self._due
        while due and due[0][0] <= until_s:
            self.now_s, _, call, arguments = heapq.heappop(due)
            call(*arguments)
        self.now_s = max(self.now_s, until_s)
