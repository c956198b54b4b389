"""When a process that has ended is started again: one rule for every way to start them.

No ROS in here and no ``launch``: the launch files ask it from an event handler, the ``dapdee``
command from the loop in which it watches its processes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

WRONG_PARAMETER = 2
"""Exit status of a process that cannot start as it was told to: trying again is pointless."""


@dataclass(frozen=True)
class RestartSettings:
    """How patient to be with a process that dies.

    Attributes:
        first_delay_s: until the first restart; it doubles with each further one.
        most_delay_s: the longest delay.
        healthy_s: a process that lived so long is well: its next restart is a first one.
        most_failures: deaths in a row, each before ``healthy_s``, after which it is given up.
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
        verdict: start it again, let it rest, or give it up for good.
        delay_s: seconds to wait before it is started again.
        reason: the verdict in words, without the process's name.
    """

    verdict: Verdict
    delay_s: float
    reason: str


class Restarts:
    """The deaths of one process."""

    def __init__(self, settings: RestartSettings | None = None) -> None:
        self._settings = settings or RestartSettings()
        self._started_s = math.nan
        self._failures = 0

    def on_start(self, now_s: float) -> None:
        """Note that it was started.

        Args:
            now_s: seconds of the steady clock.
        """
        self._started_s = now_s

    def on_end(self, now_s: float, status: int) -> Decision:
        """What to do now that it has ended by itself.

        Args:
            now_s: seconds of the steady clock.
            status: its exit status; minus the signal that ended it.
        """
        settings = self._settings
        if status == 0:
            return Decision(Verdict.ENDED, 0.0, "ended in order")
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        if status == WRONG_PARAMETER:
            return Decision(
                Verdict.FAILED,
                0.0,
                f"{how}: it cannot run with these parameters, so it is not started again",
            )
        if now_s - self._started_s >= settings.healthy_s:
            self._failures = 0
        self._failures += 1
        if self._failures >= settings.most_failures:
            return Decision(
                Verdict.FAILED,
                0.0,
                f"{how}, for the {self._failures}th time in a row within {settings.healthy_s:g} s "
                "of its start, and is given up",
            )
        delay_s = min(settings.first_delay_s * 2 ** (self._failures - 1), settings.most_delay_s)
        return Decision(Verdict.RESTART, delay_s, f"{how} and is started again in {delay_s:g} s")


def end_of_log(lines: Sequence[str], most: int = 15) -> str:
    """The last lines of a log, for a message that says why a process was given up."""
    return "\n".join(lines[-most:])
