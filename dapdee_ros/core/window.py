"""How many frames may be in flight to the edge, and when the next may be sent."""

from __future__ import annotations

import math

from dapdee_ros.core.pace import SharePace

# Answers without a refusal after which one more frame is tried. A refused frame costs the car the
# rest of the network, so the edge is asked for more only now and then.
_ANSWERS_PER_STEP = 50


class SendWindow:
    """At most the limit, fewer while the edge refuses frames as busy, and no faster than its share.

    The edge works on one frame and keeps one more; where it is slower than link and car, a window
    beyond that only produces refusals, and every refused frame has to be finished on the car. The
    window shrinks by one frame per refusal and grows back slowly (after D. Chiu and R. Jain,
    "Analysis of the Increase and Decrease Algorithms for Congestion Avoidance in Computer
    Networks", 1989; by one frame instead of by half, because windows are a few frames wide).
    """

    def __init__(self) -> None:
        self._allowed = math.inf
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
        if self._pace.is_limited:
            return limit
        return max(1, int(min(limit, self._allowed)))

    def on_busy(self, limit: int) -> None:
        """The edge refused a frame as busy."""
        if self._pace.is_limited:
            return  # then the edge itself says how many it can take
        self._allowed = max(1.0, self.width(limit) - 1.0)

    def on_answered(self, limit: int) -> None:
        """The edge finished a frame."""
        self._allowed += 1 / _ANSWERS_PER_STEP
        if self._allowed >= limit:
            self._allowed = math.inf
