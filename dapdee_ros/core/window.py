"""How many frames may be in flight to the edge, and when the next may be sent."""

from __future__ import annotations

import math

from dapdee_ros.core.pace import SharePace

# Answers without a refusal after which one more frame is tried. A refused frame costs the car the
# rest of the network, so the edge is asked for more only now and then.
_ANSWERS_PER_STEP = 50


class SendWindow:
    """At most the limit, fewer where more would come too late, and no faster than the edge's share.

    It narrows while the edge refuses frames as busy, and when answers come after the car has
    stopped waiting for them: then frames wait for each other, most likely on the link. How many are
    too many for that is measured rather than predicted, since the link's rate is hardest to know
    when it is full: an answer takes the longer the more frames were on their way with it.

    The edge works on one frame and keeps one more; where it is slower than link and car, a window
    beyond that only produces refusals, and every refused frame has to be finished on the car. The
    window shrinks by one frame per refusal and grows back slowly (after D. Chiu and R. Jain,
    "Analysis of the Increase and Decrease Algorithms for Congestion Avoidance in Computer
    Networks", 1989; by one frame instead of by half, because windows are a few frames wide).
    """

    def __init__(self) -> None:
        self._allowed = self._timely = math.inf
        self._narrowed_s = -math.inf
        self._pace = SharePace()

    def opens_s(self, now_s: float, in_flight: int, limit: int) -> float:
        """When a frame may be sent: not after ``now_s`` if at once; infinite: after an answer."""
        return self._pace.opens_s(now_s) if in_flight < self.width(limit) else math.inf

    def on_sent(self, now_s: float) -> None:
        """A frame was sent."""
        self._pace.on_sent(now_s)

    def on_share(self, now_s: float, interval_s: float) -> None:
        """An answer says how far apart frames may be sent; see ``SharePace.on_answer``."""
        self._pace.on_answer(now_s, interval_s)

    def width(self, limit: int) -> int:
        """Frames that may currently be in flight, from 1 to ``limit``."""
        allowed = math.inf if self._pace.is_limited else self._allowed
        return max(1, int(min(limit, allowed, self._timely)))

    def is_narrowed(self, limit: int) -> bool:
        """Whether late answers make it narrower than the limit."""
        return self._timely < limit

    def on_busy(self, limit: int) -> None:
        """The edge refused a frame as busy."""
        if self._pace.is_limited:
            return  # then the edge itself says how many it can take
        self._allowed = max(1.0, self.width(limit) - 1.0)

    def on_late(self, now_s: float, sent_s: float, limit: int) -> None:
        """An answer came after the car had stopped waiting for it.

        Args:
            now_s: the time.
            sent_s: when its frame was sent. Of those that were sent before the window was narrowed
                for the first of them, the others say nothing new.
            limit: most frames in flight.
        """
        if sent_s > self._narrowed_s:
            self._timely = max(1, self.width(limit) - 1)
            self._narrowed_s = now_s

    def on_timely(self, took_s: float, wait_s: float, in_flight: int, limit: int) -> None:
        """An answer came while the car was waiting for it.

        Args:
            took_s: seconds from sending to the answer.
            wait_s: seconds from sending for which the car would have waited.
            in_flight: frames on their way, this one included.
            limit: most frames in flight.
        """
        if took_s * (in_flight + 1) <= wait_s * in_flight:
            self._timely = max(self._timely, in_flight + 1)
        if self._timely >= limit:
            self._timely = math.inf

    def on_answered(self, limit: int) -> None:
        """The edge finished a frame."""
        self._allowed += 1 / _ANSWERS_PER_STEP
        if self._allowed >= limit:
            self._allowed = math.inf
