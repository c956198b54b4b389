"""Health of the image subscription: no publisher, losses in transit, or OK."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dapdee_ros.estimation.health import Findings, Health, Level, Recent, Value

_QUIET_S = 5.0
_MANY = 0.05
_WHAT_TO_DO = (
    "have the driver publish reliably, give its process a larger shared memory segment "
    "(FASTRTPS_DEFAULT_PROFILES_FILE=.../share/dapdee_ros/config/fastdds.xml), or allow larger "
    "sockets here (sysctl net.core.rmem_max=4194304)"
)


class ImageHealth:
    """Tracks publishers, arrivals and losses; the caller passes the time, in s.

    Attributes:
        largest_bytes: size of the largest image received, with its header.
    """

    def __init__(self) -> None:
        self.largest_bytes = 0
        self._topic = "image_raw"
        self._names: Sequence[str] = ()
        self._since_s = math.inf
        self._image_s = -math.inf
        self._came = self._lost = 0
        self._how = ""
        self._recent = {"came": Recent(), "lost": Recent()}

    def on_publishers(self, now_s: float, topic: str, names: Sequence[str]) -> None:
        """The current publishers of the topic in use, by node."""
        if not names:
            self._since_s = math.inf
        elif not self._names or topic != self._topic:
            self._since_s = now_s
        self._topic, self._names = topic, names

    def on_subscribed(self, how: str) -> None:
        """There is a new subscription, ``reliable`` or ``best effort``."""
        self._how = how

    def on_image(self, now_s: float, size_bytes: int) -> None:
        """An image arrived."""
        self._came += 1
        self._image_s = now_s
        self.largest_bytes = max(self.largest_bytes, size_bytes)

    def on_lost(self, count: int) -> None:
        """The middleware reports this many further images as lost."""
        self._lost += count

    def silent_s(self, now_s: float) -> float:
        """Seconds since the last image; infinite before the first."""
        return now_s - self._image_s

    def publishers_for_s(self, now_s: float) -> float:
        """Seconds since there is a publisher; negative infinity while there is none."""
        return now_s - self._since_s

    def judge(self, now_s: float) -> Health:
        """The current health."""
        came = self._recent["came"].grown(now_s, self._came)
        lost = self._recent["lost"].grown(now_s, self._lost)
        names = ", ".join(sorted(self._names))
        found = Findings()
        silent_s = self.silent_s(now_s)
        for_s = min(silent_s, self.publishers_for_s(now_s))
        since = "" if math.isinf(silent_s) else f" for {silent_s:.0f} s"
        if not self._names and silent_s > _QUIET_S:
            found.add(
                Level.STALE,
                f"no image has arrived{since}: nobody publishes {self._topic}; is a camera "
                "running, with "
                "the same ROS_DOMAIN_ID and namespace?",
            )
        elif for_s > _QUIET_S:
            found.add(
                Level.ERROR,
                f"{names} publishes {self._topic}, but no image has arrived for {for_s:.0f} s: "
                f"it sends none, or all are lost in transit; then {_WHAT_TO_DO}",
            )
        elif lost > _MANY * (came + lost) and lost > 1:
            found.add(
                Level.WARN,
                f"{lost} of {came + lost} images of the last {self._recent['came'].window_s:.0f} s "
                f"were lost in transit from {names}: {_WHAT_TO_DO}",
            )
        values: dict[str, Value] = {
            "topic": self._topic,
            "subscription": self._how,
            "images": self._came,
            "lost": self._lost,
            "largest_bytes": self.largest_bytes,
        }
        return found.verdict(f"{came} images lately on {self._topic}, {self._how}", values)
