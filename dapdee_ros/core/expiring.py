"""Something told now and then that holds for a while: the newest counts, and none for ever."""

from __future__ import annotations

import math
from typing import Generic, TypeVar

VALID_BOUNDS_S = (0.1, 60.0)
"""Shortest and longest time for which something may be said to hold, in s."""

Told = TypeVar("Told")


def valid_fault(valid_s: float) -> str:
    """What is wrong with how long something is said to hold, as text; empty if nothing is."""
    low_s, high_s = VALID_BOUNDS_S
    if low_s <= valid_s <= high_s:
        return ""
    return f"valid_s is {valid_s}, expected {low_s:g} to {high_s:g}"


class Expiring(Generic[Told]):
    """What was told last, while it holds: by the listener's clock, from when it came.

    Whoever tells counts its runs (``epoch``) and in each run what it tells (``number``). A run
    before the one that is heard has no effect while that holds: it is a message that was on its way
    for long, or there are two who tell.

    Attributes:
        until_s: when it ceases to hold; infinity: there is nothing.

    >>> told = Expiring[str]()
    >>> told.hear(0.0, "a", epoch=7, number=1, valid_s=5.0)
    ''
    >>> told.hear(1.0, "b", epoch=6, number=9, valid_s=5.0)
    'it is of run 6, and run 7 has been heard since: is more than one fleet node running?'
    >>> told.at(4.9), told.at(5.0)
    ('a', None)
    """

    def __init__(self) -> None:
        self.until_s = math.inf
        self._told: Told | None = None
        self._at = (0, 0)

    def hear(self, now_s: float, told: Told, epoch: int, number: int, valid_s: float) -> str:
        """Something is told.

        Returns:
            Why it has no effect, as text; empty if it is taken, or is what was told last.
        """
        if fault := valid_fault(valid_s):
            return fault
        self.expire(now_s)
        if self._told is not None:
            if epoch < self._at[0]:
                return (
                    f"it is of run {epoch}, and run {self._at[0]} has been heard since: is more "
                    "than one fleet node running?"
                )
            if (epoch, number) <= self._at:
                return ""  # the same again does not hold longer for that
        self._told, self._at, self.until_s = told, (epoch, number), now_s + valid_s
        return ""

    def expire(self, now_s: float) -> bool:
        """Drop what does not hold any more; whether there was anything to drop."""
        if now_s < self.until_s:
            return False
        self._told, self.until_s = None, math.inf
        return True

    def at(self, now_s: float) -> Told | None:
        """What holds at a time; None: nothing."""
        return self._told if now_s < self.until_s else None
