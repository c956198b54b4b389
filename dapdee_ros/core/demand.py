"""How much of a server's time each car asks for, and how often it may send to use its share of it.

Max-min fair by weights: what cars do not ask for goes to those that ask for more, by their shares
(D. Bertsekas, R. Gallager, "Data Networks", 2nd ed., 1992, section 6.5.2). A car's own limit counts
it as asking for everything: it may take what the others leave, and nobody can take its share.

>>> demands = Demands()
>>> for n in range(300):
...     for car, every in (("fast", 1), ("slow", 10)):
...         if n % every == 0:
...             demands.came(0.02 * n, car, 0.03)
>>> round(demands.part(6.0, "fast", {}), 1), round(demands.part(6.0, "slow", {}), 1)
(0.9, 0.5)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

_MEMORY_S = 1.0
_SMOOTHING = 0.2
_MOST_CARS = 64

_PRESENT = 0.01
_CONTENDED = 0.9
"""Part of the server's time that is asked for, from which on cars are told how often to send."""

_HEADROOM = 1.05
"""A little more than the share may be sent, so that the server does not wait for the next frame."""


@dataclass(slots=True)
class _Asked:
    """What one car asks for: seconds of the server in the recent past, and per frame."""

    recent_s: float
    cost_s: float
    at_s: float

    def part(self, now_s: float) -> float:
        """Seconds of the server that it asks for per second."""
        return self.recent_s * math.exp(-max(0.0, now_s - self.at_s) / _MEMORY_S) / _MEMORY_S


class Demands:
    """Tracks all cars of a server by the frames that they send."""

    def __init__(self) -> None:
        self._asked: dict[str, _Asked] = {}

    def came(self, now_s: float, car: str, cost_s: float) -> None:
        """A frame came that takes so many seconds of the server; served or not."""
        asked = self._asked.get(car)
        if asked is None:
            if len(self._asked) >= _MOST_CARS:
                del self._asked[min(self._asked, key=lambda c: self._asked[c].at_s)]
            self._asked[car] = _Asked(cost_s, cost_s, now_s)
            return
        asked.recent_s = asked.part(now_s) * _MEMORY_S + cost_s
        asked.cost_s += _SMOOTHING * (cost_s - asked.cost_s)
        asked.at_s = now_s

    def part(self, now_s: float, car: str, shares: Mapping[str, float]) -> float:
        """The part of the server's time, 0 to 1, that a car may have now.

        Args:
            now_s: the time.
            car: the car.
            shares: weights by car; without one it is 1.
        """
        others = [
            (asked.part(now_s), shares.get(name, 1.0))
            for name, asked in self._asked.items()
            if name != car
        ]
        own = shares.get(car, 1.0)
        left, weight = 1.0, own + sum(share for _, share in others)
        for asked_for, share in sorted(others, key=lambda other: other[0] / other[1]):
            if asked_for / share >= left / weight:
                break
            left -= asked_for
            weight -= share
        return left * own / weight

    def send_interval_s(self, now_s: float, car: str, shares: Mapping[str, float]) -> float:
        """Seconds between two frames of a car that use its share; 0: it need not hold back.

        Args:
            now_s: the time.
            car: the car.
            shares: weights by car; without one it is 1.
        """
        asked = self._asked.get(car)
        if asked is None or len(self._asked) < 2:
            return 0.0
        parts = [part for a in self._asked.values() if (part := a.part(now_s)) > _PRESENT]
        if len(parts) < 2 or sum(parts) < _CONTENDED:
            return 0.0
        return asked.cost_s / (_HEADROOM * self.part(now_s, car, shares))
