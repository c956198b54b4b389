"""Tracks one positive quantity through noise, outliers and steps."""

from __future__ import annotations

import math

from dapdee_ros.estimation.change import ChangeDetector

MOST_VARIANCE = 4.0
"""Bound on the logarithm's variance: beyond a factor of 7 the quantity is simply unknown."""

_VAGUE = 0.5
_GUESS = 1.0


class LogFilter:
    """A scalar Kalman filter on a logarithm, with the rule of mean plus two deviations.

    The quantity's logarithm is modelled as a random walk, so its variance grows with age. An
    innovation beyond the mean plus two standard deviations of the recent ones (and beyond what age
    and noise explain) is clipped to that bound; if the next one agrees with it, it was a step and
    not an outlier, and the filter restarts from there.

    Attributes:
        drift: standard deviation of the relative change in one second.
    """

    def __init__(self, drift: float, change_floor: float, change_sigmas: float = 2.0) -> None:
        """Start out knowing nothing.

        Args:
            drift: see above.
            change_floor: smallest relative change that may count as a step.
            change_sigmas: standard deviations beyond the mean that make a step.
        """
        self.drift = drift
        self._changes = ChangeDetector(math.log1p(change_floor), change_sigmas)
        self._log = math.nan
        self._variance = math.inf
        self._updated_s = -math.inf
        self._suspect = 0

    @property
    def value(self) -> float:
        """The estimate; NaN before the first measurement."""
        return math.exp(self._log)

    @property
    def is_known(self) -> bool:
        """Whether there has been a measurement."""
        return not math.isnan(self._log)

    @property
    def is_in_doubt(self) -> bool:
        """Whether the last measurement was clipped, and needs confirmation."""
        return bool(self._suspect)

    @property
    def may_be_lower(self) -> bool:
        """Whether the last measurement was clipped because it was far below the estimate."""
        return self._suspect < 0

    def age_s(self, now_s: float) -> float:
        """Seconds since the last measurement; infinite before the first."""
        return now_s - self._updated_s

    def relative_spread(self, now_s: float) -> float:
        """Relative standard deviation as of now; infinite before the first measurement."""
        return math.sqrt(self._aged_variance(now_s)) if self.is_known else math.inf

    def follow(self, now_s: float, measured: float, noise: float) -> bool:
        """Take a measurement into account.

        Args:
            now_s: when.
            measured: the quantity, above 0.
            noise: relative standard deviation of this measurement, above 0.

        Returns:
            Whether it completed a step.
        """
        log = math.log(measured)
        if not self.is_known:
            self._restart(now_s, log, noise)
            return False
        variance = self._aged_variance(now_s)
        self._updated_s = now_s
        innovation = log - self._log
        # The estimate's age explains part of the innovation.
        bound = max(self._changes.threshold, 2 * math.sqrt(variance + noise**2))
        side = 0 if abs(innovation) <= bound else int(math.copysign(1, innovation))
        if side and side == self._suspect:
            self._restart(now_s, log, noise)
            return True
        innovation = min(max(innovation, -bound), bound)
        self._changes.remember(innovation)
        gain = variance / (variance + noise**2)
        self._log += gain * innovation
        self._variance = (1 - gain) * variance
        self._suspect = side
        return False

    def lower(self, limit: float, share: float) -> None:
        """The quantity seems to be at most ``limit``, if it is known at all.

        Not a measurement: the estimate goes down by ``share`` of the way (on the logarithm) and
        becomes so uncertain that the next measurement decides.
        """
        down = math.log(limit) - self._log
        if down < 0:
            self._log += share * down
            self._variance = max(self._variance, down**2)

    def guess(self, now_s: float, value: float) -> None:
        """Restart from a guess of the quantity; the next measurement decides."""
        self._restart(now_s, math.log(value), _GUESS)

    def forget(self) -> None:
        """Begin again without knowledge."""
        self._restart(-math.inf, math.nan, math.inf)

    def lift(self, now_s: float, limit: float) -> bool:
        """The quantity is at least ``limit``, how far above that nobody knows.

        Returns:
            Whether that was news.
        """
        if self.is_known and limit <= self.value:
            return False
        self._restart(now_s, math.log(limit), _VAGUE)
        return True

    def _restart(self, now_s: float, log: float, noise: float) -> None:
        self._log, self._variance, self._updated_s = log, noise**2, now_s
        self._changes.reset()
        self._suspect = 0

    def _aged_variance(self, now_s: float) -> float:
        drifted = self._variance + self.drift**2 * max(0.0, self.age_s(now_s))
        return min(drifted, MOST_VARIANCE)
