"""What a car's rows cost more where others share its edge server and its cell.

A server that works for whoever has a frame, one frame at a time, in shares by the cars' pulls
x = sqrt(worth * seconds), ``worth`` being what a second of waiting counts in a car's objective, and
kept busy for a share ``load`` of the time. With frames of equal length, cars wait on average for

    load * seconds / (2 * (1 - load))

(Pollaczek and Khinchine; L. Kleinrock: Queueing Systems, volume 1, 1975, chapter 5). Where frames
and worths differ, waiting costs a car x * P with

    P = work / (2 * (1 - load)),  work = sum of load_i * x_i over the cars,

which is the same for like cars, and makes each wait by its share. So a row with the pull x and the
load l costs its car x * P beside others who make P, and the others, whose pulls add up to X, their
part of what P rises by: X * (P' - P), P' being that with the row. Both together are the toll: 0
beside nobody, and steep where the server is nearly full. No car waits for more than one frame of
each other one, so P is X at most. And what others lose is no more than what the car of them loses
that gains least there for its load, if it makes room.

The edge server's seconds are known as if nobody else were there. The rate of a link is measured
while others send, so what a frame takes on the air holds the waiting, y^2 + y * P = worth * seconds
with y the car's pull. Only what the others lose is missing in its objective.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dapdee_ros.planning.candidates import Floats
from dapdee_ros.planning.errors import PlanningError

MOST_PULL = 1e3
"""Largest sum of pulls that makes sense, in roots of a second: of a thousand cars with 1 s each."""

MOST_LOAD = 1e3
"""Largest load that makes sense: of a thousand cars that could each keep a server busy."""

_LEFT = 0.05
_NEARLY_FULL = 1 - _LEFT
# What sends nothing waits for nobody, and 0 divided by 0 is no number.
_TINY = 1e-300
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Others:
    """What other cars ask for of an edge server or a cell.

    Attributes:
        load: share of the time for which they would keep it busy.
        pull: sum of their pulls, in roots of a second.
        work: sum of each one's load times its pull, in roots of a second.
        least: the least that one of them gains for its load: seconds that a frame costs it more
            without, over its load. Infinity: that is not known.

    Raises:
        PlanningError: at construction, for numbers that are negative, not finite, far too large, or
            do not belong together.
    """

    load: float = 0.0
    pull: float = 0.0
    work: float = 0.0
    least: float = math.inf

    def __post_init__(self) -> None:
        if fault := self.fault_of(self.load, self.pull, self.work, self.least):
            raise PlanningError(fault)

    @staticmethod
    def fault_of(load: float, pull: float, work: float, least: float) -> str:
        """What is wrong with such numbers, as text; empty if nothing is."""
        for name, value, most in (
            ("load", load, MOST_LOAD), ("pull", pull, MOST_PULL), ("work", work, math.inf),
            ("least gain", least, math.inf),
        ):  # fmt: skip
            if not 0 <= value <= most:
                return f"the {name} is {value}, expected 0 to {most:g}"
        if work > load * pull * (1 + 1e-6) + _ROUNDING:
            return f"the work is {work}, expected up to load times pull, {load * pull:g}"
        return ""

    @property
    def wait(self) -> float:
        """P: what waiting for them costs, per root of a second that a car pulls itself."""
        return min(self.work * _crowding(self.load) / 2, self.pull)

    def lose(self, pull: float, load: float) -> float:
        """What they lose, in s, by a car that pulls so much, with such a load."""
        if not load:
            return 0.0
        more = (self.work + load * pull) * _crowding(self.load + load)
        more -= self.work * _crowding(self.load)
        return min(self.pull * more / 2, load * self.least)

    def lose_each(self, pull: Floats, load: Floats) -> Floats:
        """The same for many rows, ``(n,)`` each."""
        own, wait = load, load * pull
        wait += self.work
        load = load + self.load
        if load.max() <= _NEARLY_FULL:
            np.subtract(1.0, load, out=load)
            wait /= load
        else:
            wait *= np.where(
                load <= _NEARLY_FULL, 1 / np.maximum(1 - load, _LEFT),
                (1 + (load - _NEARLY_FULL) / _LEFT) / _LEFT,
            )  # fmt: skip
        wait *= self.pull / 2
        wait -= self.pull / 2 * self.work * _crowding(self.load)
        if self.least < math.inf:
            load = own * self.least
            np.minimum(wait, load, out=wait)
        return wait


def _crowding(load: float) -> float:
    """1 / (1 - load); where little is left, its tangent there: more always costs more."""
    if load <= _NEARLY_FULL:
        return 1 / (1 - load)
    return (1 + (load - _NEARLY_FULL) / _LEFT) / _LEFT


class Shared(NamedTuple):
    """What sharing adds to a plan.

    Attributes:
        waiting_s: seconds that a frame which no gate ends waits for others at the edge server.
        toll_s: what the objective rises by, in s, in the mean over frames.
        edge_pull: what the plan pulls of the edge server, in roots of a second.
        edge_load: share of the time for which it keeps the server busy.
        air_pull: likewise of the cell.
        air_load: likewise.
    """

    waiting_s: float
    toll_s: float
    edge_pull: float
    edge_load: float
    air_pull: float
    air_load: float


NOBODY_ELSE = Others()


@dataclass(frozen=True, slots=True)
class Tolls:
    """What a car shares with others, and how often it has a frame.

    Attributes:
        edge: what the others ask for of its edge server.
        air: likewise of its cell.
        rate_hz: frames of this car in a second.

    Raises:
        PlanningError: at construction, for a rate that is negative or not finite.

    Beside another car that keeps the server busy for half of the time with frames of 0.04 s, a
    frame of 0.04 s waits for half of such a frame, on average in half of the cases twice as long:

    >>> tolls = Tolls(Others(load=0.5, pull=0.2, work=0.1), rate_hz=1.0)
    >>> round(tolls.on(1.0, 0.04, 0.04, 0.01).waiting_s, 3)
    0.02
    """

    edge: Others = NOBODY_ELSE
    air: Others = NOBODY_ELSE
    rate_hz: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.rate_hz < np.inf:
            raise PlanningError(f"rate_hz is {self.rate_hz}; expected a number of 0 or more")

    @property
    def any(self) -> bool:
        """Whether anybody else is there."""
        return bool(self.edge.pull or self.air.pull)

    def on(
        self, worth: float, worst_edge_s: float, mean_edge_s: float, mean_air_s: float
    ) -> Shared:
        """What they add to a plan.

        Args:
            worth: what a second of waiting counts (``Situation.waiting_worth``).
            worst_edge_s: seconds of the edge server for a frame that no gate ends.
            mean_edge_s: the same in the mean over the frames.
            mean_air_s: mean seconds on the air at the rate as measured.
        """
        edge, air, rate_hz = self.edge, self.air, self.rate_hz
        x, load = math.sqrt(worth * max(mean_edge_s, 0.0)), rate_hz * max(mean_edge_s, 0.0)
        y = (math.sqrt(air.wait**2 + 4 * worth * max(mean_air_s, 0.0)) - air.wait) / 2
        air_load = rate_hz * y**2 / worth if worth else 0.0
        toll_s = x * edge.wait + edge.lose(x, load) + air.lose(y, air_load)
        waiting_s = edge.wait * worst_edge_s / x if x else 0.0
        return Shared(waiting_s, toll_s, x, load, y, air_load)

    def on_each(
        self, worth: float, worst_edge_s: Floats, mean_edge_s: Floats, mean_air_s: Floats | None
    ) -> tuple[Floats, Floats]:
        """The seconds of waiting and tolls of many plans, ``(n,)`` each; see ``on``.

        Args:
            worth: as ``on`` takes it; above 0.
            worst_edge_s: likewise.
            mean_edge_s: likewise.
            mean_air_s: likewise; None: nobody else is in the cell.
        """
        edge, air = self.edge, self.air
        x = np.sqrt(mean_edge_s * worth)
        toll_s = edge.lose_each(x, mean_edge_s * self.rate_hz)
        toll_s += x * edge.wait
        if mean_edge_s is worst_edge_s:
            waiting_s = x * (edge.wait / worth)
        else:
            waiting_s = worst_edge_s / (x + _TINY)
            waiting_s *= edge.wait
        if mean_air_s is not None:
            y = (np.sqrt(mean_air_s * (4 * worth) + air.wait**2) - air.wait) / 2
            toll_s += air.lose_each(y, y * y * (self.rate_hz / worth))
        return waiting_s, toll_s


NO_TOLLS = Tolls()
"""Nobody else is there, or nothing is known of them."""
