"""The prices of a fleet's edge servers and cells, from what its cars ask for.

What a car is told is what the others ask for (``planning.tolls``), without its own part: one that
has its server to itself is told nothing and plans as if alone. Cars are told in turn. Each changes
its plan if that lowers what all together pay beside the others' plans as they are, the rule of
``planning.fleet.polish``. Told all at once, like cars would all leave, and all come back.

No clock and no socket: the live node and simulated fleets drive it.

>>> prices = FleetPrices(FleetSettings(), epoch=1)
>>> for car in ("car1", "car2"):
...     prices.hear(0.0, car, Demand({"edge": 0.25}, 0.5, edge_gain_s=0.1))
>>> prices.advance(0.0)
['car1']
>>> prices.posted("car1").edge, prices.posted("car2").edge
({'edge': (0.5, 0.25, 0.125, 0.2)}, {'edge': (0.0, 0.0, 0.0, inf)})
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean

from dapdee_ros.core.expiring import VALID_BOUNDS_S
from dapdee_ros.core.fair_queue import SHARE_BOUNDS
from dapdee_ros.core.fleet_car import NOTHING, Demand, Posted, Sums
from dapdee_ros.core.settings import check_settings, setting
from dapdee_ros.planning.errors import FleetError
from dapdee_ros.planning.tolls import MOST_LOAD, MOST_PULL

_SWEEP = 64
"""Most turns until every car has had one: of more cars, several have their turn together."""


@dataclass(frozen=True)
class FleetSettings:
    """How prices are made.

    Raises:
        SettingError: at construction, for an invalid value.
    """

    turn_s: float = setting(
        0.1,
        "Seconds between two cars' turns. In its turn a car is told what the others ask for now "
        "and may change its plan; a message there and back has to be quicker.",
        unit="s",
        bounds=(0.01, 10.0),
        note="seconds between two cars' turns to hear what the others ask for",
    )
    valid_s: float = setting(
        5.0,
        "Seconds for which prices and shares hold. A car that hears no new ones plans alone, and "
        "the edge goes back to its own shares.",
        unit="s",
        bounds=VALID_BOUNDS_S,
        live=True,
        note="seconds for which prices and shares hold; then cars plan alone",
    )

    def __post_init__(self) -> None:
        check_settings(self)


class FleetPrices:
    """Follows what cars ask for, turn by turn. The caller passes the time, in s.

    Attributes:
        settings: may be replaced between two turns.
        epoch: number of this run, higher than that of any before it.
        number: counts the turns.
    """

    def __init__(self, settings: FleetSettings, epoch: int) -> None:
        self.settings = settings
        self.epoch, self.number = epoch, 0
        self._heard: dict[str, tuple[float, Demand]] = {}
        self._told: dict[str, tuple[dict[str, Sums], dict[str, Sums]]] = {}
        self._last = ""

    @property
    def demands(self) -> dict[str, Demand]:
        """What cars asked for last, of those that still do."""
        return {car: demand for car, (_, demand) in self._heard.items()}

    def hear(self, now_s: float, car: str, demand: Demand) -> None:
        """A car says what it asks for; that holds for as long as prices do.

        Raises:
            FleetError: if it makes no sense; then what it said last stays.
        """
        if fault := demand.fault:
            raise FleetError(f"{car}: {fault}")
        self._heard[car] = now_s, demand
        if car not in self._told:
            self._told[car] = dict.fromkeys(demand.edge_pulls, NOTHING), {}

    def advance(self, now_s: float) -> list[str]:
        """The next turn.

        Returns:
            Whose it is: the cars that ``posted`` has news for, by name.
        """
        self.number += 1
        oldest_s = now_s - self.settings.valid_s
        self._heard = {car: heard for car, heard in self._heard.items() if heard[0] > oldest_s}
        self._told = {car: told for car, told in self._told.items() if car in self._heard}
        cars = sorted(self._heard)
        if not cars:
            return []
        after = [car for car in cars if car > self._last]
        turn = (after + cars)[: math.ceil(len(cars) / _SWEEP)]
        self._last = turn[-1]
        edge, air = self._sums()
        for car in turn:
            demand = self._heard[car][1]
            cells = [demand.cell] if demand.cell else []
            self._told[car] = (
                {name: edge[name].without(car) for name in demand.edge_pulls},
                {name: air[name].without(car) for name in cells},
            )
        return turn

    def of(self, server: str) -> Sums:
        """What all cars ask for of an edge server."""
        return self._sums()[0][server].without()

    def of_cell(self, cell: str) -> Sums:
        """What all cars ask for of a cell."""
        return self._sums()[1][cell].without()

    def posted(self, car: str) -> Posted:
        """What to tell a car: what the others asked for when it had its last turn."""
        edge, air = self._told.get(car, ({}, {}))
        return Posted(self.epoch, self.number, self.settings.valid_s, edge, air)

    def shares(self, server: str) -> dict[str, float]:
        """The shares of its time that an edge server is to give cars (``core.fair_queue``).

        In proportion to their pulls (``planning.fleet.shares``), their mean being 1, which is what
        a car has that is not named: one that sends nothing so far.
        """
        pulls = {
            car: pull
            for car, demand in self.demands.items()
            if (pull := demand.edge_pulls.get(server, 0.0)) > 0
        }
        if not pulls:
            return {}
        mean, (low, high) = fmean(pulls.values()), SHARE_BOUNDS
        return {car: min(max(pull / mean, low), high) for car, pull in pulls.items()}

    def _sums(self) -> tuple[defaultdict[str, _Place], defaultdict[str, _Place]]:
        """What all cars ask for, by edge server and by cell."""
        edge: defaultdict[str, _Place] = defaultdict(_Place)
        air: defaultdict[str, _Place] = defaultdict(_Place)
        for car, demand in self.demands.items():
            load, gain_s = demand.edge_load, demand.edge_gain_s
            for name, pull in demand.edge_pulls.items():
                if pull and load:
                    edge[name].add(car, load, pull, gain_s / load)
            if demand.cell and demand.air_load:
                air[demand.cell].add(car, demand.air_load, demand.air_pull, math.inf)
        return edge, air


class _Place:
    """What cars ask for of one edge server or cell."""

    def __init__(self) -> None:
        self._of: dict[str, tuple[float, float, float]] = {}
        self._load = self._pull = self._work = 0.0
        # The car that gains least for its load, what it gains, and what the next one does.
        self._least = ("", math.inf, math.inf)

    def add(self, car: str, load: float, pull: float, gain: float) -> None:
        """One more car."""
        self._of[car] = load, pull, load * pull
        self._load += load
        self._pull += pull
        self._work += load * pull
        who, least, next_least = self._least
        if gain < least:
            self._least = car, gain, least
        else:
            self._least = who, least, min(next_least, gain)

    def without(self, car: str = "") -> Sums:
        """The sums over all but one, less the rounding, and no more than a car believes."""
        load, pull, work = self._of.get(car, (0.0, 0.0, 0.0))
        load = min(max(self._load - load, 0.0), MOST_LOAD)
        pull = min(max(self._pull - pull, 0.0), MOST_PULL)
        work = min(max(self._work - work, 0.0), load * pull)
        who, least, next_least = self._least
        if len(self._of) == (car in self._of):
            return NOTHING
        return load, pull, work, next_least if car == who else least
