"""Joint choices where a share is used only while its car is there, as work-conserving servers work.

With reserved shares a frame of e seconds takes e / f at a share f, whether or not anybody else is
there. Weighted fair queueing gives a car what the others leave: where each of them is there for a
share p of the time, the frame takes about

    (1 - p) * e + p * e / f,

which is e on an idle server and e / f where everybody always has a frame there. (With equal cars
and Little's law, p = rate * time there, this is e / (1 - load), what processor sharing takes; and
it ends at reserved shares where that would be more than there is.) So a choice with presence is one
with reserved shares over rows in which p * e of the server's and cell's seconds are shared and the
rest is the car's own. What p is depends on the choice: it is iterated, by price.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from dapdee_ros.planning.candidates import Floats, Ints
from dapdee_ros.planning.fleet.fleet import Fleet, JointChoice
from dapdee_ros.planning.fleet.price import by_price
from dapdee_ros.planning.fleet.priced import sum_at
from dapdee_ros.planning.fleet.rows import Rows

_ROUNDS = 6
_PRICE_ROUNDS = 20
_STEPS = 20
# Others who are never there would make shares a matter of taste.
_LEAST = 0.01
_MOST_LOAD = 0.95


def with_presence(choose: Callable[[Fleet], JointChoice], fleet: Fleet) -> JointChoice:
    """A joint choice for servers and cells that work for whoever is there.

    Args:
        choose: chooses with reserved shares.
        fleet: the cars; ``most_stage_s`` is the time between a car's frames, one without an end
            counts as always there.

    Returns:
        The choice. Its shares are those that a car has while it is there, in the mean, and add up
        to more than 1 where the others are not always there.
    """
    edge, air = presences(fleet)
    r = fleet.rows
    while True:
        found = choose(_weighed(fleet, edge, air))
        rows = found.rows
        full_edge = (edge < 1) & (_load(fleet, rows, r.edge_s, r.server, len(edge)) > _MOST_LOAD)
        full_air = (air < 1) & (_load(fleet, rows, r.air_s, r.cell, len(air)) > _MOST_LOAD)
        if not (full_edge.any() or full_air.any()):
            break
        # More would be asked for than there is: then everybody is there all the time.
        edge, air = np.where(full_edge, 1.0, edge), np.where(full_air, 1.0, air)
    return replace(
        found,
        edge_share=_while_there(found.edge_share, edge[r.server[rows]]),
        air_share=_while_there(found.air_share, air[r.cell[rows]]),
    )


def presences(fleet: Fleet) -> tuple[Floats, Floats]:
    """For which share of the time its cars are at each server, and on the air of each cell.

    The mean over the cars by what they ask for, at the choice by price that follows from it.
    """
    edge, air = np.full(len(fleet.servers), 0.5), np.full(len(fleet.cells), 0.5)
    r = fleet.rows
    for k in range(_ROUNDS):
        found = by_price(_weighed(fleet, edge, air), rounds=_PRICE_ROUNDS)
        now_edge = _settled(fleet, found.rows, r.edge_s, found.edge_share, r.server, edge)
        now_air = _settled(fleet, found.rows, r.air_s, found.air_share, r.cell, air)
        step = 2 / (k + 2)
        edge, air = edge + step * (now_edge - edge), air + step * (now_air - air)
    return edge, air


def _weighed(fleet: Fleet, edge: Floats, air: Floats) -> Fleet:
    """The fleet where only the seconds that others are there for are shared."""
    return replace(
        fleet, cars=tuple(replace(car, rows=_rows(car.rows, edge, air)) for car in fleet.cars)
    )


def _rows(rows: Rows, edge: Floats, air: Floats) -> Rows:
    # NOBODY is the last one's index, too, but nobody's seconds are 0.
    edge_s, air_s = edge[rows.server] * rows.edge_s, air[rows.cell] * rows.air_s
    own_s = rows.edge_s - edge_s + rows.air_s - air_s
    return replace(
        rows,
        base=rows.base + rows.factor * own_s,
        fixed_s=rows.fixed_s + own_s,
        edge_s=edge_s,
        air_s=air_s,
    )


def _going_on(fleet: Fleet, rows: Ints) -> Floats:
    """Share of each car's frames that no gate ends: before the server and before its cost alike."""
    full = np.maximum.reduceat(fleet.rows.factor, fleet.starts)
    return np.divide(fleet.rows.factor[rows], full, out=np.ones(len(rows)), where=full > 0)


def _load(fleet: Fleet, rows: Ints, used_s: Floats, of: Ints, count: int) -> Floats:
    """Share of the time for which each server or cell has work."""
    rate_hz = np.array([1 / car.most_stage_s for car in fleet.cars])
    return sum_at(of[rows], _going_on(fleet, rows) * used_s[rows] * rate_hz, count)


def _settled(
    fleet: Fleet, rows: Ints, used_s: Floats, share: Floats, of: Ints, presence: Floats
) -> Floats:
    """Presence that these rows and shares lead to, from a guess on."""
    for _ in range(_STEPS):
        presence = _there(fleet, rows, used_s, share, of, presence)
    return presence


def _there(
    fleet: Fleet, rows: Ints, used_s: Floats, share: Floats, of: Ints, before: Floats
) -> Floats:
    """Presence at each server or cell where the others are there for as long as in ``before``."""
    factor, seconds, where = fleet.rows.factor[rows], used_s[rows], of[rows]
    uses = (share > 0) & (seconds > 0)
    stay_s = np.zeros(len(rows))
    np.divide(seconds, _while_there(share, before[where]), out=stay_s, where=uses)
    interval_s = np.array([car.most_stage_s for car in fleet.cars])
    there = np.minimum(1.0, _going_on(fleet, rows) * stay_s / interval_s)
    there[np.isinf(interval_s)] = 1.0
    pull = np.sqrt(factor * seconds)
    asked = sum_at(np.where(uses, where, -1), pull, len(before))
    met = sum_at(np.where(uses, where, -1), pull * there, len(before))
    return np.clip(np.divide(met, asked, out=np.zeros(len(before)), where=asked > 0), _LEAST, 1.0)


def _while_there(share: Floats, presence: Floats) -> Floats:
    """The share that a car has in the mean while it is there, of one that is reserved."""
    rest = 1 - presence + np.divide(presence, share, out=np.zeros(len(share)), where=share > 0)
    return np.divide(1.0, rest, out=np.zeros(len(share)), where=share > 0)
