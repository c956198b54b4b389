"""Quality of a run that goes on, cheap enough to be asked for all the time. No torch, no ROS."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from dapdee_ros.tasks.records import NO_ANSWER, Record, Records

MOST_FRAMES = 2000
"""Latest frames that count; older ones are forgotten, so that memory does not grow."""

_SHARE = 0.02


class RunningQuality:
    """Judges frames as they come, and sums up now and then.

    A frame is judged once, by its records, as ``report`` judges it later. Summing up many frames of
    a detector takes long, so it is done again only after 50 times the time that it last took.

    Attributes:
        judged: frames whose truth was known, since the start.
    """

    def __init__(self, records: Records, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare.

        Args:
            records: of the model's task.
            clock: seconds.
        """
        self._records, self._clock = records, clock
        self._evaluator = records.evaluator()
        self._latest: deque[Any] = deque(maxlen=MOST_FRAMES)
        self._objects: deque[int] = deque(maxlen=MOST_FRAMES)
        self._value: float | None = None
        self._again_s = -math.inf
        self._summed_up = self.judged = 0

    def add(self, answer: Record, truth: Record | None) -> None:
        """Count a frame's answer, and judge it if its truth is known.

        Raises:
            ValueError: if either is not one of the task and its classes.
        """
        if isinstance(answer, list):
            self._objects.append(len(answer))
        if truth is None or answer == NO_ANSWER:
            return
        read = self._records.read
        self._latest.append(self._evaluator.judge(read(answer), read(truth)))
        self.judged += 1

    @property
    def objects_per_frame(self) -> float | None:
        """Mean number of objects in the latest answers; None for other tasks."""
        return sum(self._objects) / len(self._objects) if self._objects else None

    @property
    def quality(self) -> float | None:
        """Figure of merit of the latest frames, 0 to 1; None if there is nothing to judge by."""
        began_s = self._clock()
        if self._summed_up < self.judged and began_s >= self._again_s:
            evaluator = self._records.evaluator()
            for judgement in self._latest:
                evaluator.add_judged(judgement)
            value = evaluator.quality()
            self._value = value if math.isfinite(value) else None
            self._summed_up = self.judged
            ended_s = self._clock()
            self._again_s = ended_s + (ended_s - began_s) / _SHARE
        return self._value
