"""A car's side of the fleet's prices: what it tells, and what it heard and may still go by.

Prices hold for as long as they say, on the car's own clock from when they came, so no two clocks
are compared and a fleet node that dies is forgotten by itself. Nothing that makes no sense has an
effect, and nobody can make a car worse off than without the link: prices only add to what plans
over the edge server cost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from dapdee_ros.core.expiring import Expiring, valid_fault
from dapdee_ros.estimation.health import Health, Level, Value
from dapdee_ros.planning.conditions import QUALITY_ROUNDING
from dapdee_ros.planning.errors import PlanningError
from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.problem import Problem
from dapdee_ros.planning.sites import NO_HOP
from dapdee_ros.planning.situation import Situation
from dapdee_ros.planning.tolls import (
    MOST_LOAD,
    MOST_PULL,
    NO_TOLLS,
    NOBODY_ELSE,
    Others,
    Tolls,
)

MOST_SERVERS = 16
"""Most edge servers that a car may name."""


@dataclass(frozen=True)
class Demand:
    """What a car asks for with its plan in force.

    Attributes:
        edge_pulls: its pull, in roots of a second, by the name of each edge server that it could
            use; 0 of those it does not.
        edge_load: share of the time for which it keeps that server busy.
        edge_gain_s: what a frame would cost it more without, in its objective's seconds; 0 of one
            that would be dropped instead.
        cell: name of its cell; empty if it shares its link with nobody.
        air_pull: its pull of that.
        air_load: the same share of the air.
    """

    edge_pulls: Mapping[str, float]
    edge_load: float = 0.0
    edge_gain_s: float = 0.0
    cell: str = ""
    air_pull: float = 0.0
    air_load: float = 0.0

    @property
    def fault(self) -> str:
        """What makes no sense, as text; empty if nothing does."""
        if len(self.edge_pulls) > MOST_SERVERS or "" in self.edge_pulls:
            return f"{len(self.edge_pulls)} edge servers, expected up to {MOST_SERVERS} with names"
        for name, pull in (*self.edge_pulls.items(), (self.cell, self.air_pull)):
            if not 0 <= pull <= MOST_PULL:
                return f"the pull of {name[:64]!r} is {pull}, expected 0 to {MOST_PULL:g}"
        for name in ("edge_load", "edge_gain_s", "air_load"):
            if not 0 <= getattr(self, name) <= MOST_LOAD:
                return f"{name} is {getattr(self, name)}, expected 0 to {MOST_LOAD:g}"
        return ""


Sums = tuple[float, float, float, float]
"""Load, pull, work and least gain of others, as ``planning.tolls.Others`` has them."""

NOTHING: Sums = (0.0, 0.0, 0.0, math.inf)


@dataclass(frozen=True)
class Posted:
    """Prices as a car is told them, without its own part.

    Attributes:
        epoch: which run of the fleet node they are of; a later run has a higher one.
        number: counts the rounds of that run.
        valid_s: seconds for which they hold from when they come.
        edge: what others ask for, by edge server.
        air: likewise by cell.
    """

    epoch: int
    number: int
    valid_s: float
    edge: Mapping[str, Sums] = field(default_factory=dict)
    air: Mapping[str, Sums] = field(default_factory=dict)

    @property
    def fault(self) -> str:
        """What makes no sense, as text; empty if nothing does."""
        if fault := valid_fault(self.valid_s):
            return fault
        for name, sums in (*self.edge.items(), *self.air.items()):
            if fault := Others.fault_of(*sums):
                return f"{name[:64]!r}: {fault}"
        return ""


class HeardPrices:
    """The last prices that a car heard. The caller passes the time, in s.

    Attributes:
        servers: names of the car's edge servers.
    """

    def __init__(self, servers: Sequence[str]) -> None:
        """Start without prices."""
        self.servers = tuple(servers)
        self._posted = Expiring[Posted]()

    def hear(self, now_s: float, posted: Posted) -> str:
        """Prices came.

        Returns:
            Why they have no effect, as text; empty if they are taken.
        """
        if fault := posted.fault:
            return fault
        if posted.edge and not posted.edge.keys() & set(self.servers):
            names, own = ", ".join(sorted(posted.edge))[:200], ", ".join(self.servers)[:200]
            return f"they are of {names}, and not of this car's edge servers: {own}"
        return self._posted.hear(now_s, posted, posted.epoch, posted.number, posted.valid_s)

    @property
    def until_s(self) -> float:
        """When prices cease to hold; infinity: there are none."""
        return self._posted.until_s

    def expire(self, now_s: float) -> bool:
        """Drop prices that do not hold any more; whether there were any."""
        return self._posted.expire(now_s)

    def hold(self, now_s: float) -> bool:
        """Whether there are prices that hold."""
        return self._posted.at(now_s) is not None

    def tolls(
        self, now_s: float, server: str, cell: str = "", interval_s: float = math.inf
    ) -> Tolls:
        """What to plan with now.

        Args:
            now_s: the time.
            server: the edge server to plan with.
            cell: the car's cell; empty: none.
            interval_s: seconds between two of its frames.
        """
        posted = self._posted.at(now_s)
        if posted is None:
            return NO_TOLLS
        edge, air = posted.edge.get(server), posted.air.get(cell) if cell else None
        return Tolls(
            Others(*edge) if edge else NOBODY_ELSE,
            Others(*air) if air else NOBODY_ELSE,
            1 / interval_s,
        )

    def applied(
        self, situation: Situation, now_s: float, server: str, cell: str, interval_s: float
    ) -> Situation:
        """A situation with what other cars ask for; see ``tolls``."""
        if not self.hold(now_s):
            return situation
        return replace(situation, tolls=self.tolls(now_s, server, cell, interval_s))


def demand_of(
    plan: Plan | None,
    problem: Problem,
    situation: Situation,
    servers: Sequence[str],
    cell: str = "",
) -> Demand:
    """What a car asks for.

    Args:
        plan: its plan in force, priced in the situation; None if there is none.
        problem: what it plans for.
        situation: as it is now, tolls included.
        servers: names of its edge servers.
        cell: its cell; empty: none.
    """
    pulls = dict.fromkeys(servers[:MOST_SERVERS], 0.0)
    if plan is None or not plan.crossings or not situation.link.usable:
        return Demand(pulls, cell=cell)
    going_on = 1 - plan.gate_share
    edge_s = plan.stages[1].seconds
    air_s = 8 * plan.crossings[0].sent_bytes / situation.link.rate_bps
    shared = situation.tolls.on(
        situation.waiting_worth, edge_s, going_on * edge_s, going_on * air_s
    )
    waits_s = situation.waiting_worth * going_on * plan.waiting_s
    if math.isinf(situation.most_period_s):
        # Frames may be dropped: where others leave no time for one, it is not finished anywhere.
        gain_s = 0.0
    else:
        gain_s = _alone_s(plan, problem, situation) - (plan.objective_s - plan.toll_s + waits_s)
    pulls[plan.stages[1].site] = min(shared.edge_pull, MOST_PULL)
    return Demand(
        pulls,
        min(shared.edge_load, MOST_LOAD),
        min(max(gain_s, 0.0), MOST_LOAD),
        cell,
        min(shared.air_pull, MOST_PULL) if cell else 0.0,
        min(shared.air_load, MOST_LOAD) if cell else 0.0,
    )


def _alone_s(plan: Plan, problem: Problem, situation: Situation) -> float:
    """The objective of the best plan without a link; infinite if that is late or worse for it."""
    try:
        alone = problem.table_alone.decide(situation.over(NO_HOP))
    except PlanningError:
        return math.inf
    worse = alone.quality < plan.quality - situation.quality_tolerance - QUALITY_ROUNDING
    return math.inf if worse or (alone.late and not plan.late) else alone.objective_s


def fleet_health(prices: HeardPrices, cell: str, now_s: float) -> Health:
    """Whether a car goes by a fleet node's prices; planning alone is no fault."""
    if not prices.hold(now_s):
        return Health(Level.OK, "no fleet node: plans alone", {})
    values: dict[str, Value] = {"valid_s": prices.until_s - now_s}
    air = prices.tolls(now_s, "", cell).air
    others = {name: prices.tolls(now_s, name).edge for name in prices.servers}
    for name, those in {**others, **({cell: air} if cell else {})}.items():
        values[f"others' load ({name})"] = those.load
        values[f"others' pull ({name})"] = those.pull
    return Health(Level.OK, "plans with a fleet node's prices", values)
