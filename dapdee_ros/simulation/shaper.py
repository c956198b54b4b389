"""A shaped link: first in, first out, at a trace's rate, with a delay and a bounded queue."""

from __future__ import annotations

import math
from collections import deque

from dapdee_ros.simulation.link_trace import LinkTrace


class ShapedLink:
    """One direction of a radio link, told the time by its caller.

    A token bucket over the trace's capacity: an idle link saves up to ``burst_bytes`` of it, all
    else leaves at the trace's rate. By default nothing is saved, as on a radio link; a bucket makes
    small messages look as if the link were infinitely fast. A message counts as out when its last
    byte is. A message that finds the queue full is dropped
    whole, as a full queue drops it on a real link; one that finds the link idle is taken whatever
    its size, since a real sender would hand it over piece by piece.

    Attributes:
        trace: the capacity over time, time 0 being the caller's time 0.
        delay_s: propagation delay, added to every departure.
        queue_bytes: how much may wait or be on its way out.
        burst_bytes: how much an idle link may send at once.
        dropped: number of messages dropped so far.

    ``free_s`` at construction is when whatever it carried before has left.
    """

    def __init__(
        self,
        trace: LinkTrace,
        delay_s: float = 0.0,
        queue_bytes: int = 1 << 20,
        burst_bytes: int = 0,
        free_s: float = 0.0,
    ) -> None:
        if delay_s < 0 or queue_bytes < 1 or burst_bytes < 0:
            raise ValueError(
                f"a shaped link needs delay_s >= 0, queue_bytes >= 1 and burst_bytes >= 0, got "
                f"{delay_s}, {queue_bytes}, {burst_bytes}"
            )
        self.trace = trace
        self.delay_s = delay_s
        self.queue_bytes = queue_bytes
        self.burst_bytes = burst_bytes
        self.dropped = 0
        self._tokens_bytes = float(burst_bytes)
        self._free_s = free_s
        self._waiting: deque[tuple[float, int]] = deque()
        self._waiting_bytes = 0

    @property
    def free_s(self) -> float:
        """When the last byte that was handed over has left."""
        return self._free_s

    def queued_bytes(self, now_s: float) -> int:
        """Bytes of the messages that have not left completely at ``now_s``."""
        while self._waiting and self._waiting[0][0] <= now_s:
            self._waiting_bytes -= self._waiting.popleft()[1]
        return self._waiting_bytes

    def send(self, now_s: float, n_bytes: int) -> float | None:
        """Hand a message to the link.

        Args:
            now_s: the present; must not run backwards.
            n_bytes: size of the message on the wire.

        Returns:
            When the message arrives at the other end (``inf`` if the link has no capacity ever
            again), or None if it was dropped because the queue is full.
        """
        queued = self.queued_bytes(now_s)
        if self._waiting and queued + n_bytes > self.queue_bytes:
            self.dropped += 1
            return None
        start_s = self._free_s
        if now_s > start_s:
            saved = self.trace.capacity_bits(now_s) - self.trace.capacity_bits(start_s)
            self._tokens_bytes = min(float(self.burst_bytes), self._tokens_bytes + saved / 8)
            start_s = now_s
        at_once = min(self._tokens_bytes, float(n_bytes))
        # In a tunnel nothing goes, saved tokens or not.
        if start_s == math.inf or self.trace.rate_bps(start_s) == 0:
            at_once = 0.0
        self._tokens_bytes -= at_once
        self._free_s = self.trace.finish_time(start_s, n_bytes - at_once)
        self._waiting.append((self._free_s, n_bytes))
        self._waiting_bytes += n_bytes
        return self._free_s + self.delay_s
