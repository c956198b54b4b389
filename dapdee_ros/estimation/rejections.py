"""Counts messages refused from the network: how many, of which kind, and the last reason."""

from __future__ import annotations

import math
import threading
from collections import Counter

from dapdee_ros.estimation.health import Findings, Health, Level, Recent, Value

_LONGEST_REASON = 300
_LOG_EVERY_S = 5.0


class Rejections:
    """Counts refused messages; every method may be called from any thread.

    Anyone may send thousands per second, so what is stored of one is bounded, and logging is
    rate-limited.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._kind = self._reason = ""
        self._last_s = -math.inf
        self._logged_s: dict[str, float] = {}
        self._recent = Recent()

    def count(self, now_s: float, kind: str, reason: str) -> bool:
        """Count one.

        Args:
            now_s: when, on the clock that ``health`` is asked with.
            kind: what was refused, in a word or two from a fixed set.
            reason: why, as text.

        Returns:
            Whether to log it: not if one of its kind was logged just before.
        """
        with self._lock:
            self._counts[kind] += 1
            self._kind, self._reason, self._last_s = kind, shortened(reason), now_s
            if now_s - self._logged_s.get(kind, -math.inf) < _LOG_EVERY_S:
                return False
            self._logged_s[kind] = now_s
            return True

    @property
    def counts(self) -> dict[str, int]:
        """How many so far, by kind."""
        with self._lock:
            return dict(self._counts)

    @property
    def last_reason(self) -> str:
        """Why the last one was refused; empty if there was none."""
        return self._reason

    def health(self, now_s: float) -> Health:
        """WARN while something was refused within the last seconds."""
        found = Findings()
        with self._lock:
            total = self._counts.total()
            values: dict[str, Value] = {"refused": total}
            values |= {f"refused ({kind})": n for kind, n in self._counts.items()}
            if total:
                values["last reason"] = f"{self._kind}: {self._reason}"
                values["last_refused_s_ago"] = now_s - self._last_s
            recent = self._recent.grown(now_s, total)
            if recent:
                found.add(
                    Level.WARN,
                    f"{recent} refused within {self._recent.window_s:.0f} s, the last one a "
                    f"{self._kind}: {self._reason}",
                )
        return found.verdict(f"{total} refused since the start", values)


def shortened(reason: str) -> str:
    """A reason, cut to a bounded length: it may quote what came from outside."""
    if len(reason) <= _LONGEST_REASON:
        return reason
    return reason[:_LONGEST_REASON] + " ..."
