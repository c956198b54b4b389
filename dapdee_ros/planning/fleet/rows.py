"""What a joint choice has to know of each of a car's plans: numbers that no share changes.

With a share f of its edge server and a share g of its cell a plan costs

    base + factor * (edge_s / f + air_s / g)    and takes    fixed_s + edge_s / f + air_s / g

``base`` is everything that no share changes: the car's own seconds, the round trip, the weighted
energy of computing and sending. ``edge_s`` and ``air_s`` are the seconds that the edge server and
the cell take if they serve this car alone. ``factor`` is what a second of them costs: the weight of
the latency, plus the weighted energy of waiting, times the share of frames that no gate ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from dapdee_ros.planning.candidates import BYTES, EDGE, SENDS, Floats, Ints
from dapdee_ros.planning.errors import FleetError
from dapdee_ros.planning.situation import Situation
from dapdee_ros.planning.table import CandidateTable
from dapdee_ros.planning.view import View, Weights

NOBODY = -1
"""Server or cell of a plan that uses none."""


@dataclass(frozen=True)
class Rows:
    """Plans of one car, one per row; every array is ``(n,)``.

    Attributes:
        number: what the caller calls the plan: the row of its candidate table.
        base: cost that no share changes, in the objective's seconds.
        factor: cost of a second on the edge server or on the air.
        fixed_s: seconds of a frame that no share changes.
        edge_s: seconds of the edge server at its full share.
        air_s: seconds of the cell at its full share.
        server: index of the edge server; ``NOBODY`` for a plan that sends nothing.
        cell: index of the cell; ``NOBODY`` where the link is shared with nobody, whose seconds are
            then part of ``base`` and ``fixed_s``.

    Raises:
        FleetError: at construction, for arrays of different lengths or none, values that are
            negative or not finite, or seconds of a server or cell that is not named or costs
            nothing.
    """

    number: Ints
    base: Floats
    factor: Floats
    fixed_s: Floats
    edge_s: Floats
    air_s: Floats
    server: Ints
    cell: Ints

    def __post_init__(self) -> None:
        if {len(getattr(self, f.name)) for f in fields(self)} != {len(self.number)}:
            raise FleetError("the columns of a car's plans differ in length")
        if not len(self.number):
            raise FleetError("a car needs one plan or more")
        for name in ("base", "factor", "fixed_s", "edge_s", "air_s"):
            values = getattr(self, name)
            if not (np.isfinite(values) & (values >= 0)).all():
                raise FleetError(f"{name} holds {values.min()}; expected finite numbers of 0 up")
        for used_s, by, what in (
            (self.edge_s, self.server, "edge server"),
            (self.air_s, self.cell, "cell"),
        ):
            if ((used_s > 0) & (by < 0)).any():
                raise FleetError(f"a plan takes seconds of an {what} that it does not name")
        if ((self.edge_s + self.air_s > 0) & (self.factor <= 0)).any():
            raise FleetError(
                "a second on the edge server costs nothing, so no share is better than another: "
                "give the latency a weight above 0"
            )

    def __len__(self) -> int:
        return len(self.number)

    @classmethod
    def of(cls, *rows: Sequence[float]) -> Rows:
        """Rows from (base, factor, fixed_s, edge_s, air_s, server, cell), numbered from 0."""
        columns = np.array(rows, np.float64).reshape(len(rows), 7).T
        numbers = (column.astype(np.intp) for column in columns[5:])
        return cls(np.arange(len(rows)), *columns[:5].copy(), *numbers)

    @classmethod
    def join(cls, parts: Sequence[Rows]) -> Rows:
        """The rows of several: those over different servers."""
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))

    def take(self, which: Ints) -> Rows:
        """The given rows, in the given order."""
        return Rows(*(getattr(self, f.name)[which] for f in fields(self)))

    @property
    def undominated(self) -> Rows:
        """Those that can be part of a best joint choice, whatever the shares.

        A row goes if another over the same server and cell is nowhere worse, or if one that sends
        nothing is no worse than it would be at full shares.
        """
        keys = np.array(
            [
                self.base, self.fixed_s, self.edge_s, self.air_s,
                self.factor * self.edge_s, self.factor * self.air_s,
            ]
        )  # fmt: skip
        used_s = self.edge_s + self.air_s
        at_best = np.array([self.base + self.factor * used_s, self.fixed_s + used_s])
        alone = np.flatnonzero(used_s == 0)
        route = (self.server + 1) * (self.cell.max() + 2) + self.cell + 1
        # By one that sends nothing, even at full shares.
        beaten = used_s > 0
        beaten &= (at_best[:, alone, None] <= at_best[:, None, :]).all(axis=0).any(axis=0)
        # Whatever dominates a row comes before it.
        order = np.lexsort((np.arange(len(self)), keys[0], keys.sum(axis=0)))
        left = order[~beaten[order]]
        keys, route = keys[:, left], np.where(used_s > 0, route, -1)[left]
        stays = np.zeros(len(self), bool)
        while len(left):
            stays[left[0]] = True
            others = (keys < keys[:, :1]).any(axis=0) | (route != route[0])
            left, keys, route = left[others], keys[:, others], route[others]
        return self.take(np.flatnonzero(stays))


def rows_of(
    table: CandidateTable,
    situation: Situation,
    server: int = 0,
    cell: int = 0,
    *,
    quality_weight_s: float | None = None,
    reduce: bool = True,
) -> Rows:
    """A car's candidates as rows, over one edge server.

    Args:
        table: the car's candidates with this server.
        situation: as ``CandidateTable.decide`` takes it; the hop's rate is what the car would have
            with the cell to itself, the site's slowdown the server's with nobody else on it. What
            cannot keep up with the frames even so (``most_period_s``) is left out.
        server: index of the edge server.
        cell: index of the cell; ``NOBODY`` where the link is shared with nobody.
        quality_weight_s: seconds that a whole point of quality is worth, added to ``base`` for what
            is missing to 1. None: as ``decide`` does, only the best quality that can meet the
            deadline at full shares, within the tolerance.
        reduce: False keeps dominated rows.

    Raises:
        FleetError: for an objective with a weight of the period, which is no sum over shares.
        PlanningError: as ``decide``.
    """
    s, objective = situation, situation.objective
    if objective.period:
        raise FleetError(
            f"the objective is {objective}; a joint choice adds latency and energy, give the "
            "period no weight and say with most_stage_s what has to keep up"
        )
    view = View.of(table.candidates, s.gates, s.most_exposure, not s.link.usable, s.quality_floor)
    weights = Weights.of(s.sites, s.link)
    worst, means = view.worst, view.means
    # What a gate ends without exception never sends: its exit alone is the same plan.
    real = (means[SENDS] > 0) | (worst[SENDS] == 0)
    keep = real & (weights.period_s(means, math.inf) <= s.most_period_s)
    if not keep.any():
        keep = real
    if quality_weight_s is None:
        latency_s = np.where(keep, weights.latency_s(worst), np.inf)
        level = view.level_in_time(latency_s, s.deadline_s, s.quality_tolerance)
        if level is not None:
            keep = keep.copy()
            keep[: level[0]] = keep[level[1] :] = False
    worst, means, rows = worst[:, keep], means[:, keep], view.rows[keep]

    wait_s_per_s = objective.energy_s_per_j * s.energy.wait_w
    edge_s, air_s = (weights.stage_s[stage] @ worst for stage in (EDGE, BYTES))
    mean_edge_s, mean_air_s = (weights.stage_s[stage] @ means for stage in (EDGE, BYTES))
    fixed_s = weights.latency_s(worst) - edge_s - air_s
    mean_fixed_s = weights.latency_s(means) - mean_edge_s - mean_air_s
    base = objective.of(
        mean_fixed_s, 0.0, s.energy.car_j(weights.car_s(means), means[BYTES], mean_fixed_s)
    )
    # A gate ends the same share of the frames before the link and before the server.
    sends = worst[SENDS] > 0
    going_on = np.divide(means[SENDS], worst[SENDS], out=np.zeros(len(rows)), where=sends)
    if quality_weight_s is not None:
        base = base + quality_weight_s * (1 - table.candidates.quality[rows])
    unshared = cell == NOBODY
    factor = (objective.latency + wait_s_per_s) * going_on
    found = Rows(
        rows,
        np.maximum(base + factor * air_s * unshared, 0.0),
        factor,
        np.maximum(fixed_s + air_s * unshared, 0.0),
        np.maximum(edge_s, 0.0) * sends,
        air_s * (not unshared),
        np.where(sends, server, NOBODY),
        np.where(sends, cell, NOBODY),
    )
    return found.undominated if reduce else found
