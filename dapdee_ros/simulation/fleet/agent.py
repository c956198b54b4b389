"""Plans for the whole fleet: which plan, server and shares every car has from now on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from dapdee_ros.planning.candidates import Floats
from dapdee_ros.planning.errors import PolicyError
from dapdee_ros.planning.fleet.baselines import (
    device_only,
    each_for_itself,
    edge_only,
    equal_shares,
    nearest_edge,
)
from dapdee_ros.planning.fleet.exact import lowest_sum, lowest_worst
from dapdee_ros.planning.fleet.fleet import Fleet, FleetCar, JointChoice
from dapdee_ros.planning.fleet.iao import iao
from dapdee_ros.planning.fleet.ppo import LearnedPolicy, by_ppo
from dapdee_ros.planning.fleet.presence import with_presence
from dapdee_ros.planning.fleet.price import by_price
from dapdee_ros.planning.fleet.rows import NOBODY, Rows, rows_of
from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.policy import make_policy
from dapdee_ros.planning.sites import NO_HOP
from dapdee_ros.simulation.fleet.market import Market
from dapdee_ros.simulation.fleet.members import Member, Server

WAYS: Mapping[str, Callable[[Fleet], JointChoice]] = {
    "price": partial(with_presence, by_price),
    "exact": partial(with_presence, lowest_sum),
    "exact-worst": partial(with_presence, lowest_worst),
    "iao": iao,
    "ppo": by_ppo,
    "equal-shares": equal_shares,
    "each-for-itself": each_for_itself,
    "nearest-edge": partial(with_presence, nearest_edge),
    "edge-only": edge_only,
    "device-only": device_only,
}
"""Ways to choose for all cars together: ours for servers that work for whoever is there, those of
others as they are published."""

POSTED = "posted-price"
"""Each car chooses for itself at the prices of a fleet node (``market``)."""

_BEFORE_S = 20.0
"""For how long a fleet node has been there when a simulation begins."""

LEARNED = "ppo:"
"""Before the file of a policy that ``dapdee fleet train-ppo`` has written."""

ALONE = "alone:"
"""Before the name of a policy for one car: each car plans by it, over its nearest server, as if it
were the only one."""

_UNREDUCED = frozenset({"edge-only"})


def check_policy(policy: str) -> None:
    """Raise PolicyError unless there is such a way; a policy for one car is looked up later."""
    if policy not in (*WAYS, POSTED) and not policy.startswith((ALONE, LEARNED)):
        raise PolicyError(
            f"policy {policy!r} is unknown; there are {', '.join((*WAYS, POSTED))}, "
            f"{LEARNED}FILE with a learned policy, and {ALONE}POLICY with a policy for one car"
        )


@dataclass(frozen=True)
class Assignment:
    """What a car does until it is told otherwise.

    Attributes:
        plan: with what it takes at these shares.
        server: index of its server; ``NOBODY`` if it sends nothing.
        edge_share: share of that server.
        air_share: share of its cell.
    """

    plan: Plan
    server: int
    edge_share: float
    air_share: float


@dataclass(frozen=True)
class Round:
    """One round of planning.

    Attributes:
        at_s: when.
        assignments: by index of the cars that were planned for.
        cost: sum over the cars as predicted; NaN for cars that plan alone.
        late: cars whose deadline cannot be kept, as predicted.
        prices: what the whole of each server and then of each cell is worth, in the objective's
            seconds; NaN for cars that plan alone.
    """

    at_s: float
    assignments: Mapping[int, Assignment]
    cost: float
    late: int
    prices: Floats


class FleetAgent:
    """Chooses for all cars by one way; keeps each car's rows while its battery's step lasts."""

    def __init__(
        self,
        members: Sequence[Member],
        servers: Sequence[Server],
        cells: int,
        policy: str,
        replan_s: float = 5.0,
    ) -> None:
        """Prepare.

        Args:
            members: the cars.
            servers: the edge servers.
            cells: how many radio cells.
            policy: a name of ``WAYS``, ``POSTED``, ``LEARNED`` with a file, or ``ALONE`` with a
                policy for one car.
            replan_s: seconds between two looks, in which a fleet node gives turns.

        Raises:
            PolicyError: if there is no such policy, or its file is none.
        """
        self._members = members
        self._servers = servers
        self._cells = tuple(f"cell{n}" for n in range(cells))
        self._policy = policy
        self._rows: dict[tuple[int, int], tuple[float, Rows]] = {}
        check_policy(policy)
        self._market = Market() if policy == POSTED else None
        self._way = WAYS.get(policy)
        if policy.startswith(LEARNED):
            self._way = LearnedPolicy.load(Path(policy.removeprefix(LEARNED))).choose
        self._replan_s, self._begun = replan_s, False
        self._alone = policy.removeprefix(ALONE) if policy.startswith(ALONE) else ""
        if self._alone:
            problems = {id(member.problem): member.problem for member in members}
            self._policies = {k: make_policy(self._alone, p) for k, p in problems.items()}

    def plan(self, now_s: float, up: Sequence[bool], levels: Mapping[int, float]) -> Round:
        """A round of planning.

        Args:
            now_s: the time.
            up: which servers work, as far as is known.
            levels: of the cars that drive: what is left in their batteries, 0 to 1; NaN without.

        Raises:
            FleetError: if the way cannot choose for such a fleet.
        """
        cars = [self._members[index] for index in levels]
        if self._alone:
            return self._each_alone(now_s, cars, self._nearest(cars, up), levels)
        fleet = self.fleet(up, levels)
        return self._round(now_s, cars, fleet, self._choice(now_s, fleet), levels)

    def fleet(self, up: Sequence[bool], levels: Mapping[int, float]) -> Fleet:
        """What there is to choose from; arguments as of ``plan``."""
        cars = [self._members[index] for index in levels]
        near = self._nearest(cars, up)
        return Fleet(
            tuple(
                FleetCar(
                    car.name, self._rows_of(car, up, levels[car.index]), car.group.deadline_s,
                    car.most_period_s, max(near[car.index], 0),
                )
                for car in cars
            ),
            tuple(server.name for server in self._servers),
            self._cells,
        )  # fmt: skip

    @staticmethod
    def _nearest(cars: Sequence[Member], up: Sequence[bool]) -> dict[int, int]:
        """Each car's nearest server that works, by the car's index."""
        return {
            car.index: next((server for server in car.reach if up[server]), NOBODY) for car in cars
        }

    @property
    def goes_on(self) -> bool:
        """Whether another round may end otherwise though nothing else has changed."""
        return self._market is not None

    def _choice(self, now_s: float, fleet: Fleet) -> JointChoice:
        market = self._market
        if market is None:
            assert self._way is not None
            return self._way(fleet)
        passed_s = self._replan_s if self._begun else _BEFORE_S
        self._begun = True
        return market.choose(fleet, now_s, round(passed_s / market.prices.settings.turn_s))

    def _rows_of(self, car: Member, up: Sequence[bool], level: float) -> Rows:
        usable = [server for server in car.reach if up[server]]
        if self._policy in ("device-only",):
            usable = []
        reduce = self._policy not in _UNREDUCED
        joined = Rows.join(
            [self._over(car, server, level, reduce) for server in usable or [NOBODY]]
        )
        return joined.undominated if reduce and len(usable) > 1 else joined

    def _over(self, car: Member, server: int, level: float, reduce: bool) -> Rows:
        weight = car.objective(level).energy_s_per_j
        known = self._rows.get((car.index, server))
        if known is not None and known[0] == weight:
            return known[1]
        if server == NOBODY:
            situation = car.situation(0, 1.0, level).over(NO_HOP)
        else:
            situation = car.situation(server, self._servers[server].slowdown, level)
        rows = rows_of(
            car.problem.table, situation, max(server, 0), car.cell,
            quality_weight_s=car.group.quality_weight_s, reduce=reduce,
        )  # fmt: skip
        self._rows[car.index, server] = weight, rows
        return rows

    def _round(
        self,
        now_s: float,
        cars: Sequence[Member],
        fleet: Fleet,
        choice: JointChoice,
        levels: Mapping[int, float],
    ) -> Round:
        r, rows = fleet.rows, choice.rows
        found = {}
        for place, car in enumerate(cars):
            row = int(rows[place])
            server = int(r.server[row])
            shares = float(choice.edge_share[place]), float(choice.air_share[place])
            slowdown = self._servers[server].slowdown if server != NOBODY else 1.0
            situation = car.situation(max(server, 0), slowdown, levels[car.index], *shares)
            plan = car.problem.table.plan_at(
                int(r.number[row]), situation, car.name in choice.late, self._policy
            )
            found[car.index] = Assignment(plan, server, *shares)
        return Round(now_s, found, choice.total_cost, len(choice.late), self._prices(fleet, choice))

    def _prices(self, fleet: Fleet, choice: JointChoice) -> Floats:
        """By the pulls of the chosen rows: what the whole of a server is worth to its cars."""
        r, rows = fleet.rows, choice.rows
        prices = []
        for of, used_s, count in (
            (r.server[rows], r.edge_s[rows], len(self._servers)),
            (r.cell[rows], r.air_s[rows], len(self._cells)),
        ):
            uses = of >= 0
            pull = np.sqrt(r.factor[rows] * used_s)
            prices.append(np.bincount(of[uses], pull[uses], count) ** 2)
        return np.concatenate(prices)

    def _each_alone(
        self,
        now_s: float,
        cars: Sequence[Member],
        near: Mapping[int, int],
        levels: Mapping[int, float],
    ) -> Round:
        """Servers and cells are shared equally by those who meet there."""
        plans = {}
        for car in cars:
            server = near[car.index]
            slowdown = self._servers[server].slowdown if server != NOBODY else 1.0
            situation = car.situation(max(server, 0), slowdown, levels[car.index])
            if server == NOBODY:
                situation = situation.over(NO_HOP)
            plans[car.index] = self._policies[id(car.problem)].plan(situation)
        sending = [car for car in cars if plans[car.index].crossings]
        at_server = [near[car.index] for car in sending]
        in_cell = [car.cell for car in sending]
        found = {}
        for car in cars:
            plan, server = plans[car.index], near[car.index]
            shares = (0.0, 0.0)
            if plan.crossings:
                shares = 1 / at_server.count(server), 1 / in_cell.count(car.cell)
            found[car.index] = Assignment(plan, server if plan.crossings else NOBODY, *shares)
        unknown = np.full(len(self._servers) + len(self._cells), math.nan)
        return Round(now_s, found, math.nan, sum(p.late for p in plans.values()), unknown)
