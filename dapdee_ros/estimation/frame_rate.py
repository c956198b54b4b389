"""The frame rate, from occasional readings of a counter."""

from __future__ import annotations

import math

_LEAST_INTERVAL_S = 1e-3
_LEAST_APART_S = 0.05
# A camera that pauses is not much slower afterwards.
_MOST_LONGER = 2.0


class FrameRate:
    """Tracks the time between frames. The caller passes the time, in s.

    The counter comes from outside: readings too close together, and jumps of more than a thousand
    frames per second, are ignored.
    """

    def __init__(self, smoothing: float = 0.5) -> None:
        """Start without an estimate.

        Args:
            smoothing: weight of a new reading, 0 to 1.
        """
        self._smoothing = smoothing
        self._last: tuple[float, int, int] | None = None
        self._interval_s = math.inf

    def on_count(self, now_s: float, session: int, count: int) -> None:
        """A reading of the counter; a restarted counter has another session."""
        last = self._last
        if last is not None and last[1] == session and now_s - last[0] < _LEAST_APART_S:
            return
        if last is not None and last[1:] == (session, count):
            # Of a camera slower than the readings, the next frame's time counts from when this one
            # was counted.
            if math.isinf(self._interval_s):
                self._last = (now_s, session, count)
            return
        self._last = (now_s, session, count)
        if last is None or last[1] != session or count < last[2]:
            return
        interval_s = (now_s - last[0]) / (count - last[2])
        if interval_s < _LEAST_INTERVAL_S:
            return
        if math.isinf(self._interval_s):
            self._interval_s = interval_s
        interval_s = min(interval_s, _MOST_LONGER * self._interval_s)
        self._interval_s += self._smoothing * (interval_s - self._interval_s)

    @property
    def interval_s(self) -> float:
        """Seconds between two frames; infinite until it is known."""
        return self._interval_s
