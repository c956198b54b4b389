"""What frames take beyond probes of their size: the processes at both ends, not the link."""

from __future__ import annotations

from collections import deque
from statistics import median

# A processor that runs for a tenth of the time answers some frames at once and the next ones late,
# so the median is taken over many.
_FRAMES = 64
_LEAST_FRAMES = 3
_TOGETHER_S = 2.0


class FrameDelay:
    """Tells a slow process from a slow link, by probes that cross the same link.

    On a car whose processor is short, sending a frame and hearing of its answer can take tens of
    milliseconds, whatever its size. Frames of one size alone cannot say whether that is the link's
    rate. A large probe can: what frames took beyond it around that time is not due to their bytes.
    Between probes it can only become less, since a link that has become slower looks the same.

    Attributes:
        seconds: of one frame; 0 until a probe has told.
    """

    def __init__(self, least_s: float) -> None:
        """Begin without knowledge; less than ``least_s`` counts as nothing."""
        self.seconds = 0.0
        self._least_s = least_s
        self._frames: deque[tuple[float, float, int]] = deque(maxlen=_FRAMES)

    def on_frame(self, now_s: float, on_link_s: float, n_bytes: int, rate_bps: float) -> None:
        """A frame's bytes had the link for so long, as far as can be told.

        Args:
            now_s: the time.
            on_link_s: from when the link was free for it until it arrived, the round trip left out.
            n_bytes: its size on the wire.
            rate_bps: the link's rate as believed.
        """
        self._frames.append((now_s, on_link_s, n_bytes))
        if self.seconds:
            self.seconds = min(self.seconds, self._beyond(rate_bps, now_s))

    def on_probe(self, now_s: float, rate_bps: float) -> None:
        """A large probe has measured this rate."""
        if self.can_tell(now_s):
            self.seconds = self._beyond(rate_bps, now_s)

    def forget_if_old(self, now_s: float) -> None:
        """Forget what was learned once no frame has come for a while: it may hold no more."""
        if self._frames and self._frames[-1][0] < now_s - _TOGETHER_S:
            self.seconds = 0.0

    def can_tell(self, now_s: float) -> bool:
        """Whether enough frames came lately to compare with a probe."""
        return len(self._recent(now_s)) >= _LEAST_FRAMES

    def _recent(self, now_s: float) -> list[tuple[float, float, int]]:
        return [frame for frame in self._frames if frame[0] >= now_s - _TOGETHER_S]

    def _beyond(self, rate_bps: float, now_s: float) -> float:
        if not self.can_tell(now_s):
            return self.seconds
        beyond_s = median(
            on_link_s - 8 * n_bytes / rate_bps for _, on_link_s, n_bytes in self._recent(now_s)
        )
        return beyond_s if beyond_s >= self._least_s else 0.0
