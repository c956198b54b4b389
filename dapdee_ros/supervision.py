"""When a process that has ended is restarted: one rule for every way of starting them.

No ROS in here and no ``launch``: the launch files call it from an event handler, the ``dapdee``
command from the loop that monitors its processes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

WRONG_PARAMETER = 2
"""Exit status of a process with invalid parameters: restarting it is pointless."""


@dataclass(frozen=True)
class RestartSettings:
    """The limits for restarting a process that dies.

    Attributes:
        first_delay_s: until the first restart; doubles with each further one.
        most_delay_s: the longest delay.
        healthy_s: a process that has run this long is healthy: its next restart counts as the
            first.
        most_failures: consecutive deaths, each before ``healthy_s``, after which it is given up.
    """

    first_delay_s: float = 0.1
    most_delay_s: float = 5.0
    healthy_s: float = 15.0
    most_failures: int = 6


class Verdict(Enum):
    """What to do about a process that has ended."""

    RESTART = "restart"
    ENDED = "ended"
    FAILED = "failed"


@dataclass(frozen=True)
class Decision:
    """What to do about a process that has ended, and why.

    Attributes:
        verdict: restart it, leave it ended, or give it up for good.
        delay_s: seconds to wait before restarting it.
        reason: the verdict as text, without the process's name.
    """

    verdict: Verdict
    delay_s: float
    reason: str


class Restarts:
    """The history of one process."""

    def __init__(self, settings: RestartSettings | None = None) -> None:
        self._settings = settings or RestartSettings()
        self._started_s = math.nan
        self._failures = 0

    def on_start(self, now_s: float) -> None:
        """Record that it was started.

        Args:
            now_s: monotonic time in seconds.
        """
        self._started_s = now_s

    def on_end(self, now_s: float, status: int) -> Decision:
        """What to do now that it has ended by itself.

        Args:
            now_s: monotonic time in seconds.
            status: its exit status, or the negative number of the signal that ended it.
        """
        settings = self._settings
        if status == 0:
            return Decision(Verdict.ENDED, 0.0, "ended normally")
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        if status == WRONG_PARAMETER:
            return Decision(
                Verdict.FAILED,
                0.0,
                f"{how}: it cannot run with these parameters, so it is not restarted",
            )
        if now_s - self._started_s >= settings.healthy_s:
            self._failures = 0
        self._failures += 1
        if self._failures >= settings.most_failures:
            return Decision(
                Verdict.FAILED,
                0.0,
                f"{how}, for the {self._failures}th time in a row within {settings.healthy_s:g} "
                "s of its start, and is given up",
            )
        delay_s = min(settings.first_delay_s * 2 ** (self._failures - 1), settings.most_delay_s)
        return Decision(Verdict.RESTART, delay_s, f"{how} and is restarted in {delay_s:g} s")


def end_of_log(lines: Sequence[str], most: int = 15) -> str:
    """The last lines of a log, for the message that says why a process was given up."""
    return "\n".join(lines[-most:])
