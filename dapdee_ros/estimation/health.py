"""How well a part of the system is: a level, words that say what to do, and the figures."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

Value = str | int | float | bool


class Level(IntEnum):
    """How bad it is; the values are those of ``diagnostic_msgs/DiagnosticStatus``."""

    OK = 0
    """As it should be."""

    WARN = 1
    """It works, but worse than it could; somebody may want to do something."""

    ERROR = 2
    """It does not do what it is there for."""

    STALE = 3
    """Nothing is known: what this judges has not been heard of lately."""


# What says nothing is worse news than what is well, and better news than what is known to be bad.
_SEVERITY = {Level.OK: 0, Level.STALE: 1, Level.WARN: 2, Level.ERROR: 3}


@dataclass(frozen=True)
class Health:
    """What one part says of itself.

    Attributes:
        level: how bad it is.
        message: what is the matter and what can be done; where all is well, the state in short.
        values: the figures behind it, with units in their names.
    """

    level: Level
    message: str
    values: Mapping[str, Value]


class Findings:
    """Collects what is the matter with one part, and makes one verdict of it."""

    def __init__(self) -> None:
        self._found: list[tuple[Level, str]] = []

    def add(self, level: Level, message: str) -> None:
        """Note something; the message says what to do about it."""
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
    """How much a counter has grown within the last seconds. Told the time by its caller."""

    def __init__(self, window_s: float = 10.0) -> None:
        """Begin at 0.

        Args:
            window_s: how far back to look, in s.
        """
        self.window_s = window_s
        self._readings: deque[tuple[float, int]] = deque([(-math.inf, 0)])

    def grown(self, now_s: float, count: int) -> int:
        """Take a reading, and say how much was added since the window began.

        A counter that stands lower than before has been started anew and counts from 0.
        """
        readings = self._readings
        if count < readings[-1][1]:
            readings.clear()
            readings.append((-math.inf, 0))
        readings.append((now_s, count))
        while len(readings) > 2 and readings[1][0] <= now_s - self.window_s:
            readings.popleft()
        return count - readings[0][1]
