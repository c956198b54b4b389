"""What frames take beyond probes of their size: the processes at both ends, not the link."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from statistics import median

# A processor that runs for a tenth of the time answers some frames at once and the next ones late,
# so the median is taken over many.
_FRAMES = 64
_LEAST_FRAMES = 3
_TOGETHER_S = 2.0


@dataclass(frozen=True, slots=True)
class _Sent:
    at_s: float
    on_link_s: float
    n_bytes: int
    most_s: float
    """How much of it can be the car's own waiting."""


class FrameDelay:
    """Tells a slow process from a slow link.

    On a car whose processor is short, sending a frame and hearing of its answer can take tens of
    milliseconds, whatever its size. Where the kernel says how long the car waited for a processor,
    that much of what a frame took beyond its bytes is not the link's. Elsewhere a large probe has
    to tell, which crosses the same link: what frames took beyond it around that time is not due to
    their bytes, and between probes it can only become less, since a link that has become slower
    looks the same.

    Attributes:
        seconds: of one frame; 0 until it is known.
    """

    def __init__(self, least_s: float) -> None:
        """Begin without knowledge; less than ``least_s`` counts as nothing."""
        self.seconds = 0.0
        self._least_s = least_s
        self._frames: deque[_Sent] = deque(maxlen=_FRAMES)

    def on_frame(
        self,
        now_s: float,
        on_link_s: float,
        n_bytes: int,
        rate_bps: float,
        cpu_wait_s: float = math.nan,
    ) -> None:
        """A frame's bytes had the link for so long, as far as can be told.

        Args:
            now_s: the time.
            on_link_s: from when the link was free for it until it arrived, the round trip left out.
            n_bytes: its size on the wire.
            rate_bps: the link's rate as believed.
            cpu_wait_s: at most how long the car waited for a processor meanwhile; NaN if that is
                not known.
        """
        is_known = 0 <= cpu_wait_s < math.inf
        most_s = cpu_wait_s if is_known else math.inf
        self._frames.append(_Sent(now_s, on_link_s, n_bytes, most_s))
        if is_known:
            self.seconds = self._beyond(rate_bps, now_s)
        elif self.seconds:
            self.seconds = min(self.seconds, self._beyond(rate_bps, now_s))

    def on_probe(self, now_s: float, rate_bps: float) -> None:
        """A large probe has measured this rate."""
        if self.can_tell(now_s):
            self.seconds = self._beyond(rate_bps, now_s)

    def forget_if_old(self, now_s: float) -> None:
        """Forget what was learned once no frame has come for a while: it may hold no more."""
        if self._frames and self._frames[-1].at_s < now_s - _TOGETHER_S:
            self.seconds = 0.0

    def can_tell(self, now_s: float) -> bool:
        """Whether enough frames came lately to compare with a probe, which may have waited here."""
        recent = self._recent(now_s)
        return len(recent) >= _LEAST_FRAMES and median(f.most_s for f in recent) >= self._least_s

    def _recent(self, now_s: float) -> list[_Sent]:
        return [frame for frame in self._frames if frame.at_s >= now_s - _TOGETHER_S]

    def _beyond(self, rate_bps: float, now_s: float) -> float:
        recent = self._recent(now_s)
        if len(recent) < _LEAST_FRAMES:
            return self.seconds
        beyond_s = median(min(f.on_link_s - 8 * f.n_bytes / rate_bps, f.most_s) for f in recent)
        return beyond_s if beyond_s >= self._least_s else 0.0


def waited_since(before_s: float, now_s: float) -> float:
    """Between two readings of a sum of waits; NaN if one is not known.

    Threads that ended in between took theirs with them, so it may have become less.
    """
    return max(0.0, now_s - before_s) if math.isfinite(now_s - before_s) else math.nan
