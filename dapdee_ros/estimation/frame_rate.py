"""How often frames come, from a counter that is read now and then."""

from __future__ import annotations

import math

_LEAST_INTERVAL_S = 1e-3
_LEAST_APART_S = 0.05


class FrameRate:
    """Follows the time between frames. Told the time by its caller, in s.

    The counter comes from outside: readings that follow each other too closely to tell a rate, and
    jumps of more than a thousand frames a second, say nothing.
    """

    def __init__(self, smoothing: float = 0.5) -> None:
        """Begin without knowledge.

        Args:
            smoothing: weight of a new reading against what was believed, 0 to 1.
        """
        self._smoothing = smoothing
        self._last: tuple[float, int, int] | None = None
        self._interval_s = math.inf

    def on_count(self, now_s: float, session: int, count: int) -> None:
        """A reading of the counter; one that starts anew gets another session."""
        last = self._last
        if last is not None and last[1] == session and now_s - last[0] < _LEAST_APART_S:
            return
        self._last = (now_s, session, count)
        if last is None or last[1] != session or count <= last[2]:
            return
        interval_s = (now_s - last[0]) / (count - last[2])
        if interval_s < _LEAST_INTERVAL_S:
            return
        if math.isinf(self._interval_s):
            self._interval_s = interval_s
        self._interval_s += self._smoothing * (interval_s - self._interval_s)

    @property
    def interval_s(self) -> float:
        """Seconds between two frames; infinite until it is known."""
        return self._interval_s
