"""Iterative alternating optimisation (IAO) of plans and shares, for the slowest car.

X. Tang, X. Chen, L. Zeng, S. Yu, L. Chen: Joint Multi-User DNN Partitioning and Computational
Resource Allocation for Collaborative Edge Intelligence, arXiv 2007.09072. The server's power is
divided into units. For given units every car takes its best plan; then a unit goes from the car
that can spare it best to the car that is worst off, and so on until that helps nobody. What was
decided where the paper leaves it open is in docs/fidelity.md.
"""

from __future__ import annotations

import numpy as np

from dapdee_ros.planning.candidates import Floats, Ints
from dapdee_ros.planning.errors import FleetError
from dapdee_ros.planning.fleet.baselines import equal_shares_of
from dapdee_ros.planning.fleet.fleet import Fleet, JointChoice, joint_choice
from dapdee_ros.planning.fleet.rows import NOBODY
from dapdee_ros.planning.fleet.search import cheapest

UNITS = 100


def iao(fleet: Fleet, units: int = UNITS) -> JointChoice:
    """Plans and units of each server's power that make the highest cost of a car low.

    Every car uses its nearest server, and its cell is shared equally: the paper has one server and
    a link for each car.

    Args:
        fleet: the cars.
        units: parts that a server's power is divided into.

    Raises:
        FleetError: if there are more cars at a server than units.
    """
    near = np.array([car.nearest for car in fleet.cars])
    members = [np.flatnonzero(near == server) for server in range(len(fleet.servers))]
    most = max(len(cars) for cars in members)
    if most > units:
        raise FleetError(f"{most} cars at a server cannot have one of {units} units each")
    rows, cost = _best_plans(fleet, units)
    have = np.zeros(len(near), np.intp)
    for cars in members:
        if not len(cars):
            continue
        have[cars] = units // len(cars)
        have[cars[: units % len(cars)]] += 1
        # Each step lowers the highest cost or the number of cars that have it.
        for _ in range(units * len(cars)):
            now = cost[cars, have[cars]]
            worst = int(now.argmax())
            spare = np.where(have[cars] > 0, cost[cars, have[cars] - 1], np.inf)
            spare[worst] = np.inf
            giver = int(spare.argmin())
            gets = cost[cars[worst], have[cars[worst]] + 1 : units + 1]
            # More than one unit may be needed before another plan is worth it.
            if not len(gets) or max(spare[giver], gets[0]) >= now[worst]:
                break
            have[cars[worst]] += 1
            have[cars[giver]] -= 1
    every = np.arange(len(near))
    return joint_choice(fleet, rows[every, have], have / units, equal_shares_of(fleet)[1])


def _best_plans(fleet: Fleet, units: int) -> tuple[Ints, Floats]:
    """Each car's best row and its cost with 0 to all units, ``(cars, units + 1)`` each."""
    r = fleet.rows
    near = np.array([car.nearest for car in fleet.cars])[fleet.car_of]
    air = equal_shares_of(fleet)[1][fleet.car_of]
    allowed = (r.server == near) | (r.server == NOBODY)
    on_air = np.divide(r.air_s, air, out=np.zeros(len(air)), where=r.air_s > 0)
    rows, costs = [], []
    for have in range(units + 1):
        if have:
            cost = r.base + r.factor * (r.edge_s * units / have + on_air)
        else:
            cost = np.where(r.edge_s > 0, np.inf, r.base + r.factor * on_air)
        best = cheapest(fleet, np.where(allowed, cost, np.inf))
        rows.append(best)
        costs.append(np.where(allowed, cost, np.inf)[best])
    return np.array(rows).T, np.array(costs).T
