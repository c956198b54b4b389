"""Checks predictions: measured over predicted latency, and a gate's actual share."""

from __future__ import annotations

import math
from collections import deque

_GAIN = 0.1
_FRAMES_REMEMBERED = 200


class PredictionDrift:
    """Tracks the measured latency of one plan's frames against its prediction.

    The mean, not the median: with a gate the prediction is a mean over frames that end early and
    frames that do not.
    """

    def __init__(self) -> None:
        self._plan: int | None = None
        self.predicted_s = math.nan
        self.measured_s = math.nan
        self.frames = 0

    def on_plan(self, plan: int, predicted_s: float) -> None:
        """Another plan is in force: reset the measurement."""
        self._plan, self.predicted_s = plan, predicted_s
        self.measured_s, self.frames = math.nan, 0

    def on_frame(self, plan: int, latency_s: float) -> None:
        """A frame's measured latency; frames of other plans are ignored."""
        if plan != self._plan or not 0 < latency_s < math.inf:
            return
        self.frames += 1
        if math.isnan(self.measured_s):
            self.measured_s = latency_s
        # A plain mean at first, so that an odd first frame does not dominate for long.
        self.measured_s += max(_GAIN, 1 / self.frames) * (latency_s - self.measured_s)

    @property
    def ratio(self) -> float:
        """Measured over predicted; NaN until both are known."""
        return self.measured_s / self.predicted_s if self.predicted_s > 0 else math.nan


class GateShare:
    """Tracks the share of frames that a gate ends against its calibrated share."""

    def __init__(self) -> None:
        self._key: tuple[int, float] | None = None
        self._ended: deque[bool] = deque(maxlen=_FRAMES_REMEMBERED)
        self.calibrated = math.nan

    def on_plan(self, gate: int | None, threshold: float, calibrated: float) -> None:
        """A plan is in force; another gate or threshold resets the count."""
        key = (gate, threshold) if gate is not None else None
        if key != self._key:
            self._ended.clear()
        self._key = key
        self.calibrated = calibrated if key else math.nan

    def on_frame(self, ended: bool) -> None:
        """A frame of the plan in force, and whether the gate ended it."""
        if self._key is not None:
            self._ended.append(ended)

    @property
    def frames(self) -> int:
        """How many of the latest frames ``real`` is the mean of, at most 200."""
        return len(self._ended)

    @property
    def real(self) -> float:
        """Share of the latest frames that the gate ended; NaN without a gate or frames."""
        return sum(self._ended) / len(self._ended) if self._ended else math.nan

    def drifted(self, least: float = 0.1, sigmas: float = 3.0, frames: int = 30) -> bool:
        """Whether the actual share differs significantly from the calibrated one.

        Args:
            least: smallest difference that matters to the planner, 0 to 1.
            sigmas: standard deviations of the binomial mean attributed to chance.
            frames: fewest frames to judge by.
        """
        if self.frames < frames or math.isnan(self.calibrated):
            return False
        p = self.calibrated
        chance = sigmas * math.sqrt(p * (1 - p) / self.frames)
        return abs(self.real - p) > max(least, chance)
