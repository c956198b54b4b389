"""The counters of a session that have been seen: each is accepted once, in any order."""

from __future__ import annotations

WIDTH = 1024
"""How far behind the newest a message may be. Best effort and several topics reorder slightly."""


class ReplayWindow:
    """A sliding window over counters, as in IPsec's (RFC 4303, section 3.4.3)."""

    def __init__(self) -> None:
        self._newest = 0
        self._seen = 0  # bit n: newest - n has been seen

    def would_accept(self, counter: int) -> bool:
        """Whether this counter is new; counters start at 1."""
        if counter > self._newest:
            return True
        age = self._newest - counter
        return counter > 0 and age < WIDTH and not self._seen >> age & 1

    def accept(self, counter: int) -> None:
        """Record a counter that ``would_accept`` and whose message was authentic."""
        if counter > self._newest:
            ahead = counter - self._newest
            self._seen = self._seen << ahead & (1 << WIDTH) - 1 if ahead < WIDTH else 0
            self._newest = counter
        self._seen |= 1 << self._newest - counter
