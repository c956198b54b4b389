"""Candidates laid out for the scan of ``decide``: some hard conditions, falling quality."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dapdee_ros.planning.candidates import BYTES, CAR, EDGE, SENDS, Bools, Candidates, Floats, Ints
from dapdee_ros.planning.conditions import QUALITY_ROUNDING
from dapdee_ros.planning.cost import EnergyPrices
from dapdee_ros.planning.errors import NoPlanError, PlanningError
from dapdee_ros.planning.objective import Objective
from dapdee_ros.planning.sites import Hop, Site
from dapdee_ros.planning.tolls import Tolls

# Periods within this factor are the same period, summed in another order.
_SAME = 1 + 1e-12

# One frame can wait while another is in work; a third would displace it.
_FRAMES_AT_ONCE = 2


class Weights(NamedTuple):
    """What candidates' costs take now over one hop, overheads counted in.

    Attributes:
        unit_s: seconds of latency per unit of each cost, ``(4,)``, by ``cost_weights``.
        stage_s: the same of each of what a period is the longest of: car, link and edge server,
            ``(3, 4)``. Without overheads its rows hold one number each.
        frame_s: what every frame costs the car in addition, sent or not.
        diagonal: whether there are no overheads.
    """

    unit_s: Floats
    stage_s: Floats
    frame_s: float = 0.0
    diagonal: bool = True

    @classmethod
    def of(cls, sites: Sequence[Site], hop: Hop) -> Weights:
        """The weights of a car, one hop, and an edge server."""
        unit_s = cost_weights(sites, (hop,))
        stage_s = np.zeros((SENDS, len(unit_s)))
        stage_s[CAR, CAR], stage_s[EDGE, EDGE] = unit_s[CAR], unit_s[EDGE]
        if not hop.usable:
            frame_s = sites[0].overhead.frame_s
            return cls(unit_s, stage_s, frame_s, not frame_s)
        stage_s[BYTES, BYTES] = 8 / hop.rate_bps
        car, edge = sites[0].overhead, sites[1].overhead
        if not (car.any or edge.any):
            return cls(unit_s, stage_s)
        stage_s[CAR, [BYTES, SENDS]] = car.s_per_byte, car.crossing_s
        stage_s[EDGE, [BYTES, SENDS]] = edge.s_per_byte, edge.frame_s + edge.crossing_s
        return cls(unit_s, stage_s, car.frame_s, False)

    def latency_s(self, costs: Floats) -> Floats:
        """Seconds from a frame's start to its answer, ``(n,)``, for costs ``(4, n)``."""
        latency_s = self.unit_s @ costs
        if self.frame_s:
            latency_s += self.frame_s
        return latency_s

    def car_s(self, costs: Floats) -> Floats:
        """Seconds of the car's stage, ``(n,)``."""
        if self.diagonal:
            return self.unit_s[CAR] * costs[CAR]
        return self.stage_s[CAR] @ costs + self.frame_s

    def edge_s(self, costs: Floats) -> Floats:
        """Seconds of the edge server's stage, ``(n,)``."""
        if self.diagonal:
            return self.unit_s[EDGE] * costs[EDGE]
        return np.maximum(self.stage_s[EDGE] @ costs, 0.0)

    def period_s(self, costs: Floats, window: float) -> Floats:
        """Seconds between frames, ``(n,)``, by the formula of ``cost``."""
        if self.diagonal:
            period_s = (costs[:SENDS] * self.unit_s[:SENDS, None]).max(axis=0)
        else:
            stages_s = self.stage_s @ costs
            stages_s[CAR] += self.frame_s
            period_s = stages_s.max(axis=0)
        if window < np.inf:
            # What sends nothing takes its latency anyway, and a window is one frame or more.
            np.maximum(period_s, self.latency_s(costs) / window, out=period_s)
        return period_s


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
        cls, candidates: Candidates, gates: bool, most_exposure: float, alone: bool, floor: float
    ) -> View:
        """The candidates that are allowed.

        Args:
            candidates: all of them, from the most accurate down.
            gates: whether plans with a gate are.
            most_exposure: how well the image may be restored from what is sent; infinity: any.
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
        keep &= c.exposure <= most_exposure
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
        weights: Weights,
        judging: Weights,
        deadline_s: float,
        objective: Objective,
        tolerance: float,
        most_period_s: float = np.inf,
        window: float = np.inf,
        period_tolerance: float = 0.0,
        energy_j: Floats | None = None,
        shared: tuple[Floats, Floats] | None = None,
    ) -> tuple[int, bool]:
        """The best candidate and whether it is late.

        The tolerance counts from the most accurate candidate in time without a gate, if there is
        one. A gate can raise the quality, since shallow exits are right about some frames that
        deep ones get wrong; counted from there, allowing gates would forbid what is fastest without
        them and could cost time.

        Args:
            weights: what the candidates' costs take.
            judging: the same for judging the deadline.
            deadline_s: the deadline.
            objective: what to minimise, in the mean over the frames.
            tolerance: quality that counts as nothing.
            most_period_s: longest period, in the mean over the frames; a single one may take
                twice that.
            window: how many frames may be under way.
            period_tolerance: by what share of the lowest two values of the objective may differ
                that count as the same, unless it is the latency alone; among them the lowest
                latency counts, or the least work of the car where that is what limits the period
                of all of them.
            energy_j: mean energy of each candidate, ``(n,)``; None: that has no price or weight.
            shared: seconds that each waits for other cars, and its toll, ``(n,)`` each; None:
                nobody else is there.
        """
        latency_s = judging.latency_s(self.worst)
        if shared is not None:
            latency_s += shared[0]
        if most_period_s < np.inf:
            period_s = weights.period_s(self.means, window)
            keeps_up = period_s <= most_period_s
            if self.expected is not None:
                worst_s = weights.period_s(self.worst, window)
                keeps_up &= worst_s <= _FRAMES_AT_ONCE * most_period_s
            if not keeps_up.any():
                return int(period_s.argmin()), True
            # What falls behind the frames is as bad as what is late, and shares its fate below.
            latency_s = np.where(keeps_up, latency_s, np.inf)
        span = self.level_in_time(latency_s, deadline_s, tolerance)
        if span is None:
            return int(latency_s.argmin()), True
        first, last = span
        latency_s = latency_s[first:last]
        means = self.means[:, first:last]
        if not objective.period and energy_j is None:
            if self.expected is None and weights is judging and shared is None:
                return first + int(latency_s.argmin()), False
            expected_s = weights.latency_s(means)
            if shared is not None:
                expected_s *= objective.latency
                expected_s += shared[1][first:last]
            expected_s[latency_s > deadline_s] = np.inf
            return first + int(expected_s.argmin()), False
        objective_s = objective.of(
            weights.latency_s(means) if objective.latency else 0.0,
            weights.period_s(means, window) if objective.period else 0.0,
            0.0 if energy_j is None else energy_j[first:last],
        )
        if shared is not None:
            objective_s = objective_s + shared[1][first:last]
        objective_s[latency_s > deadline_s] = np.inf
        equal = max(_SAME, 1 + period_tolerance)
        least_s = float(objective_s.min())
        best = np.flatnonzero(objective_s <= equal * least_s)
        if len(best) > 1:
            latency_s = weights.latency_s(means[:, best])
            if objective.is_period and energy_j is None and shared is None:
                car_s = weights.car_s(means[:, best])
                # Where none of them relieves the car, latency would be bought with the work that
                # there is least to spare of. What is dominated changes neither minimum.
                if equal * objective.period * car_s.min() >= least_s:
                    latency_s[car_s > _SAME * car_s.min()] = np.inf
            return first + int(best[latency_s.argmin()]), False
        return first + int(best[0]), False

    def level_in_time(
        self, latency_s: Floats, deadline_s: float, tolerance: float
    ) -> tuple[int, int] | None:
        """Of which candidates the objective decides: the best quality in time, and equals.

        Args:
            latency_s: what each takes, ``(n,)``; infinity for one that is out of the question.
            deadline_s: the deadline.
            tolerance: quality that counts as nothing.

        Returns:
            First and one past the last; None if none is in time. Some of them may be late.
        """
        in_time = np.minimum.reduceat(latency_s, self.starts) <= deadline_s
        level = int(in_time.argmax())
        if not in_time[level]:
            return None
        # No level above this one has a candidate in time, and these levels lie in one slice.
        first = self.bounds[level]
        if self.expected is not None:
            ungated_s = np.where(self.gated, np.inf, latency_s)
            in_time = np.minimum.reduceat(ungated_s, self.starts) <= deadline_s
            plain = int(in_time.argmax())
            level = plain if in_time[plain] else level
        least = self.falling[level] + tolerance + QUALITY_ROUNDING
        return first, self.bounds[bisect_right(self.falling, least)]

    @property
    def means(self) -> Floats:
        """The candidates' costs in the mean over the frames, ``(4, n)``."""
        return self.worst if self.expected is None else self.expected

    def energy_j(
        self, weights: Weights, prices: EnergyPrices, sent_bytes: Floats | None = None
    ) -> Floats:
        """Mean energy of the car for a frame, of each candidate, in J, ``(n,)``.

        Args:
            weights: as ``choose`` takes them.
            prices: what it is made of.
            sent_bytes: mean bytes that each sends, where its costs hold something else.
        """
        means = self.means
        sent_bytes = means[BYTES] if sent_bytes is None else sent_bytes
        return prices.car_j(weights.car_s(means), sent_bytes, weights.latency_s(means))

    def shared(self, weights: Weights, tolls: Tolls, worth: float) -> tuple[Floats, Floats] | None:
        """Seconds that each candidate waits for other cars, and its toll (``Tolls.on_each``).

        Args:
            weights: as ``choose`` takes them.
            tolls: what the others ask for.
            worth: what a second of waiting counts; 0: nothing, so there are no tolls.
        """
        if not (worth and tolls.any):
            return None
        worst, means = self.worst, self.means
        edge_s = weights.edge_s(worst)
        mean_s = edge_s if means is worst else weights.edge_s(means)
        air_s = means[BYTES] * weights.stage_s[BYTES, BYTES] if tolls.air.pull else None
        return tolls.on_each(worth, edge_s, mean_s, air_s)

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


def cost_weights(sites: Sequence[Site], hops: Sequence[Hop]) -> Floats:
    """What a unit of each row of a cost matrix takes, in s, ``(4,)`` for one hop.

    A profiled second of the car; then, for each hop, a byte over it, a profiled second of the site
    behind it, and being sent: its round trip, and what both sites pay for a frame that crosses.
    Beyond a hop that is unusable nothing counts. What every frame costs the car is not in it.
    """
    weights = [sites[0].slowdown]
    usable = True
    for hop, near, far in zip(hops, sites, sites[1:], strict=False):
        usable = usable and hop.usable
        if not usable:
            weights += [0.0, 0.0, 0.0]
            continue
        out, into = near.overhead, far.overhead
        byte_s = 8 / hop.rate_bps + out.s_per_byte + into.s_per_byte
        sent_s = hop.rtt_s + out.crossing_s + into.crossing_s + into.frame_s
        weights += [byte_s, far.slowdown, sent_s]
    return np.array(weights)


def judging_weights(weights: Weights, link: Hop, risk: float) -> Weights:
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
    careful = weights.unit_s.copy()
    careful[BYTES] += 8 / rate_bps - 8 / link.rate_bps
    return weights._replace(unit_s=careful)


def check_ratio(name: str, value: float) -> float:
    """The value, if it is 0 to 1; else PlanningError."""
    if not 0 <= value <= 1:
        raise PlanningError(f"{name} is {value}; expected 0 to 1")
    return value
