"""The exact joint choice for the lowest sum of costs, without deadlines: a merge of Pareto sets.

With the best shares the sum over the cars is

    sum of base + sum over servers of U_m^2 + sum over cells of V_c^2,

where U_m and V_c add sqrt(factor * edge_s) and sqrt(factor * air_s) of those who use them. So a
partial choice is a point (base, U, V), and one that another is nowhere above never ends better: the
cars are merged one after the other and the dominated points dropped. Likewise every point that
cannot end below a known choice, since U^2 >= 2 p U - p^2 whatever p is: with p from the best prices
the rest of the cars adds at least what they cost at these prices.
"""

from __future__ import annotations

import numpy as np

from dapdee_ros.planning.candidates import Bools, Floats, Ints
from dapdee_ros.planning.errors import TooManyStatesError
from dapdee_ros.planning.fleet.fleet import Fleet
from dapdee_ros.planning.fleet.priced import Prices, Terms

MOST_STATES = 300_000
"""Partial choices that are too many."""

# A comparison of every point with every other takes a block of memory.
_BLOCK = 2_000


def merged(fleet: Fleet, start: Ints, prices: Prices, most_states: int = MOST_STATES) -> Ints:
    """The rows, ``(cars,)``, with the lowest sum of costs with the best shares.

    Args:
        fleet: the cars; their deadlines do not count here.
        start: any choice; a good one saves time.
        prices: roots of prices to bound with; the nearer to the best, the better.
        most_states: partial choices that are too many.

    Raises:
        TooManyStatesError: if there are more.
    """
    points, use = _points(fleet)
    best = _total(points[start].sum(axis=0))
    tangents = _tangents(prices, _sums(points, start))
    # What each row adds at least, (tangents, rows), and what the cars yet to come do.
    adds = points[:, 0] + 2 * tangents @ points[:, 1:].T
    fewest = np.minimum.reduceat(adds, fleet.starts, axis=1)
    # First the cars that can differ most; the last ones are decided by the bound alone.
    spread = np.maximum.reduceat(adds[0], fleet.starts) - fewest[0]
    order = np.argsort(-spread, kind="stable")
    to_come = np.concatenate([np.cumsum(fewest[:, order[::-1]], axis=1)[:, ::-1],
                              np.zeros((len(tangents), 1))], axis=1)  # fmt: skip
    less = (tangents**2).sum(axis=1)

    states = np.zeros((1, 1 + use))
    came_from: list[tuple[Ints, Ints]] = []
    for at, car in enumerate(order.tolist()):
        mine = np.arange(fleet.starts[car], fleet.starts[car] + fleet.counts[car])
        grown = (states[:, None, :] + points[None, mine, :]).reshape(-1, 1 + use)
        bound = (
            grown[:, 0] + 2 * tangents @ grown[:, 1:].T - less[:, None] + to_come[:, at + 1, None]
        ).max(axis=0)
        np.maximum(bound, _totals(grown) + to_come[-1, at + 1], out=bound)
        keep = np.flatnonzero(bound <= best * (1 + 1e-12) + 1e-300)
        if len(keep) > most_states:
            raise TooManyStatesError(
                f"{len(keep)} partial choices after {at + 1} of {len(fleet.cars)} cars, more than "
                f"{most_states}: choose by price"
            )
        keep = keep[_undominated(grown[keep])]
        if not len(keep):
            return start
        states = grown[keep]
        came_from.append((keep // len(mine), mine[keep % len(mine)]))
    end = int(_totals(states).argmin())
    if _totals(states)[end] >= best:
        return start
    chosen = np.empty(len(fleet.cars), np.intp)
    for car, (before, row) in zip(order[::-1].tolist(), came_from[::-1], strict=True):
        chosen[car] = row[end]
        end = int(before[end])
    return chosen


def total_cost(fleet: Fleet, rows: Ints) -> float:
    """What a choice of rows, ``(cars,)``, costs with the best shares, deadlines left out."""
    return _total(_points(fleet)[0][rows].sum(axis=0))


def _points(fleet: Fleet) -> tuple[Floats, int]:
    """Each row's base and what it adds to every U and V, and how many U and V there are."""
    terms = Terms.of(fleet)
    servers, use = len(fleet.servers), len(fleet.servers) + len(fleet.cells)
    # The last column is that of NOBODY.
    points = np.zeros((len(terms.base), 2 + use))
    every = np.arange(len(points))
    points[:, 0] = terms.base
    points[every, np.where(terms.server < 0, 1 + use, 1 + terms.server)] = (
        terms.factor_root * terms.edge_root
    )
    points[every, np.where(terms.cell < 0, 1 + use, 1 + servers + terms.cell)] = (
        terms.factor_root * terms.air_root
    )
    return points[:, : 1 + use], use


def _sums(points: Floats, rows: Ints) -> Floats:
    return np.asarray(points[rows, 1:].sum(axis=0))


def _tangents(prices: Prices, at_start: Floats) -> Floats:
    """Where to touch the squares, ``(tangents, uses)``: around the best prices; 0 is the last."""
    best = np.concatenate(prices)
    around = [best, at_start, (best + at_start) / 2]
    for k in np.flatnonzero(best):
        for factor in (0.8, 1.25):
            moved = best.copy()
            moved[k] *= factor
            around.append(moved)
    return np.array([*around, np.zeros(len(best))])


def _total(point: Floats) -> float:
    return float(point[0] + (point[1:] ** 2).sum())


def _totals(points: Floats) -> Floats:
    return np.asarray(points[:, 0] + (points[:, 1:] ** 2).sum(axis=1))


def _undominated(points: Floats) -> Ints:
    """Of points ``(n, d)`` those that no other one is nowhere above; of equals the first.

    Of more than a few thousand only blocks are compared with each other: what is left too many is
    no error.
    """
    order = np.lexsort((*points.T[::-1], points.sum(axis=1)))
    kept: list[Ints] = []
    for first in range(0, len(order), _BLOCK):
        block = order[first : first + _BLOCK]
        stays = _stays(points[block])
        if kept and len(kept[0]):
            stays &= ~_below(points[kept[0][:_BLOCK]], points[block])
        kept.append(block[stays])
    return np.sort(np.concatenate(kept))


def _stays(points: Floats) -> Bools:
    """Points are sorted: what dominates one comes before it."""
    n = len(points)
    below = np.ones((n, n), bool)
    for column in points.T:
        below &= column[:, None] <= column[None, :]
    return np.asarray(~np.triu(below, 1).any(axis=0))


def _below(these: Floats, points: Floats) -> Bools:
    """Which points some of these are nowhere above."""
    below = np.ones((len(these), len(points)), bool)
    for column, others in zip(points.T, these.T, strict=True):
        below &= others[:, None] <= column[None, :]
    return np.asarray(below.any(axis=0))
