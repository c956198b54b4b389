"""What the field beside this does with a fleet, to compare with.

Each gives a choice and shares; costs and deadlines are then those of ``joint_choice``, the same for
all. A deadline does not change what they do, except where their author says so.
"""

from __future__ import annotations

import numpy as np

from dapdee_ros.planning.candidates import Bools, Floats, Ints
from dapdee_ros.planning.errors import FleetError
from dapdee_ros.planning.fleet.fleet import Fleet, JointChoice, joint_choice
from dapdee_ros.planning.fleet.price import by_price
from dapdee_ros.planning.fleet.rows import NOBODY
from dapdee_ros.planning.fleet.search import cheapest


def device_only(fleet: Fleet) -> JointChoice:
    """Every car computes everything itself.

    Raises:
        FleetError: if a car has no plan that sends nothing.
    """
    alone = fleet.rows.server == NOBODY
    _check(fleet, alone, "sends nothing")
    nothing = np.zeros(len(fleet.cars))
    return joint_choice(fleet, _cheapest_of(fleet, alone, fleet.rows.base), nothing, nothing)


def edge_only(fleet: Fleet) -> JointChoice:
    """Every car leaves as much as it can to its nearest edge server, whose shares are equal.

    Of the rows over that server it takes the one with the most seconds there; that is the whole
    network where ``rows_of`` was not asked to leave out dominated rows.
    """
    near = _near(fleet)
    _check(fleet, near, "uses its nearest edge server")
    rows = _cheapest_of(fleet, near, -fleet.rows.edge_s)
    return joint_choice(fleet, rows, *equal_shares_of(fleet))


def equal_shares(fleet: Fleet) -> JointChoice:
    """Every car has the same share of its nearest server and of its cell, and plans with that."""
    edge, air = (share[fleet.car_of] for share in equal_shares_of(fleet))
    r = fleet.rows
    stay_s = np.zeros(len(edge))
    for used_s, share in ((r.edge_s, edge), (r.air_s, air)):
        stay_s += np.divide(used_s, share, out=np.zeros(len(edge)), where=used_s > 0)
    cost = r.base + r.factor * stay_s
    rows = _cheapest_of(fleet, _near(fleet) | (r.server == NOBODY), cost)
    return joint_choice(fleet, rows, *equal_shares_of(fleet))


def each_for_itself(fleet: Fleet) -> JointChoice:
    """Every car plans as if it had servers and cells to itself; who meets there shares equally."""
    r = fleet.rows
    rows = cheapest(fleet, r.base + r.factor * (r.edge_s + r.air_s))
    return joint_choice(fleet, rows, _equally(r.server[rows], r.edge_s[rows] > 0),
                        _equally(r.cell[rows], r.air_s[rows] > 0))  # fmt: skip


def nearest_edge(fleet: Fleet) -> JointChoice:
    """The joint choice by price where no car takes another server than its nearest."""
    part, numbers = fleet.only(_near(fleet) | (fleet.rows.server == NOBODY))
    return fleet.as_chosen(by_price(part), numbers)


def equal_shares_of(fleet: Fleet) -> tuple[Floats, Floats]:
    """Each car's share of its nearest server and of its cell if all have the same, ``(cars,)``."""
    near = np.array([car.nearest for car in fleet.cars])
    cell = np.maximum.reduceat(fleet.rows.cell, fleet.starts)
    return _equally(near, near >= 0), _equally(cell, cell >= 0)


def _equally(of: Ints, uses: Bools) -> Floats:
    """One over how many use the same, ``(cars,)``; 0 for those who use none."""
    count = np.bincount(of[uses], minlength=max(int(of.max()), 0) + 1)
    return np.where(uses, 1 / np.maximum(count[of], 1), 0.0)


def _near(fleet: Fleet) -> Bools:
    near = np.array([car.nearest for car in fleet.cars])[fleet.car_of]
    return np.asarray(fleet.rows.server == near)


def _cheapest_of(fleet: Fleet, allowed: Bools, cost: Floats) -> Ints:
    return cheapest(fleet, np.where(allowed, cost, np.inf))


def _check(fleet: Fleet, allowed: Bools, what: str) -> None:
    without = np.flatnonzero(~np.logical_or.reduceat(allowed, fleet.starts))
    if len(without):
        names = ", ".join(fleet.cars[i].name for i in without[:3])
        raise FleetError(f"no plan of {names} {what}: keep it among the rows of every car")
