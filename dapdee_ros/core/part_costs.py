"""What frames of each part of the network take on the edge, alone and in batches.

Whether a batch pays depends on the part, the machine and what else runs there, so it is learned
from the frames themselves. Sizes are powers of two. A size is tried by a run of it right after one
of a single frame: what one frame takes changes with the machine's load, while the two have the
same load. All sizes are tried a few times while that many frames wait, larger ones only while a
smaller one was not slower than computing one by one, and again now and then. The size that takes
the fewest seconds per frame is used if it saves enough to be told from chance.

>>> costs = PartCosts(most_batch=4)
>>> costs.learn("part", 1, 0.010)
>>> costs.batches_ready("part", True)
>>> takes_s = {1: 0.010, 2: 0.016, 4: 0.036}
>>> for _ in range(40):
...     size = costs.batch_size("part", 4)
...     costs.learn("part", size, takes_s[size])
>>> size, round(costs.run_s("part", size), 3), costs.batch_size("part", 1)
(2, 0.016, 1)
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable
from statistics import median

_SMOOTHING = 0.2
_MOST_PARTS = 256

_SAMPLES = 15
_FIRST_SAMPLES = 9
_TRY_AGAIN = 64
"""Runs of a part after which a size is tried again."""

_PAYS = 0.95
"""A batch takes at most this much of the time of its frames one by one."""

_HOPELESS = 1.05
"""If a batch takes more than this, larger ones are not tried, and this one seldom again."""

_SELDOM = 8


class _Batches:
    """What batches of one part take, by size."""

    def __init__(self, most: int) -> None:
        self.sizes = [2**k for k in range(1, most.bit_length())]
        self.median_s: dict[int, float] = {}
        self._seconds = {size: deque[float](maxlen=_SAMPLES) for size in (1, *self.sizes)}
        self._ratios = {size: deque[float](maxlen=_SAMPLES) for size in self.sizes}
        self._ratio = dict.fromkeys(self.sizes, math.inf)
        self._tried_at = dict.fromkeys(self.sizes, 0)
        self._runs = 0
        self._alone_s = 0.0
        """Of the last run, if it was of one frame; else 0."""

    def learn(self, size: int, seconds: float) -> None:
        """A run of so many frames took so long; sizes that are no powers of two tell nothing."""
        self._runs += 1
        before_s, self._alone_s = self._alone_s, seconds if size == 1 else 0.0
        if size not in self._seconds:
            return
        self._seconds[size].append(seconds)
        self.median_s[size] = median(self._seconds[size])
        if size > 1 and before_s > 0:
            self._ratios[size].append(seconds / (size * before_s))
            self._ratio[size] = median(self._ratios[size])
            self._tried_at[size] = self._runs

    def best(self, available: int) -> int:
        """The size that takes the fewest seconds per frame; 1 unless a batch pays."""
        sizes = [size for size in self.sizes if size <= available]
        best = min(sizes, key=self._ratio.__getitem__, default=1)
        return best if self._ratio.get(best, math.inf) <= _PAYS else 1

    def to_try(self, available: int) -> int | None:
        """A size of which too little is known, or nothing of late; None if there is none."""
        best = self.best(available)
        for size in self.sizes:
            if size > available:
                return None
            hopeless = len(self._ratios[size]) >= _FIRST_SAMPLES and self._ratio[size] > _HOPELESS
            every = _TRY_AGAIN * (_SELDOM if hopeless else 1)
            is_old = self._runs - self._tried_at[size] >= every
            if len(self._ratios[size]) < _FIRST_SAMPLES or is_old:
                return size
            if hopeless and size >= best:
                return None
        return None

    def next_size(self, available: int) -> int:
        """How many of the available frames to compute next."""
        size = self.to_try(available)
        if size is None:
            return self.best(available)
        return size if self._alone_s > 0 else 1


class PartCosts:
    """Learns what runs of each part take. Takes no time from anywhere."""

    def __init__(self, most_batch: int = 1) -> None:
        """Prepare.

        Args:
            most_batch: most frames of a batch; 1: there are none.
        """
        self._most_batch = most_batch
        self._share_s: dict[Hashable, float] = {}
        self._between_s = 0.0
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
            return known_s[size] + self._between_s
        # A batch that was never tried is not expected to save anything.
        return self.share_s(part) if size == 1 else 2 * self.run_s(part, size // 2)

    def learn(self, part: Hashable, size: int, seconds: float, took_s: float = math.nan) -> None:
        """A run of so many frames is over.

        Args:
            part: its part.
            size: how many.
            seconds: since it was begun, all that the edge did meanwhile included.
            took_s: the run alone; NaN: all of that.
        """
        share_s, before_s = seconds / size, self._share_s.get(part)
        if before_s is not None:
            share_s = before_s + _SMOOTHING * (share_s - before_s)
        elif len(self._share_s) >= _MOST_PARTS:
            oldest = next(iter(self._share_s))
            del self._share_s[oldest]
            self._batches.pop(oldest, None)
        self._share_s[part] = share_s
        took_s = seconds if math.isnan(took_s) else min(took_s, seconds)
        self._between_s += _SMOOTHING * (seconds - took_s - self._between_s)
        batches = self._batches.get(part)
        if batches is not None:
            batches.learn(size, took_s)

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
        return 1 if batches is None else batches.next_size(available)

    def may_batch(self, part: Hashable) -> bool:
        """Whether it is worth counting how many frames of a part there are."""
        if self._most_batch == 1:
            return False
        if part not in self._batches:
            return part in self._share_s
        batches, most = self._batches[part], self._most_batch
        return batches is not None and (batches.best(most) > 1 or batches.to_try(most) is not None)
