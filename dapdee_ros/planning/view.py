"""Candidates laid out for the scan of ``decide``: some hard conditions, falling quality."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dapdee_ros.planning.candidates import BYTES, CAR, SENDS, Bools, Candidates, Floats, Ints
from dapdee_ros.planning.conditions import QUALITY_ROUNDING
from dapdee_ros.planning.cost import EnergyPrices
from dapdee_ros.planning.errors import NoPlanError, PlanningError
from dapdee_ros.planning.objective import Objective
from dapdee_ros.planning.sites import Hop, Site

# Periods within this factor are the same period, summed in another order.
_SAME = 1 + 1e-12

# One frame can wait while another is in work; a third would displace it.
_FRAMES_AT_ONCE = 2


@dataclass(frozen=True)
class View:
    """The candidates that some hard conditions leave, from the most accurate down.

    Attributes:
        rows: which candidates, ``(n,)``.
        worst: their costs for a frame that no gate ends, ``(4, n)``.
        expected: the same in the mean over the frames; None where no gate makes a difference.
        gated: which have a gate, ``(n,)``.
        starts: where each level of equal quality begins.
        bounds: the same, and the end.
        falling: minus each level's quality, so that it rises.
    """

    rows: Ints
    worst: Floats
    expected: Floats | None
    gated: Bools
    starts: Ints
    bounds: tuple[int, ...]
    falling: tuple[float, ...]

    @classmethod
    def of(
        cls, candidates: Candidates, gates: bool, keep_raw: bool, alone: bool, floor: float
    ) -> View:
        """The candidates that are allowed.

        Args:
            candidates: all of them, from the most accurate down.
            gates: whether plans with a gate are.
            keep_raw: whether plans that send the input, in whatever form, are not.
            alone: whether only plans that send nothing are.
            floor: the lowest quality.

        Raises:
            PlanningError: if the floor is not 0 to 1.
            NoPlanError: if none is left.
        """
        c = candidates
        keep = np.ones(len(c), bool)
        if not gates:
            keep &= c.gates < 0
        if keep_raw:
            keep &= ~c.image
        if alone:
            keep &= c.worst[SENDS] == 0
        best = c.quality[keep].max()
        keep &= c.quality >= check_ratio("quality_floor", floor) - QUALITY_ROUNDING
        rows = np.flatnonzero(keep)
        if not len(rows):
            raise NoPlanError(
                f"no plan that is possible now has a quality of {floor:.3g} or more, the best "
                f"reaches {best:.3g}: lower quality_floor"
            )
        quality = c.quality[rows]
        starts = np.flatnonzero(np.diff(quality, prepend=np.inf) < 0)
        gated = c.gates[rows] >= 0
        return cls(
            rows=rows,
            worst=np.ascontiguousarray(c.worst[:, rows]),
            expected=np.ascontiguousarray(c.expected[:, rows]) if gated.any() else None,
            gated=gated,
            starts=starts,
            bounds=(*starts.tolist(), len(rows)),
            falling=tuple((-quality[starts]).tolist()),
        )

    def choose(
        self,
        weights: Floats,
        judging: Floats,
        deadline_s: float,
        objective: Objective,
        tolerance: float,
        most_period_s: float = np.inf,
        window: float = np.inf,
        period_tolerance: float = 0.0,
        energy_j: Floats | None = None,
    ) -> tuple[int, bool]:
        """The best candidate and whether it is late.

        The tolerance counts from the most accurate candidate in time without a gate, if there is
        one. A gate can raise the quality, since shallow exits are right about some frames that
        deep ones get wrong; counted from there, allowing gates would forbid what is fastest without
        them and could cost time.

        Args:
            weights: what a unit of each cost takes, in s (``cost_weights``).
            judging: the same for judging the deadline.
            deadline_s: the deadline.
            objective: what to minimise, in the mean over the frames.
            tolerance: quality that counts as nothing.
            most_period_s: longest period, in the mean over the frames; a single one may take
                twice that.
            window: how many frames may be under way.
            period_tolerance: by what share of the lowest two values of the objective may differ
                that count as the same, unless it is the latency alone; among them the lowest
                latency counts.
            energy_j: mean energy of each candidate, ``(n,)``; None: that has no price or weight.
        """
        latency_s = judging @ self.worst
        if most_period_s < np.inf:
            period_s = _periods_s(self.means, weights, window)
            keeps_up = period_s <= most_period_s
            if self.expected is not None:
                worst_s = _periods_s(self.worst, weights, window)
                keeps_up &= worst_s <= _FRAMES_AT_ONCE * most_period_s
            if not keeps_up.any():
                return int(period_s.argmin()), True
            # What falls behind the frames is as bad as what is late, and shares its fate below.
            latency_s = np.where(keeps_up, latency_s, np.inf)
        in_time = np.minimum.reduceat(latency_s, self.starts) <= deadline_s
        level = int(in_time.argmax())
        if not in_time[level]:
            return int(latency_s.argmin()), True
        # No level above this one has a candidate in time, and these levels lie in one slice.
        first = self.bounds[level]
        if self.expected is not None:
            ungated_s = np.where(self.gated, np.inf, latency_s)
            in_time = np.minimum.reduceat(ungated_s, self.starts) <= deadline_s
            plain = int(in_time.argmax())
            level = plain if in_time[plain] else level
        least = self.falling[level] + tolerance + QUALITY_ROUNDING
        last = self.bounds[bisect_right(self.falling, least)]
        latency_s = latency_s[first:last]
        means = self.means[:, first:last]
        if not objective.period and energy_j is None:
            if self.expected is None and weights is judging:
                return first + int(latency_s.argmin()), False
            expected_s = weights @ means
            expected_s[latency_s > deadline_s] = np.inf
            return first + int(expected_s.argmin()), False
        objective_s = objective.of(
            weights @ means if objective.latency else 0.0,
            _periods_s(means, weights, window) if objective.period else 0.0,
            0.0 if energy_j is None else energy_j[first:last],
        )
        objective_s[latency_s > deadline_s] = np.inf
        most_s = objective_s.min() * max(_SAME, 1 + period_tolerance)
        best = np.flatnonzero(objective_s <= most_s)
        if len(best) > 1:
            return first + int(best[(weights @ means[:, best]).argmin()]), False
        return first + int(best[0]), False

    @property
    def means(self) -> Floats:
        """The candidates' costs in the mean over the frames, ``(4, n)``."""
        return self.worst if self.expected is None else self.expected

    def energy_j(
        self, weights: Floats, prices: EnergyPrices, sent_bytes: Floats | None = None
    ) -> Floats:
        """Mean energy of the car for a frame, of each candidate, in J, ``(n,)``.

        Args:
            weights: as ``choose`` takes them.
            prices: what it is made of.
            sent_bytes: mean bytes that each sends, where its costs hold something else.
        """
        means = self.means
        sent_bytes = means[BYTES] if sent_bytes is None else sent_bytes
        return prices.car_j(weights[CAR] * means[CAR], sent_bytes, weights @ means)

    def without(self, at: int) -> View | None:
        """The same without one candidate; None if it was the last."""
        keep = np.arange(len(self.rows)) != at
        if not keep.any():
            return None
        quality = -np.repeat(self.falling, np.diff(self.bounds))[keep]
        starts = np.flatnonzero(np.diff(quality, prepend=np.inf) < 0)
        return View(
            rows=self.rows[keep],
            worst=self.worst[:, keep],
            expected=None if self.expected is None else self.expected[:, keep],
            gated=self.gated[keep],
            starts=starts,
            bounds=(*starts.tolist(), int(keep.sum())),
            falling=tuple((-quality[starts]).tolist()),
        )


def _periods_s(costs: Floats, weights: Floats, window: float) -> Floats:
    """Seconds between frames, ``(n,)``, by the formula of ``cost``."""
    period_s = (costs[:SENDS] * weights[:SENDS, None]).max(axis=0)
    if window < np.inf:
        # What sends nothing takes its latency anyway, and a window is one frame or more.
        np.maximum(period_s, weights @ costs / window, out=period_s)
    return period_s


def cost_weights(sites: Sequence[Site], hops: Sequence[Hop]) -> Floats:
    """What a unit of each row of a cost matrix takes, in s, ``(4,)`` for one hop.

    A profiled second of the car; then, for each hop, a byte over it, a profiled second of the site
    behind it, and its round trip. Beyond a hop that is unusable nothing counts.
    """
    weights = [sites[0].slowdown]
    usable = True
    for hop, site in zip(hops, sites[1:], strict=True):
        usable = usable and hop.usable
        weights += [8 / hop.rate_bps, site.slowdown, hop.rtt_s] if usable else [0.0, 0.0, 0.0]
    return np.array(weights)


def judging_weights(weights: Floats, link: Hop, risk: float) -> Floats:
    """The weights to judge a deadline by, at the rate that the link undercuts with this risk.

    Returns ``weights`` itself where they are the same.

    Raises:
        PlanningError: if the risk is not above 0 and at most 0.5.
    """
    if risk == 0.5:
        return weights
    rate_bps = link.pessimistic_bps(risk)
    if not link.usable:
        return weights
    careful = weights.copy()
    careful[BYTES] = 8 / rate_bps
    return careful


def check_ratio(name: str, value: float) -> float:
    """The value, if it is 0 to 1; else PlanningError."""
    if not 0 <= value <= 1:
        raise PlanningError(f"{name} is {value}; expected 0 to 1")
    return value
