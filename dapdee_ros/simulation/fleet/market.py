"""Cars that each choose for themselves at the prices of a fleet node, as live cars do.

The prices are those of the live node's core, turn by turn; in its turn a car takes the row that
costs least beside the others (``planning.tolls``) and says what that asks for. Unlike a live car,
which measures the rate of its link while others send, a simulated one knows what it would have with
its cell to itself, so waiting on the air is added like that at the edge server.
"""

from __future__ import annotations

import numpy as np

from dapdee_ros.core.fleet_car import NOTHING, Demand, Posted
from dapdee_ros.core.fleet_prices import FleetPrices, FleetSettings
from dapdee_ros.planning.candidates import Floats, Ints
from dapdee_ros.planning.fleet.fleet import Fleet, FleetCar, JointChoice, joint_choice
from dapdee_ros.planning.tolls import MOST_LOAD, Others


class Market:
    """A fleet node and the cars that heed it.

    Attributes:
        prices: the node's core.
    """

    def __init__(self, settings: FleetSettings | None = None) -> None:
        self.prices = FleetPrices(settings or FleetSettings(), epoch=1)

    def choose(self, fleet: Fleet, now_s: float, turns: int = 1) -> JointChoice:
        """Some turns, and what the cars do after the last one.

        Args:
            fleet: the cars; ``most_stage_s`` is the time between a car's frames.
            now_s: when the last turn is.
            turns: how many, the node's ``turn_s`` apart.
        """
        cars = {car.name: _Car(fleet, n) for n, car in enumerate(fleet.cars)}
        turn_s = self.prices.settings.turn_s
        began_s = now_s - turns * turn_s
        for name, car in cars.items():
            car.choose(self.prices.posted(name))
            self.prices.hear(began_s, name, car.demand)
        for turn in range(1, turns + 1):
            at_s = began_s + turn * turn_s
            for name in self.prices.advance(at_s):
                if name in cars:
                    cars[name].choose(self.prices.posted(name))
                    self.prices.hear(at_s, name, cars[name].demand)
        for name, car in cars.items():
            self.prices.hear(now_s, name, car.demand)
        rows = np.array([car.row for car in cars.values()])
        shares = np.array([car.shares for car in cars.values()])
        return joint_choice(fleet, rows, shares[:, 0], shares[:, 1])


class _Car:
    """One car's rows, and what it chose."""

    def __init__(self, fleet: Fleet, number: int) -> None:
        car: FleetCar = fleet.cars[number]
        self._first = int(fleet.starts[number])
        self._rows = r = car.rows
        self._names = fleet.servers, fleet.cells
        self._slack_s = car.deadline_s - r.fixed_s
        self._most_stage_s = car.most_stage_s
        self._used = (
            _Used(r.server, r.edge_s, r.factor, car.most_stage_s),
            _Used(r.cell, r.air_s, r.factor, car.most_stage_s),
        )
        self.row = self._first
        self.shares = (0.0, 0.0)
        self.demand = Demand({})

    def choose(self, posted: Posted) -> None:
        """Take what costs least beside the others."""
        r = self._rows
        cost = r.base.copy()
        stay_s = np.zeros((2, len(r)))
        waits = np.zeros((2, len(r)))
        for k, (used, told) in enumerate(zip(self._used, (posted.edge, posted.air), strict=True)):
            cost += used.pull**2
            for place, name in enumerate(self._names[k]):
                here = used.of == place
                if here.any():
                    others = Others(*told.get(name, NOTHING))
                    pull, load = used.pull[here], used.load[here]
                    cost[here] += pull * others.wait + others.lose_each(pull, load)
                    waits[k, here] = others.wait
            stay_s[k] = used.seconds * (1 + _over(waits[k], used.pull))
        late = stay_s.sum(axis=0) > self._slack_s
        late |= np.maximum(self._used[0].seconds, self._used[1].seconds) > self._most_stage_s
        if not late.all():  # a car that can have nothing in time takes as long as it takes
            cost[late] = np.inf
        at = int(cost.argmin())
        self.row = self._first + at
        edge, air = self._used
        self.shares = edge.share(at, waits[0, at]), air.share(at, waits[1, at])
        servers, cells = self._names
        pulls = {servers[s]: 0.0 for s in sorted(set(r.server.tolist()) - {-1})}
        if r.server[at] >= 0:
            pulls[servers[r.server[at]]] = float(edge.pull[at])
        cell = int(r.cell.max())
        home = r.server < 0
        own = r.base[at] + edge.pull[at] * (edge.pull[at] + waits[0, at])
        own += air.pull[at] * (air.pull[at] + waits[1, at])
        gain_s = r.base[home].min() - own if home.any() else MOST_LOAD
        self.demand = Demand(
            pulls,
            float(edge.load[at]),
            float(min(max(gain_s, 0.0), MOST_LOAD)) if r.server[at] >= 0 else 0.0,
            cells[cell] if cell >= 0 else "",
            float(air.pull[at]),
            float(air.load[at]),
        )


class _Used:
    """What a car's rows ask for of servers, or of cells, ``(n,)`` each."""

    def __init__(self, of: Ints, seconds: Floats, factor: Floats, interval_s: float) -> None:
        self.of, self.seconds = of, seconds
        self.pull = np.sqrt(factor * seconds)
        full = factor.max()
        # A gate ends the same share of the frames before the server and before its cost.
        self.load = seconds * (factor / full if full > 0 else 1.0) / interval_s

    def share(self, at: int, wait: float) -> float:
        """The share that a row has in the mean while it is there; 0 if it asks for nothing."""
        pull = float(self.pull[at])
        return pull / (pull + wait) if pull > 0 else 0.0


def _over(value: Floats, by: Floats) -> Floats:
    return np.divide(value, by, out=np.zeros(len(by)), where=by > 0)
