"""The exact joint choice in which the car that is worst off is as well off as can be.

With a highest cost T the seconds on edge server and air that a row may take are limited by
(T - base) / factor, as a deadline limits them. So T is possible if some choice fits, and the lowest
is looked for from above: from a choice its own best T, then a choice that is possible below it.
"""

from __future__ import annotations

import numpy as np

from dapdee_ros.planning.candidates import Floats, Ints
from dapdee_ros.planning.fleet.fleet import Fleet, JointChoice, joint_choice
from dapdee_ros.planning.fleet.priced import Terms
from dapdee_ros.planning.fleet.search import (
    FITS,
    around,
    cheapest,
    choices,
    needs,
    packing_weights,
)
from dapdee_ros.planning.fleet.shares import least_load

_SAME = 1e-10


def least_worst(fleet: Fleet, start: Ints) -> JointChoice:
    """The choice with the lowest highest cost of a car that keeps every deadline.

    Args:
        fleet: the cars.
        start: any choice that keeps them.

    Raises:
        TooManyStatesError: if the search does not come to an end.
    """
    terms = Terms.of(fleet)
    best = level(fleet, start)
    low = _relaxed(fleet, terms, best.worst_cost)
    while best.worst_cost > low * (1 + _SAME):
        below = best.worst_cost * (1 - _SAME)
        limited = limited_to(terms, below)
        _, weights = packing_weights(fleet, limited)
        potentials = np.array([needs(limited, one) for one in around(weights)])
        found: JointChoice | None = None
        for rows in choices(fleet, potentials, np.full(len(potentials), FITS)):
            if least_load(fleet, limited.take(rows)).fits:
                tried = level(fleet, rows)
                # Up to rounding, the best so far fits, too.
                if tried.worst_cost < below:
                    found = tried
                    break
        if found is None:
            break
        best = found
    return joint_choice(
        fleet, best.rows, best.edge_share, best.air_share, min(best.worst_cost, low)
    )


def limited_to(terms: Terms, highest: float) -> Terms:
    """The rows where none may cost more than this."""
    with np.errstate(divide="ignore", invalid="ignore"):
        room_s = (highest - terms.base) / terms.factor_root**2
    room_s = np.where(terms.factor_root > 0, room_s, np.inf)
    room_s[terms.base > highest] = -1.0
    return terms._replace(slack_s=np.minimum(terms.slack_s, room_s))


def level(fleet: Fleet, rows: Ints) -> JointChoice:
    """The shares with which the worst off of these rows, ``(cars,)``, is best off."""
    terms = Terms.of(fleet, rows)
    r = fleet.rows
    low = float((r.base + r.factor * (r.edge_s + r.air_s))[rows].max())
    packing = least_load(fleet, limited_to(terms, low))
    high = low
    while not packing.fits:
        low, high = high, 2 * high + 1e-12
        packing = least_load(fleet, limited_to(terms, high))
        if high > 1e30:
            # Not the cost stands in the way but a deadline.
            packing = least_load(fleet, terms)
            break
    while high - low > _SAME / 10 * high and high < 1e30:
        middle = (low + high) / 2
        tried = least_load(fleet, limited_to(terms, middle))
        if tried.fits:
            high, packing = middle, tried
        else:
            low = middle
    spare_edge, spare_air = (
        _spare(of, share, count)
        for of, share, count in (
            (terms.server, packing.edge_share, len(fleet.servers)),
            (terms.cell, packing.air_share, len(fleet.cells)),
        )
    )
    return joint_choice(fleet, rows, packing.edge_share * spare_edge, packing.air_share * spare_air)


def _spare(of: Ints, share: Floats, count: int) -> Floats:
    """By how much each car's share can rise until its server or cell is given away, ``(cars,)``."""
    there = of >= 0
    total = np.bincount(of[there], share[there], count)
    return np.append(np.divide(1.0, total, out=np.ones(count), where=total > 0), 1.0)[of]


def _relaxed(fleet: Fleet, terms: Terms, high: float) -> float:
    """A cost below which no choice fits, by the bound alone."""
    low = float(np.minimum.reduceat(terms.base, fleet.starts).max())
    if packing_weights(fleet, limited_to(terms, low))[0] <= FITS:
        return low
    for _ in range(40):
        middle = (low + high) / 2
        if packing_weights(fleet, limited_to(terms, middle), 25)[0] > FITS:
            low = middle
        else:
            high = middle
        if high - low <= 1e-6 * high:
            break
    return low


def lightest(fleet: Fleet, highest: float) -> Ints:
    """The row of each car that needs least where none may cost more than this, ``(cars,)``."""
    limited = limited_to(Terms.of(fleet), highest)
    _, weights = packing_weights(fleet, limited)
    return cheapest(fleet, needs(limited, weights))
