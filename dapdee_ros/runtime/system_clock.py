"""The system clock relative to the monotonic one: when it was set, and what its stamps mean.

NTP, a GPS receiver or a user may set the system clock at any time, and a machine without a battery
for its clock is years behind until then. All measurements use the monotonic clock; only stamps that
others made with the system clock have to be translated.
"""

from __future__ import annotations

import math
import time

_SET_NS = 1_000_000
"""Smaller changes are NTP's slewing, at most half a millisecond per second."""

_LONGEST_WAIT_S = 10.0
_QUICK_NS = 100_000
_TRIES = 5


class SystemClock:
    """Detects when the system clock is set, and translates its stamps to the monotonic clock.

    Attributes:
        set_s: when a change was last detected, in seconds of the monotonic clock;
            minus infinity if it never was.
    """

    def __init__(self) -> None:
        """Take the first reading of both clocks."""
        self.set_s = -math.inf
        steady_ns, system_ns = both_clocks_ns()
        self._ahead_ns = system_ns - steady_ns

    def was_set(self) -> bool:
        """Whether it was set since the last call or translated stamp."""
        return self._take(*both_clocks_ns())

    def arrival_s(self, received_ns: int) -> float:
        """When a message arrived, in seconds of the monotonic clock: possibly long before its
        callback.

        A stamp from before the clock was set, from the future or very old is useless: then it is
        now, which is never too early.

        Args:
            received_ns: the middleware's stamp, nanoseconds of the system clock; 0 if it has none.
        """
        return self.translated_s(received_ns, *both_clocks_ns())

    def translated_s(self, received_ns: int, steady_ns: int, system_ns: int) -> float:
        """As ``arrival_s``, from a reading of both clocks in nanoseconds."""
        self._take(steady_ns, system_ns)
        now_s = steady_ns / 1e9
        arrived_s = now_s - (system_ns - received_ns) / 1e9
        earliest_s = max(self.set_s, now_s - _LONGEST_WAIT_S)
        return arrived_s if earliest_s < arrived_s <= now_s else now_s

    def _take(self, steady_ns: int, system_ns: int) -> bool:
        ahead_ns = system_ns - steady_ns
        changed_ns, self._ahead_ns = ahead_ns - self._ahead_ns, ahead_ns
        if abs(changed_ns) < _SET_NS:
            return False
        self.set_s = steady_ns / 1e9
        return True


def both_clocks_ns() -> tuple[int, int]:
    """The monotonic clock and the system clock at the same moment, in nanoseconds."""
    for _ in range(_TRIES):
        before_ns = time.monotonic_ns()
        system_ns = time.time_ns()
        if time.monotonic_ns() - before_ns < _QUICK_NS:
            break  # otherwise the thread was preempted in between
    return before_ns, system_ns
