"""What frames of each part of the network take on the edge, alone and in batches.

Whether a batch pays depends on the part, the machine and what else runs there, so it is learned
from the frames themselves. Sizes are powers of two. Each is tried a few times while frames wait,
the next larger one unless a smaller one was slower than computing one by one, and all that matter
are tried again now and then. The size that takes the fewest seconds per frame is used if it saves
enough to be told from chance.

>>> costs = PartCosts(most_batch=4)
>>> costs.learn("part", 1, 0.010)
>>> costs.batches_ready("part", True)
>>> takes_s = {1: 0.010, 2: 0.016, 4: 0.036}
>>> for _ in range(20):
...     size = costs.batch_size("part", 4)
...     costs.learn("part", size, takes_s[size])
>>> size, round(costs.run_s("part", size), 3), costs.batch_size("part", 1)
(2, 0.016, 1)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from statistics import median

_SMOOTHING = 0.2
_MOST_PARTS = 256

_SAMPLES = 25
_FIRST_SAMPLES = 9
_TRY_AGAIN = 64
"""Runs of a part after which a size that matters is tried again."""

_PAYS = 0.95
"""A batch takes at most this much of the time of its frames one by one."""

_HOPELESS = 1.05
"""If a batch takes more than this, larger ones are not tried, and this one seldom again."""

_SELDOM = 8


class _Batches:
    """What batches of one part take, by size."""

    def __init__(self, most: int) -> None:
        self.runs = 0
        self._seconds: dict[int, deque[float]] = {}
        self._last_run: dict[int, int] = {}
        self.median_s: dict[int, float] = {}
        size = 1
        while size <= most:
            self._seconds[size] = deque(maxlen=_SAMPLES)
            self._last_run[size] = 0
            size *= 2

    def learn(self, size: int, seconds: float) -> None:
        """A run of so many frames took so long; sizes that are no powers of two tell nothing."""
        self.runs += 1
        if size in self._seconds:
            self._seconds[size].append(seconds)
            self._last_run[size] = self.runs
            self.median_s[size] = median(self._seconds[size])

    def per_frame(self, size: int) -> float:
        """Seconds per frame in batches of a size over those alone; infinite while unknown."""
        if size not in self.median_s or not self.median_s.get(1):
            return float("inf")
        return self.median_s[size] / (size * self.median_s[1])

    def best(self, available: int) -> int:
        """The size that takes the fewest seconds per frame; 1 unless a batch pays."""
        sizes = [size for size in self._seconds if size <= available]
        best = min(sizes, key=self.per_frame)
        return best if self.per_frame(best) <= _PAYS else 1

    def to_try(self, available: int) -> int | None:
        """A size of which too little is known, or nothing of late; None if there is none."""
        best = self.best(available)
        for size, seconds in self._seconds.items():
            if size > available or (size > 1 and self.per_frame(size // 2) > _HOPELESS):
                return None
            if len(seconds) < _FIRST_SAMPLES:
                return size
            every = _TRY_AGAIN * (_SELDOM if self.per_frame(size) > _HOPELESS else 1)
            matters = size in (1, best, 2 * best)
            if matters and self.runs - self._last_run[size] >= every:
                return size
        return None


class PartCosts:
    """Learns what runs of each part take. Takes no time from anywhere."""

    def __init__(self, most_batch: int = 1) -> None:
        """Prepare.

        Args:
            most_batch: most frames of a batch; 1: there are none.
        """
        self._most_batch = most_batch
        self._share_s: dict[Hashable, float] = {}
        self._batches: dict[Hashable, _Batches | None] = {}

    def share_s(self, part: Hashable) -> float:
        """Expected seconds of the edge that a frame takes, in a batch or not; 0 before the first
        one.
        """
        return self._share_s.get(part, 0.0)

    def run_s(self, part: Hashable, size: int = 1) -> float:
        """Expected seconds until a run of so many frames is done; 0 before the first one."""
        batches = self._batches.get(part)
        known_s = batches.median_s if batches is not None else {}
        if size in known_s:
            return known_s[size]
        # A batch that was never tried is not expected to save anything.
        return self.share_s(part) if size == 1 else 2 * self.run_s(part, size // 2)

    def learn(self, part: Hashable, size: int, seconds: float) -> None:
        """A run of so many frames took so many seconds."""
        share_s, before_s = seconds / size, self._share_s.get(part)
        if before_s is not None:
            share_s = before_s + _SMOOTHING * (share_s - before_s)
        elif len(self._share_s) >= _MOST_PARTS:
            oldest = next(iter(self._share_s))
            del self._share_s[oldest]
            self._batches.pop(oldest, None)
        self._share_s[part] = share_s
        batches = self._batches.get(part)
        if batches is not None:
            batches.learn(size, seconds)

    def ask_for_batches(self, part: Hashable) -> bool:
        """Whether batches of a part have to be made possible first; True once for each part."""
        if self._most_batch == 1 or part in self._batches or part not in self._share_s:
            return False
        self._batches[part] = None
        return True

    def batches_ready(self, part: Hashable, possible: bool) -> None:
        """A part can be computed in batches from now on, or cannot."""
        if part in self._share_s:
            self._batches[part] = _Batches(self._most_batch) if possible else None

    def batch_size(self, part: Hashable, available: int) -> int:
        """How many of the available frames of a part to compute next."""
        batches = self._batches.get(part)
        if batches is None:
            return 1
        return batches.to_try(available) or batches.best(available)

    def may_batch(self, part: Hashable) -> bool:
        """Whether it is worth counting how many frames of a part there are."""
        if self._most_batch == 1:
            return False
        if part not in self._batches:
            return part in self._share_s
        return self.batch_size(part, self._most_batch) > 1
