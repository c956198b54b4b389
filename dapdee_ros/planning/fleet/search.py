"""A search through choices of one row per car, pruned by lower bounds that add up over the cars."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dapdee_ros.planning.candidates import Floats, Ints
from dapdee_ros.planning.errors import TooManyStatesError
from dapdee_ros.planning.fleet.fleet import ROUNDING, Fleet
from dapdee_ros.planning.fleet.priced import Prices, Terms, loads_of

MOST_NODES = 200_000
"""Partial choices that a search looks at before it gives up."""


def choices(
    fleet: Fleet, potentials: Floats, limits: Floats, most_nodes: int = MOST_NODES
) -> Iterator[Ints]:
    """Every choice of rows whose potentials stay within their limits, the most promising first.

    Cars that are alike are interchangeable: of the choices that differ only in which of them has
    which row, one is returned.

    Args:
        fleet: the cars.
        potentials: what each row adds to each bound, ``(bounds, n)``; infinite for one that is out
            of the question. The first one says what is promising.
        limits: what each sum may be at most, ``(bounds,)``; may be lowered between two choices.
        most_nodes: partial choices that are too many.

    Yields:
        Row of each car, ``(cars,)``.

    Raises:
        TooManyStatesError: if there are too many.
    """
    fewest = np.minimum.reduceat(potentials, fleet.starts, axis=1)
    spread = np.array(
        [
            np.partition(values, 1)[1] - values.min() if len(values) > 1 else 0.0
            for values in np.split(np.where(np.isfinite(potentials[0]), potentials[0], 1e300),
                                   fleet.starts[1:])
        ]
    )  # fmt: skip
    kind = _kinds(fleet)
    # Those that differ most first, and those that are alike one after the other.
    first_of = {k: float(spread[kind == k].max()) for k in set(kind.tolist())}
    order = sorted(range(len(kind)), key=lambda i: (-first_of[int(kind[i])], int(kind[i]), i))
    to_come = np.zeros((len(order) + 1, len(potentials)))
    for at in range(len(order) - 1, -1, -1):
        to_come[at] = to_come[at + 1] + fewest[:, order[at]]
    if (to_come[0] > limits).any():
        return

    chosen = np.zeros(len(order), np.intp)

    def children(at: int, sums: Floats) -> list[tuple[int, Floats]]:
        car = order[at]
        start, count = int(fleet.starts[car]), int(fleet.counts[car])
        skip = 0
        if at and kind[order[at - 1]] == kind[car]:
            before = order[at - 1]
            skip = int(chosen[before] - fleet.starts[before])
        grown = sums[:, None] + potentials[:, start + skip : start + count]
        good = np.flatnonzero((grown + to_come[at + 1, :, None] <= limits[:, None]).all(axis=0))
        # The best last: that is where the next one is taken from.
        good = good[np.argsort(-grown[0, good], kind="stable")]
        return [(start + skip + int(k), grown[:, k]) for k in good]

    nodes = 0
    stack = [children(0, np.zeros(len(potentials)))]
    while stack:
        at = len(stack) - 1
        if not stack[-1]:
            stack.pop()
            continue
        row, sums = stack[-1].pop()
        nodes += 1
        if nodes > most_nodes:
            raise TooManyStatesError(
                f"{most_nodes} partial choices of plans for {len(order)} cars did not settle which "
                "is best: choose by price"
            )
        if (sums + to_come[at + 1] > limits).any():
            continue  # the limits have been lowered since
        chosen[order[at]] = row
        if at + 1 == len(order):
            yield chosen.copy()
        else:
            stack.append(children(at + 1, sums))


def _kinds(fleet: Fleet) -> Ints:
    """A number for every car, the same for those that are alike."""
    known: dict[bytes, int] = {}
    r = fleet.rows
    columns = np.array(
        [r.base, r.factor, r.fixed_s, r.edge_s, r.air_s, r.server, r.cell, fleet.slack_s,
         fleet.most_stage_s]
    )  # fmt: skip
    parts = np.split(columns, fleet.starts[1:], axis=1)
    return np.array([known.setdefault(part.tobytes(), len(known)) for part in parts])


def needs(terms: Terms, weights: Prices) -> Floats:
    """What each row needs of servers and cells at least, weighted, ``(n,)``.

    The weights are given by their roots, whose squares add up to 1: then the rows of a choice fit
    only if their needs add up to 1 or less.
    """
    return terms.sharing_alone.at(weights).cost


def packing_weights(fleet: Fleet, terms: Terms, steps: int = 60) -> tuple[float, Prices]:
    """The weights with which the least that all cars need is the most, as far as found.

    Returns:
        That least, above 1 if no choice fits; and the roots of the weights.
    """
    servers = len(fleet.servers)
    weights = np.full(servers + len(fleet.cells), 1.0)
    weights /= weights.sum()
    terms = terms.sharing_alone
    best = -np.inf, Prices(np.sqrt(weights[:servers]), np.sqrt(weights[servers:]))
    for step in range(steps):
        roots = np.sqrt(weights)
        prices = Prices(roots[:servers], roots[servers:])
        bids = terms.at(prices)
        least = float(np.minimum.reduceat(bids.cost, fleet.starts).sum())
        if least > best[0]:
            best = least, prices
        if not np.isfinite(least):
            break
        mine = cheapest(fleet, bids.cost)
        chosen = type(bids)(*(column[mine] for column in bids))
        pulls = np.concatenate(loads_of(chosen, terms.take(mine), fleet))
        loads = np.divide(pulls, roots, out=np.zeros(len(roots)), where=roots > 0)
        if not loads.any():
            break
        weights = weights * np.maximum(loads / loads.max(), 1e-3) ** (2 / (1 + step / 5))
        weights = np.maximum(weights / weights.sum(), 1e-9)
        weights /= weights.sum()
    return best


def around(weights: Prices) -> list[Prices]:
    """These weights, and some that favour each server and cell; as roots, squares add up to 1."""
    roots = np.concatenate(weights)
    found = [roots]
    for k in range(len(roots)):
        for factor in (0.7, 1.4):
            moved = roots.copy()
            moved[k] *= factor
            found.append(moved / np.linalg.norm(moved))
        found.append(np.eye(len(roots))[k])
    return [Prices(v[: len(weights.edge)], v[len(weights.edge) :]) for v in found]


def cheapest(fleet: Fleet, cost: Floats) -> Ints:
    """The row of each car with the lowest cost, ``(cars,)``; of equals the first."""
    lowest = np.minimum.reduceat(cost, fleet.starts)
    hits = np.flatnonzero(cost == lowest[fleet.car_of])
    owner = fleet.car_of[hits]
    return hits[np.flatnonzero(np.diff(owner, prepend=-1))]


FITS = 1 + ROUNDING
"""The limit of what rows that fit may need."""
