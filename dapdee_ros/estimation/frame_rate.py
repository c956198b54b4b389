"""How often frames come, from a counter that is read now and then."""

from __future__ import annotations

import math


class FrameRate:
    """Follows the time between frames. Told the time by its caller, in s."""

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
        last, self._last = self._last, (now_s, session, count)
        if last is None or last[1] != session or count <= last[2] or now_s <= last[0]:
            return
        interval_s = (now_s - last[0]) / (count - last[2])
        if math.isinf(self._interval_s):
            self._interval_s = interval_s
        self._interval_s += self._smoothing * (interval_s - self._interval_s)

    @property
    def interval_s(self) -> float:
        """Seconds between two frames; infinite until it is known."""
        return self._interval_s
