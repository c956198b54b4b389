"""Presence of other processes, by when they were last heard from. The bounds are ours.

The middleware notices a killed process only when its lease expires, after 40 s. Missing messages
show it sooner.
"""

from __future__ import annotations

import math
from collections import deque
from statistics import median

from dapdee_ros.estimation.health import Health, Level, Value

_LEAST_SILENCE_S = 0.8
_USUAL_GAPS = 2.0
_GAPS_REMEMBERED = 9
_LONGEST_START_S = 30.0

_AGAIN = "A launch file, dapdee car and dapdee edge restart it; otherwise restart it"


class Presence:
    """Tracks the messages of one process. The caller passes the time, in s."""

    def __init__(self, who: str, start: str, begun_s: float, *, needed: bool = True) -> None:
        """Start without a message.

        Args:
            who: the process, such as ``head``.
            start: the command that starts it.
            begun_s: now.
            needed: whether it is an error if it never appears.
        """
        self._who, self._start, self._needed = who, start, needed
        self._begun_s = begun_s
        self._heard_s = -math.inf
        self._gaps_s: deque[float] = deque(maxlen=_GAPS_REMEMBERED)

    def on_sign(self, now_s: float) -> None:
        """A message from it arrived."""
        gap_s, self._heard_s = now_s - self._heard_s, now_s
        if math.isfinite(gap_s) and not gap_s > self._patience_s:
            self._gaps_s.append(gap_s)

    @property
    def _patience_s(self) -> float:
        usual_s = median(self._gaps_s) if self._gaps_s else 1.0
        return max(_LEAST_SILENCE_S, _USUAL_GAPS * usual_s)

    def health(self, now_s: float) -> Health:
        """ERROR if it has gone silent, or is needed and never appeared."""
        silent_s = now_s - max(self._heard_s, self._begun_s)
        values: dict[str, Value] = {"silent_s": silent_s}
        if math.isinf(self._heard_s):
            level = Level.STALE
            if silent_s > _LONGEST_START_S:
                level = Level.ERROR if self._needed else Level.WARN
            return Health(
                level,
                f"no {self._who} has been seen yet: start one ({self._start}) with the same "
                "ROS_DOMAIN_ID and namespace; if one was started, its log says why it ended",
                values,
            )
        if silent_s > self._patience_s:
            return Health(
                Level.ERROR,
                f"the {self._who} has been silent for {silent_s:.1f} s: its process has died or "
                f"hangs. {_AGAIN} ({self._start}); why is at the end of its log",
                values,
            )
        return Health(Level.OK, f"the {self._who} is running", values)


class EdgePresence:
    """The same for the edge, based on the state of the link. The caller passes the time, in s."""

    def __init__(self, begun_s: float) -> None:
        """Start without an answer; an edge is not required, the car can work alone."""
        self._never = Presence("edge", "dapdee edge", begun_s, needed=False)
        self._connected = self._ever = False
        self._since_s = begun_s

    def on_link(self, now_s: float, connected: bool) -> None:
        """The link monitor reported whether the edge answers."""
        if connected != self._connected:
            self._connected, self._since_s = connected, now_s
        self._ever |= connected

    def health(self, now_s: float) -> Health:
        """ERROR once it no longer answers."""
        if not self._ever:
            return self._never.health(now_s)
        silent_s = 0.0 if self._connected else now_s - self._since_s
        values: dict[str, Value] = {"silent_s": silent_s}
        if self._connected:
            return Health(Level.OK, "the edge answers", values)
        return Health(
            Level.ERROR,
            f"the edge has not answered for {silent_s:.1f} s, so the car finishes alone: the radio "
            f"link is down, or its process has died. {_AGAIN} (dapdee edge); why is at the end of "
            "its log",
            values,
        )
