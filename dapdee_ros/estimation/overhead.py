"""What a frame costs a site beside the network, followed over the frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.estimation.credible import LONGEST_S, MOST_BYTES

_BYTES_UNIT = 1e5
"""Bytes are counted in units of this, so that all three numbers are of one size."""


@dataclass(frozen=True)
class OverheadSettings:
    """Parameters of ``OverheadFilter``; ours.

    Attributes:
        noise: relative deviation of one frame's overhead, 0.01 to 1.
        noise_s: the same absolutely, in s: clocks and threads; 1e-5 to 0.1.
        doubt: relative deviation of a value to begin with, 0.1 to 2.
        doubt_s: the same absolutely, in s; 1e-4 to 0.1.
        drift: relative change in one second, 0 to 1.
        sigmas: deviations beyond which a frame is a stall unless the next ones agree, 1 to 10.
        agreeing: how many in a row are no stall any more, 2 or more.
        memory_s: seconds after which, with nothing measured, an e-th of the difference to the
            beginning is left, above 0: a plan that no frame goes by could otherwise never be found
            cheap again.
    """

    noise: float = 0.25
    noise_s: float = 3e-4
    doubt: float = 0.5
    doubt_s: float = 3e-3
    drift: float = 0.05
    sigmas: float = 3.0
    agreeing: int = 3
    memory_s: float = 5.0


class OverheadFilter:
    """Fits frame + crossings * crossing + bytes * per byte to what frames cost, newest first.

    A Kalman filter whose state are the three numbers: a least-squares fit in which old frames lose
    weight, that begins with what the site measured on its own, and where one plan does not tell
    the three numbers apart, leaves their ratio as it was. What is far from the prediction is a
    stall, and counts as little as the farthest believable frame; if the next frame agrees, it was
    no stall, and the fit follows.

    Attributes:
        frames: how many were taken into account.
    """

    def __init__(
        self, begin: Sequence[float] = (0.0, 0.0, 0.0), settings: OverheadSettings | None = None
    ) -> None:
        """Begin.

        Args:
            begin: seconds per frame, per crossing, and per byte.
            settings: parameters.
        """
        self.settings = s = settings or OverheadSettings()
        self._begin = np.array(begin, np.float64) * (1.0, 1.0, _BYTES_UNIT)
        self._state = self._begin.copy()
        self._variance = np.diag(np.square(np.maximum(s.doubt * self._state, s.doubt_s)))
        self._most = self._variance.copy()
        self._updated_s = self._crossed_s = -math.inf
        self._suspect, self._in_a_row = 0.0, 0
        self.frames = 0

    @property
    def value(self) -> tuple[float, float, float]:
        """Seconds per frame, per crossing, and per byte, each 0 or more."""
        frame_s, crossing_s, unit_s = self._state.tolist()
        return frame_s, crossing_s, unit_s / _BYTES_UNIT

    def at(self, now_s: float) -> tuple[float, float, float]:
        """The same as of now: what was not measured for a while goes back to the beginning."""
        memory_s = self.settings.memory_s
        ages_s = np.array([now_s - self._updated_s, *[now_s - self._crossed_s] * 2])
        kept = np.exp(-np.maximum(ages_s, 0.0) / memory_s)
        frame_s, crossing_s, unit_s = (self._begin + kept * (self._state - self._begin)).tolist()
        return frame_s, crossing_s, unit_s / _BYTES_UNIT

    def seconds(self, crossings: int, n_bytes: int) -> float:
        """What a frame is expected to cost."""
        return float(_row(crossings, n_bytes) @ self._state)

    def on_frame(self, now_s: float, measured_s: float, crossings: int, n_bytes: int) -> None:
        """A frame's overhead; what cannot be is ignored.

        Args:
            now_s: when.
            measured_s: what it cost; below 0 where the network was faster than expected.
            crossings: by how many hops it came or left.
            n_bytes: coded bytes over them.
        """
        if not (-LONGEST_S <= measured_s <= LONGEST_S and 0 <= n_bytes <= MOST_BYTES):
            return
        s, row = self.settings, _row(crossings, n_bytes)
        self._age(now_s)
        if crossings:
            self._crossed_s = now_s
        expected_s = float(row @ self._state)
        noise_s = max(s.noise * expected_s, s.noise_s)
        variance = float(row @ self._variance @ row) + noise_s**2
        residual_s = max(measured_s, 0.0) - expected_s
        bound_s = s.sigmas * math.sqrt(variance)
        if abs(residual_s) > bound_s:
            side = math.copysign(1.0, residual_s)
            self._in_a_row = self._in_a_row + 1 if side == self._suspect else 1
            if self._in_a_row >= self.settings.agreeing:
                # No stall: what was known has changed.
                self._variance += np.diag(np.full(3, residual_s**2))
                variance = float(row @ self._variance @ row) + noise_s**2
            else:
                residual_s = side * bound_s
            self._suspect = side
        else:
            self._suspect, self._in_a_row = 0.0, 0
        gain = self._variance @ row / variance
        self._state = np.clip(self._state + gain * residual_s, 0.0, LONGEST_S)
        self._variance -= np.outer(gain, row @ self._variance)
        self.frames += 1

    def _age(self, now_s: float) -> None:
        age_s = max(0.0, now_s - self._updated_s) if self.frames else 0.0
        self._updated_s = now_s
        step = np.maximum(self.settings.drift * self._state, self.settings.noise_s)
        grown = np.minimum(np.square(step) * age_s, np.diagonal(self._most))
        self._variance += np.diag(grown)


def _row(crossings: int, n_bytes: int) -> NDArray[np.float64]:
    return np.array((1.0, crossings, n_bytes / _BYTES_UNIT))
