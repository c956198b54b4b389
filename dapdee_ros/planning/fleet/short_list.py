"""A few plans of every car, as many for each: what a learned policy chooses among.

A policy's network has as many outputs for a car with 8 plans as for one with 300, so each car's
rows are cut down to a list of fixed length. What is best for a car depends on how crowded its
server and its cell are; with x and y cars that share them equally a row costs

    base + factor * (x * edge_s + y * air_s).

Over every server those rows come first that are the cheapest for the most pairs (x, y), then those
that are off the cheapest by least at some pair; the servers take turns. Of the rows that send
nothing only the cheapest matters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dapdee_ros.planning.candidates import Bools, Floats, Ints
from dapdee_ros.planning.fleet.fleet import Fleet
from dapdee_ros.planning.fleet.rows import NOBODY

LENGTH = 16
"""Plans of a car that a policy chooses among."""

_CROWDS = 2.0 ** np.arange(7)


@dataclass(frozen=True)
class ShortLists:
    """Plans of a fleet's cars, ``(cars, length)`` each; a car with fewer repeats its first one.

    Attributes:
        row: the rows of the fleet.
        there: whether it is a plan and no repetition; the plans come first.
        base: cost that no share changes.
        edge: cost of waiting for the whole of the edge server: factor * edge_s.
        air: likewise of the cell.
        server: index of the edge server; ``NOBODY`` for a plan that takes no seconds of one.
        cell: likewise of the cell.
    """

    row: Ints
    there: Bools
    base: Floats
    edge: Floats
    air: Floats
    server: Ints
    cell: Ints


def short_lists(fleet: Fleet, length: int = LENGTH) -> ShortLists:
    """The most promising plans of every car, at most ``length`` of each.

    A plan that sends nothing is the first of its car's list, if it has one.
    """
    r = fleet.rows
    edge, air = r.factor * r.edge_s, r.factor * r.air_s
    row = np.zeros((len(fleet.cars), length), np.intp)
    there = np.zeros(row.shape, bool)
    for car, (start, count) in enumerate(zip(fleet.starts, fleet.counts, strict=True)):
        mine = slice(start, start + count)
        found = start + _promising(r.base[mine], edge[mine], air[mine], r.server[mine])[:length]
        row[car] = found[0]
        row[car, : len(found)] = found
        there[car, : len(found)] = True
    return ShortLists(
        row,
        there,
        r.base[row],
        edge[row],
        air[row],
        np.where(edge[row] > 0, r.server[row], NOBODY),
        np.where(air[row] > 0, r.cell[row], NOBODY),
    )


def _promising(base: Floats, edge: Floats, air: Floats, server: Ints) -> Ints:
    """A car's rows, the most promising first."""
    x, y = (crowd.ravel() for crowd in np.meshgrid(_CROWDS, _CROWDS))
    cost = base[:, None] + edge[:, None] * x + air[:, None] * y
    place = np.full(len(base), -1)
    for one in np.unique(server).tolist():
        here = np.flatnonzero(server == one)
        over = cost[here] - cost[here].min(axis=0)
        wins = (over <= 0).sum(axis=1)
        order = here[np.lexsort((here, -wins, over.min(axis=1)))]
        if one == NOBODY:
            order = order[:1]
        place[order] = np.arange(len(order))
    kept = np.flatnonzero(place >= 0)
    return kept[np.lexsort((kept, server[kept], place[kept]))]
