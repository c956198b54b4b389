"""The health of a part of the system: a level, a message with advice, and the figures."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

Value = str | int | float | bool


class Level(IntEnum):
    """Severity; the values are those of ``diagnostic_msgs/DiagnosticStatus``."""

    OK = 0
    """As it should be."""

    WARN = 1
    """It works, but worse than it could; action may be needed."""

    ERROR = 2
    """It does not do its job."""

    STALE = 3
    """Unknown: nothing has been received lately."""


# Unknown is worse than OK, and better than known problems.
_SEVERITY = {Level.OK: 0, Level.STALE: 1, Level.WARN: 2, Level.ERROR: 3}


@dataclass(frozen=True)
class Health:
    """The health of one part.

    Attributes:
        level: the severity.
        message: the problem and what to do; if there is none, a short status.
        values: the figures behind it, with units in their names.
    """

    level: Level
    message: str
    values: Mapping[str, Value]


class Findings:
    """Collects the problems of one part and combines them."""

    def __init__(self) -> None:
        self._found: list[tuple[Level, str]] = []

    def add(self, level: Level, message: str) -> None:
        """Add a problem; the message says what to do about it."""
        self._found.append((level, message))

    def verdict(self, well: str, values: Mapping[str, Value]) -> Health:
        """The worst level that was found, and all messages, the worst first.

        Args:
            well: the message if nothing was found.
            values: the figures.
        """
        if not self._found:
            return Health(Level.OK, well, values)
        found = sorted(self._found, key=lambda f: -_SEVERITY[f[0]])
        return Health(found[0][0], "; ".join(message for _, message in found), values)


class Recent:
    """How much a counter has grown in the last seconds. The caller passes the time."""

    def __init__(self, window_s: float = 10.0) -> None:
        """Start at 0.

        Args:
            window_s: how far back to look, in s.
        """
        self.window_s = window_s
        self._readings: deque[tuple[float, int]] = deque([(-math.inf, 0)])

    def grown(self, now_s: float, count: int) -> int:
        """Take a reading, and say how much was added since the window began.

        A counter that is lower than before has been restarted and counts from 0.
        """
        readings = self._readings
        if count < readings[-1][1]:
            readings.clear()
            readings.append((-math.inf, 0))
        readings.append((now_s, count))
        while len(readings) > 2 and readings[1][0] <= now_s - self.window_s:
            readings.popleft()
        return count - readings[0][1]
