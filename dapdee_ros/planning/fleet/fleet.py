"""The cars of a fleet with their plans, laid out flat, and a joint choice for all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from dapdee_ros.planning.candidates import Bools, Floats, Ints
from dapdee_ros.planning.errors import FleetError
from dapdee_ros.planning.fleet.rows import Rows


@dataclass(frozen=True)
class FleetCar:
    """One car.

    Attributes:
        name: its name in messages.
        rows: its plans, over every edge server that it can use.
        deadline_s: seconds that a frame may take.
        most_stage_s: seconds that the edge server and the cell may each take for a frame at the
            car's share: the time between its frames, or they pile up.
        nearest: index of the edge server that is nearest, for those who take no other.

    Raises:
        FleetError: at construction, for a deadline or stage that is not above 0.
    """

    name: str
    rows: Rows
    deadline_s: float = math.inf
    most_stage_s: float = math.inf
    nearest: int = 0

    def __post_init__(self) -> None:
        if not (self.deadline_s > 0 and self.most_stage_s > 0):
            raise FleetError(
                f"{self.name}: deadline_s and most_stage_s are {self.deadline_s} and "
                f"{self.most_stage_s}; expected numbers above 0"
            )


@dataclass(frozen=True)
class Fleet:
    """Cars that share edge servers and cells. Rows of all cars stand one after the other.

    Attributes:
        cars: the cars.
        servers: names of the edge servers.
        cells: names of the radio cells.

    Raises:
        FleetError: at construction, for no car, or a plan over a server or cell that there is not.
    """

    cars: tuple[FleetCar, ...]
    servers: tuple[str, ...] = ("edge",)
    cells: tuple[str, ...] = ("cell",)

    def __post_init__(self) -> None:
        if not self.cars:
            raise FleetError("a fleet needs one car or more")
        for used, there, what in (
            (self.rows.server, self.servers, "edge server"),
            (self.rows.cell, self.cells, "cell"),
        ):
            if used.max() >= len(there):
                raise FleetError(
                    f"a plan uses {what} {used.max()}, there are {len(there)}, counted from 0"
                )

    @cached_property
    def rows(self) -> Rows:
        """All cars' rows, ``(n,)`` each."""
        return Rows.join([car.rows for car in self.cars])

    @cached_property
    def counts(self) -> Ints:
        """How many rows each car has, ``(cars,)``."""
        return np.array([len(car.rows) for car in self.cars])

    @cached_property
    def starts(self) -> Ints:
        """Where each car's rows begin, ``(cars,)``."""
        return np.concatenate([[0], np.cumsum(self.counts)[:-1]])

    @cached_property
    def car_of(self) -> Ints:
        """Whose each row is, ``(n,)``."""
        return np.repeat(np.arange(len(self.cars)), self.counts)

    @cached_property
    def slack_s(self) -> Floats:
        """Seconds that are left for edge server and cell until the deadline, ``(n,)``."""
        return np.array([c.deadline_s for c in self.cars])[self.car_of] - self.rows.fixed_s

    @cached_property
    def most_stage_s(self) -> Floats:
        """``FleetCar.most_stage_s`` of each row's car, ``(n,)``."""
        return np.array([c.most_stage_s for c in self.cars])[self.car_of]

    @cached_property
    def possible(self) -> Bools:
        """Which rows could keep the deadline and keep up with nobody else there, ``(n,)``."""
        rows = self.rows
        busiest_s = np.maximum(rows.edge_s, rows.air_s)
        fits = rows.edge_s + rows.air_s <= self.slack_s
        return np.asarray(fits & (busiest_s <= self.most_stage_s))

    @cached_property
    def hopeless(self) -> Ints:
        """The cars that have no possible row, as indices."""
        return np.flatnonzero(~np.logical_or.reduceat(self.possible, self.starts))

    def without_deadlines(self, cars: Sequence[int]) -> Fleet:
        """The same where these cars may take as long as they take."""
        late = set(cars)
        return replace(
            self,
            cars=tuple(
                replace(car, deadline_s=math.inf, most_stage_s=math.inf) if i in late else car
                for i, car in enumerate(self.cars)
            ),
        )

    def only(self, keep: Bools) -> tuple[Fleet, Ints]:
        """The same with some of the rows; and which they are, ``(kept,)``.

        Raises:
            FleetError: if a car is left without any.
        """
        cars = [
            replace(car, rows=car.rows.take(np.flatnonzero(mine)))
            for car, mine in zip(self.cars, np.split(keep, self.starts[1:]), strict=True)
        ]
        return replace(self, cars=tuple(cars)), np.flatnonzero(keep)

    @cached_property
    def reduced(self) -> tuple[Fleet, Ints]:
        """What there is to choose from: the possible rows, and which they are, ``(kept,)``.

        A car that has none may take as long as it takes.
        """
        fleet = self.without_deadlines(self.hopeless.tolist())
        return fleet.only(fleet.possible)

    def as_chosen(self, choice: JointChoice, numbers: Ints) -> JointChoice:
        """A choice from some of the rows as one of this fleet; ``numbers`` says which they are."""
        return joint_choice(
            self, numbers[choice.rows], choice.edge_share, choice.air_share, choice.bound
        )


@dataclass(frozen=True)
class JointChoice:
    """A plan for every car, with shares; arrays are ``(cars,)``.

    Attributes:
        rows: the chosen rows, counted over the whole fleet.
        edge_share: share of its edge server that each car has; 0 where it uses none.
        air_share: share of its cell likewise.
        cost: what each car's plan costs with these shares.
        latency_s: what a frame of it takes that no gate ends.
        late: names of the cars whose deadline is not met.
        bound: what no joint choice can cost less than, by the same measure; 0 if that is not known.
    """

    rows: Ints
    edge_share: Floats
    air_share: Floats
    cost: Floats
    latency_s: Floats
    late: tuple[str, ...] = ()
    bound: float = 0.0

    @property
    def total_cost(self) -> float:
        """Sum over the cars."""
        return float(self.cost.sum())

    @property
    def worst_cost(self) -> float:
        """That of the car that is worst off."""
        return float(self.cost.max())


# Shares and times are sums of rounded numbers.
ROUNDING = 1e-9


def joint_choice(
    fleet: Fleet, rows: Ints, edge_share: Floats, air_share: Floats, bound: float = 0.0
) -> JointChoice:
    """What a choice of rows costs with given shares, ``(cars,)`` each."""
    r = fleet.rows
    with np.errstate(divide="ignore", invalid="ignore"):
        stay_s = [
            np.where(used_s[rows] > 0, used_s[rows] / share, 0.0)
            for used_s, share in ((r.edge_s, edge_share), (r.air_s, air_share))
        ]
    both_s = stay_s[0] + stay_s[1]
    cost = r.base[rows] + np.where(both_s > 0, r.factor[rows] * both_s, 0.0)
    late = both_s > fleet.slack_s[rows] + ROUNDING * np.abs(r.fixed_s[rows] + both_s)
    late |= np.maximum(*stay_s) > fleet.most_stage_s[rows] * (1 + ROUNDING)
    return JointChoice(
        rows,
        np.where(r.edge_s[rows] > 0, edge_share, 0.0),
        np.where(r.air_s[rows] > 0, air_share, 0.0),
        cost,
        r.fixed_s[rows] + both_s,
        tuple(fleet.cars[i].name for i in np.flatnonzero(late)),
        bound,
    )
