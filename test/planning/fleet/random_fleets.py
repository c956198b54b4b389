"""Random fleets, and slow, independent ways to find what is best for them."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from dapdee_ros.planning.fleet.fleet import Fleet, FleetCar
from dapdee_ros.planning.fleet.rows import NOBODY, Rows


def random_rows(
    rng: random.Random, servers: int, per_server: int, alone: bool = True, busy: bool = False
) -> Rows:
    """Some plans over every server through one cell; dominated ones are among them.

    Those of a ``busy`` fleet all take seconds of both, and hardly any of the car itself.
    """
    rows: list[tuple[float, ...]] = []
    if alone:
        own_s = rng.uniform(0.05, 0.8)
        rows.append((own_s * rng.uniform(1, 1.3), 1.0, own_s, 0.0, 0.0, NOBODY, NOBODY))
    for server in range(servers):
        for _ in range(per_server):
            fixed_s = rng.uniform(0.0, 0.3)
            edge_s = rng.choice((0.0, rng.uniform(0.001, 0.12)))
            air_s = rng.choice((0.0, rng.uniform(0.001, 0.12), rng.uniform(0.001, 0.12)))
            factor = rng.choice((1.0, rng.uniform(0.2, 1.5)))
            if busy:
                fixed_s, edge_s, air_s = (rng.uniform(0.01, 0.06) for _ in range(3))
            base = fixed_s * rng.uniform(1.0, 1.4) + rng.choice((0.0, 0.05))
            rows.append((base, factor, fixed_s, edge_s, air_s, server, 0))
    return Rows.of(*rows)


def random_fleet(
    seed: int,
    cars: int,
    servers: int = 2,
    per_server: int = 3,
    deadline_s: float = math.inf,
    stage_s: float = math.inf,
    busy: bool = False,
) -> Fleet:
    """A fleet in one cell; deadlines and stages scatter around what is given."""
    rng = random.Random(seed)
    return Fleet(
        tuple(
            FleetCar(
                f"car{i}",
                random_rows(rng, servers, per_server, alone=rng.random() < 0.8, busy=busy),
                deadline_s * rng.uniform(0.6, 1.4),
                stage_s * rng.uniform(0.6, 1.4),
                rng.randrange(servers),
            )
            for i in range(cars)
        ),
        tuple(f"edge{m}" for m in range(servers)),
    )


def every_choice(fleet: Fleet) -> Iterator[Any]:
    """Every combination of the cars' rows, ``(cars,)``."""
    ranges = [
        range(a, a + n) for a, n in zip(fleet.starts.tolist(), fleet.counts.tolist(), strict=True)
    ]
    return (np.array(rows) for rows in itertools.product(*ranges))


def sum_by_formula(fleet: Fleet, rows: Any) -> float:
    """The sum of costs with the best shares, deadlines left out: A + sums of roots, squared."""
    r = fleet.rows
    cost = float(r.base[rows].sum())
    for used_s, of in ((r.edge_s, r.server), (r.air_s, r.cell)):
        for one in set(of[rows].tolist()) - {NOBODY}:
            there = rows[of[rows] == one]
            cost += float(np.sqrt(r.factor[there] * used_s[there]).sum()) ** 2
    return cost


class Numeric:
    """Best shares of some rows by an interior-point method that knows no formula of the project.

    Variables are the shares that are used, and with ``highest`` what no car may cost more than.
    Newton's method on the objective with logarithmic barriers (Boyd and Vandenberghe, chapter 11).
    """

    def __init__(self, fleet: Fleet, rows: Any, highest: bool = False) -> None:
        r = fleet.rows
        self.cars = len(rows)
        self.base, self.factor = r.base[rows], r.factor[rows]
        self.used = np.concatenate([r.edge_s[rows], r.air_s[rows]])
        of = np.concatenate([r.server[rows], len(fleet.servers) + r.cell[rows]])
        self.n = 2 * self.cars
        self.alive = self.used > 0
        self.highest = highest
        self.sums = [
            (of == one) & self.alive for one in sorted(set(of[self.alive].tolist()))
        ]  # fmt: skip
        self.slack, self.most = fleet.slack_s[rows], fleet.most_stage_s[rows]

    def constraints(self, v: Any) -> Iterator[tuple[float, Any, Any]]:
        """(h, gradient, diagonal of the Hessian) of everything that has to be below 0."""
        share, stay = v[: self.n], np.zeros(self.n)
        stay[self.alive] = self.used[self.alive] / share[self.alive]
        first, second = np.zeros(self.n), np.zeros(self.n)
        first[self.alive] = -stay[self.alive] / share[self.alive]
        second[self.alive] = 2 * stay[self.alive] / share[self.alive] ** 2

        def padded(values: Any, last: float = 0.0) -> Any:
            return np.append(values, [last] * (len(v) - self.n))

        for there in self.sums:
            yield share[there].sum() - 1, padded(there * 1.0), padded(np.zeros(self.n))
        for car in range(self.cars):
            mine = np.zeros(self.n)
            mine[[car, car + self.cars]] = 1.0
            if (mine * self.alive).any():
                if np.isfinite(self.slack[car]):
                    yield (
                        (stay * mine).sum() - self.slack[car],
                        padded(first * mine),
                        padded(second * mine),
                    )
                if np.isfinite(self.most[car]):
                    for at in (car, car + self.cars):
                        if self.alive[at]:
                            one = np.zeros(self.n)
                            one[at] = 1.0
                            yield (
                                stay[at] - self.most[car],
                                padded(first * one),
                                padded(second * one),
                            )
            if self.highest:
                k = self.factor[car]
                cost = self.base[car] + k * (stay * mine).sum()
                yield cost - v[self.n], padded(k * first * mine, -1.0), padded(k * second * mine)

    def objective(self, v: Any) -> tuple[float, Any, Any]:
        """Value, gradient and diagonal of the Hessian."""
        gradient, hessian = np.zeros(len(v)), np.zeros(len(v))
        if self.highest:
            gradient[self.n] = 1.0
            return float(v[self.n]), gradient, hessian
        weight = np.tile(self.factor, 2)[self.alive]
        share, used = v[: self.n][self.alive], self.used[self.alive]
        at = np.flatnonzero(self.alive)
        gradient[at] = -weight * used / share**2
        hessian[at] = 2 * weight * used / share**3
        return float(self.base.sum() + (weight * used / share).sum()), gradient, hessian

    def solve(self) -> float:
        """The lowest objective; infinity if there are no shares that keep everything."""
        hard = (self.slack < 0).any()
        if hard:
            return math.inf
        v = np.ones(self.n + self.highest)
        for there in self.sums:
            v[: self.n][there] = 0.9 / there.sum()
        if self.highest:
            stay = np.zeros(self.n)
            stay[self.alive] = self.used[self.alive] / v[: self.n][self.alive]
            costs = self.base + self.factor * (stay[: self.cars] + stay[self.cars :])
            v[self.n] = 1 + costs.max()
        worst = max((h for h, *_ in self.constraints(v)), default=-1.0)
        if worst >= 0:
            # First look for shares that keep everything by some margin.
            v = np.append(v, worst + 1.0)
            v = self.descend(v, feasibility=True)
            if v[-1] > -1e-10:
                return math.inf
            v = v[:-1]
        return float(self.objective(self.descend(v, feasibility=False))[0])

    def descend(self, v: Any, feasibility: bool) -> Any:
        """Follow the central path."""
        moves = np.append(self.alive, np.ones(len(v) - self.n, bool))
        if feasibility and self.highest:
            moves[self.n] = False  # it could rise for ever

        def parts(x: Any) -> tuple[Any, list[tuple[float, Any, Any]]]:
            core = x[:-1] if feasibility else x
            found = list(self.constraints(core))
            if feasibility:
                found = [(h - x[-1], np.append(g, -1.0), np.append(d, 0.0)) for h, g, d in found]
                goal = (x[-1], np.append(np.zeros(len(core)), 1.0), np.zeros(len(x)))
            else:
                goal = self.objective(core)
            return goal, found

        def barrier(x: Any, t: float) -> float:
            if (x[: self.n][self.alive] <= 0).any():
                return math.inf
            goal, found = parts(x)
            if any(h >= 0 for h, *_ in found):
                return math.inf
            return t * goal[0] - sum(math.log(-h) for h, *_ in found)

        t = 10.0
        while t < 1e10:
            for _ in range(60):
                goal, found = parts(v)
                gradient, hessian = t * goal[1], np.diag(t * goal[2])
                for h, g, d in found:
                    gradient = gradient - g / h
                    hessian = hessian + np.outer(g, g) / h**2 - np.diag(d) / h
                free = np.flatnonzero(moves)
                step = np.zeros(len(v))
                inner = hessian[np.ix_(free, free)]
                scale = 1 / np.sqrt(np.maximum(np.diag(inner), 1e-300))
                inner = inner * scale[:, None] * scale + 1e-14 * np.eye(len(free))
                step[free] = scale * np.linalg.solve(inner, -gradient[free] * scale)
                slope = float(gradient @ step)
                if slope > -1e-9:
                    break
                length, now = 1.0, barrier(v, t)
                while length > 1e-12 and not (
                    barrier(v + length * step, t) <= now + 0.2 * length * slope
                ):
                    length /= 2
                if length <= 1e-12:
                    break
                v = v + length * step
                if feasibility and v[-1] < -1e-6:
                    return v
            # On the central path the value is at most (constraints / t) above the lowest.
            if feasibility and v[-1] - 2 * len(parts(v)[1]) / t > 0:
                return v
            t *= 20
        return v
