"""The exact joint choice where deadlines bind: a floor under what each car must be given."""

from __future__ import annotations

import numpy as np

from dapdee_ros.planning.candidates import Floats, Ints
from dapdee_ros.planning.fleet.fleet import Fleet, JointChoice
from dapdee_ros.planning.fleet.priced import Prices, Terms
from dapdee_ros.planning.fleet.rows import NOBODY, Rows
from dapdee_ros.planning.fleet.search import FITS, around, choices, needs, packing_weights
from dapdee_ros.planning.fleet.shares import best_shares, least_load

_LEFT_OVER = 1e-6


def cheapest_in_time(
    fleet: Fleet, best: JointChoice | None, prices: Prices, least_cost: float
) -> JointChoice | None:
    """The choice with the lowest sum of costs that keeps every deadline.

    Args:
        fleet: the cars.
        best: any choice that keeps them.
        prices: roots of prices to bound with.
        least_cost: a bound that is known already.

    Returns:
        None if there is none.

    Raises:
        TooManyStatesError: if the search does not come to an end.
    """
    terms = Terms.of(fleet)
    tried = [prices, *(prices.times(factor) for factor in (0.6, 0.8, 1.25, 1.6))]
    costs = np.array([terms.at(one).cost for one in tried])
    paid = np.array([float((np.concatenate(one) ** 2).sum()) for one in tried])
    potentials = np.concatenate([costs, _all_needs(fleet, terms)])
    potentials[:, ~fleet.possible] = np.inf
    limits = np.full(len(potentials), FITS)
    limits[: len(paid)] = np.inf

    def lower(cost: float) -> None:
        limits[: len(paid)] = cost * (1 - 1e-10) + paid

    if best is not None:
        if best.total_cost <= least_cost * (1 + 1e-10):
            return best
        lower(best.total_cost)
    for rows in choices(fleet, potentials, limits):
        found = best_shares(fleet, rows)
        if found is not None and (best is None or found.total_cost < best.total_cost):
            best = found
            lower(best.total_cost)
    return best


def fewest_late(fleet: Fleet) -> tuple[int, ...]:
    """A smallest set of cars without whose deadlines all others can be kept, as indices.

    What the late ones get does not count here: they may do without servers and cells, or take what
    is left over.

    Raises:
        TooManyStatesError: if the search does not come to an end.
    """
    late = Rows.of((0, 1, 0, 0, 0, NOBODY, NOBODY))
    cars = []
    for car, mine in zip(fleet.cars, np.split(fleet.possible, fleet.starts[1:]), strict=True):
        rows = Rows.join([car.rows.take(np.flatnonzero(mine)), late])
        cars.append(type(car)(car.name, rows, car.deadline_s, car.most_stage_s, car.nearest))
    with_late = Fleet(tuple(cars), fleet.servers, fleet.cells)
    last = with_late.starts + with_late.counts - 1
    terms = Terms.of(with_late)
    needed = _all_needs(with_late, terms)
    count = np.zeros(len(terms.base))
    count[last] = 1.0
    # Among choices with as many late cars that which needs least is the most promising.
    potentials = np.concatenate([[count + 1e-6 * np.minimum(needed[0], 1.0)], [count], needed])
    limits = np.full(len(potentials), FITS)
    limits[:2] = np.inf, len(cars)
    fewest = tuple(range(len(cars)))
    for chosen in choices(with_late, potentials, limits):
        packing = least_load(with_late, terms.take(chosen))
        found = tuple(np.flatnonzero(chosen == last).tolist())
        # The late ones may need something, too: a little has to be left over.
        if packing.fits and not (found and packing.load > 1 - _LEFT_OVER):
            if len(found) < len(fewest):
                fewest = found
            if not fewest:
                break
            limits[1] = len(fewest) - 1
    return fewest


def _all_needs(fleet: Fleet, terms: Terms) -> Floats:
    """What each row needs at several weights, ``(weights, n)``."""
    _, weights = packing_weights(fleet, terms)
    return np.array([needs(terms, one) for one in around(weights)])


def first_fit(fleet: Fleet) -> Ints | None:
    """A choice of rows, ``(cars,)``, that keeps every deadline; None if there is none.

    Raises:
        TooManyStatesError: if the search does not come to an end.
    """
    terms = Terms.of(fleet)
    potentials = _all_needs(fleet, terms)
    potentials[:, ~fleet.possible] = np.inf
    for rows in choices(fleet, potentials, np.full(len(potentials), FITS)):
        if least_load(fleet, terms.take(rows)).fits:
            return rows
    return None
