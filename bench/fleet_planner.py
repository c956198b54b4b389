"""What does planning for a whole fleet gain, how far is a price from exact, how long does it take?

Cars with the bundled networks and profiles, each with its own speed, rate, round trips and battery,
share edge servers and one radio cell. Every way of planning chooses for the same fleets, and what
its choice costs is computed in the same way: expected seconds plus weighted joules. Costs are given
as multiples of the exact joint choice, or of the bound that the prices prove where the fleet is too
large for it. Times compare within this run. Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np

from dapdee_ros.core.fleet_car import Demand
from dapdee_ros.core.fleet_prices import FleetPrices, FleetSettings
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.planning.cost import EnergyPrices
from dapdee_ros.planning.errors import TooManyStatesError
from dapdee_ros.planning.fleet.baselines import (
    device_only,
    each_for_itself,
    edge_only,
    equal_shares,
    nearest_edge,
)
from dapdee_ros.planning.fleet.exact import lowest_sum
from dapdee_ros.planning.fleet.fleet import Fleet, FleetCar, JointChoice
from dapdee_ros.planning.fleet.iao import iao
from dapdee_ros.planning.fleet.price import by_price, changed, decide, offer, settle
from dapdee_ros.planning.fleet.priced import Terms
from dapdee_ros.planning.fleet.rows import Rows, rows_of
from dapdee_ros.planning.from_card import problem_of, sample_profiles
from dapdee_ros.planning.objective import Objective
from dapdee_ros.planning.policy import Problem, Situation
from dapdee_ros.planning.sites import Hop, Site, car_and_edge
from dapdee_ros.planning.tolls import Others, Tolls

MODELS = ("roadsigns", "vgg16-cifar10", "alexnet-cifar10")
RIVALS: dict[str, Callable[[Fleet], JointChoice]] = {
    "device_only": device_only,
    "edge_only": edge_only,
    "equal_shares": equal_shares,
    "each_for_itself": each_for_itself,
    "nearest_edge": nearest_edge,
    "iao": iao,
}


def problems() -> list[Problem]:
    """The bundled models between their slowest and fastest profile."""
    found = []
    for name in MODELS:
        card = read_card(find_model(name))
        car, *_, edge = sample_profiles(card.model_id)
        found.append(problem_of(card, car, edge, ["f32", "u8", "u4"]))
    return found


def fleet_of(
    seed: int,
    cars: int,
    servers: int,
    deadline_share: float,
    of: list[Problem],
    reduce: bool = True,
) -> Fleet:
    """A fleet of cars that differ; a deadline is a multiple of what the car alone takes."""
    rng = random.Random(seed)
    busy = [10 ** rng.uniform(0.3, 1.0) for _ in range(servers)]
    made = []
    for i in range(cars):
        problem = rng.choice(of)
        slow, rate_bps = 10 ** rng.uniform(-0.3, 0.5), 10 ** rng.uniform(6.5, 7.7)
        objective = Objective(1.0, 0.0, rng.choice((0.0, 0.02, 0.1)))
        prices = EnergyPrices(rng.uniform(3, 8), rng.uniform(1e-7, 4e-7), rng.uniform(1, 3))
        alone_s = slow * problem.car.total_s
        deadline_s = deadline_share * alone_s if deadline_share else math.inf
        rtts_s = [rng.uniform(0.002, 0.02) for _ in range(servers)]
        parts = []
        for server in range(servers):
            sites = (Site("car", slow), Site(f"edge{server}", busy[server]))
            situation = Situation(
                sites, (Hop(rate_bps, rtts_s[server]),), min(deadline_s, 2 * alone_s), objective,
                energy=prices, quality_tolerance=0.005,
            )  # fmt: skip
            parts.append(rows_of(problem.table, situation, server, reduce=reduce))
        rows = Rows.join(parts)
        rows = rows.undominated if reduce else rows
        made.append(FleetCar(f"car{i}", rows, deadline_s, nearest=int(np.argmin(rtts_s))))
    return Fleet(tuple(made), tuple(f"edge{m}" for m in range(servers)))


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    """How long it takes, and what it returns."""
    started = time.perf_counter()
    found = call()
    return time.perf_counter() - started, found


def study(cars: int, args: argparse.Namespace, of: list[Problem], share: float) -> dict[str, Any]:
    """All figures of one size of fleet."""
    over: dict[str, list[float]] = {name: [] for name in ("price", *RIVALS)}
    late: dict[str, int] = dict.fromkeys(("exact", "price", *RIVALS), 0)
    exact_s, price_s, proven, bound_gaps, missed = [], [], 0, [], 0
    for seed in range(args.fleets):
        fleet = fleet_of(seed, cars, args.servers, share, of)
        took_s, price = seconds(lambda f=fleet: by_price(f))  # type: ignore[misc]
        price_s.append(took_s)
        bound_gaps.append(price.total_cost / price.bound - 1)
        least = price.bound
        late["price"] += len(price.late)
        try:
            took_s, exact = seconds(lambda f=fleet: lowest_sum(f))  # type: ignore[misc]
            exact_s.append(took_s)
            proven += 1
            least = exact.total_cost
            late["exact"] += len(exact.late)
            missed += len(price.late) > len(exact.late)
        except TooManyStatesError:
            pass
        over["price"].append(price.total_cost / least)
        for name, way in RIVALS.items():
            # What edge-only takes is often no plan that could be the best.
            reduced = name != "edge_only"
            found = way(
                fleet if reduced else fleet_of(seed, cars, args.servers, share, of, reduce=False)
            )
            over[name].append(found.total_cost / least)
            late[name] += len(found.late)
    return {
        "exact_in": proven,
        "exact_ms": round(1e3 * median(exact_s), 1) if exact_s else None,
        "exact_ms_most": round(1e3 * max(exact_s), 1) if exact_s else None,
        "price_ms": round(1e3 * median(price_s), 1),
        "price_over_bound": spread([1 + gap for gap in bound_gaps]),
        "price_late_where_exact_is_not": missed,
        "over_exact": {name: spread(values) for name, values in over.items() if values},
        "late_cars": late,
    }


def spread(values: list[float]) -> list[float]:
    """Median and worst."""
    return [round(median(values), 4), round(max(values), 4)]


def speed(of: list[Problem], servers: int) -> dict[str, Any]:
    """Times of a price update for 1,000 cars and of a car's decision."""
    made = [fleet_of(seed, 100, servers, 0.0, of) for seed in range(10)]
    fleet = Fleet(tuple(car for part in made for car in part.cars), made[0].servers)
    part, _ = fleet.reduced
    terms = Terms.of(part)
    prices = settle(part, rounds=20).prices
    updates = [
        seconds(lambda: changed(prices, offer(part, terms, prices).pulls, 0.1))[0]
        for _ in range(50)
    ]
    most = int(part.counts.argmax())
    mine = Terms.of(Fleet((part.cars[most],), part.servers))
    decisions = [seconds(lambda: decide(mine, prices))[0] for _ in range(500)]
    whole_s, found = seconds(lambda: by_price(fleet))
    return {
        "rows": len(part.rows),
        "most_rows_of_a_car": int(part.counts.max()),
        "update_1000_cars_ms": round(1e3 * median(updates), 2),
        "turn_1000_cars_ms": turn_ms(),
        "decision_us": round(1e6 * median(decisions), 1),
        "live_decision_us": live_decision_us(),
        "by_price_1000_cars_s": round(whole_s, 2),
        "by_price_1000_cars_over_bound": round(found.total_cost / found.bound, 5),
    }


def turn_ms() -> float:
    """Time of a turn of the fleet node's prices among 1,000 cars, 10 servers and a cell."""
    prices = FleetPrices(FleetSettings(), epoch=1)
    for n in range(1000):
        prices.hear(0.0, f"car{n}", Demand({f"edge{n % 10}": 0.2}, 0.01, 0.1, "cell", 0.1, 0.01))

    def turn(now_s: float) -> None:
        for car in prices.advance(now_s):
            prices.posted(car)

    return round(1e3 * median(seconds(lambda n=n: turn(0.1 * n))[0] for n in range(30)), 2)  # type: ignore[misc]


def live_decision_us() -> dict[str, float]:
    """Time of a car's decision from its candidate table, with what others pay and without."""
    card = read_card(find_model(MODELS[0]))
    car, *_, edge = sample_profiles(card.model_id)
    table = problem_of(card, car, edge, ["f32", "u8"]).table
    alone = Situation(car_and_edge(), (Hop(2e7, 0.01),), deadline_s=0.5)
    tolls = Tolls(Others(0.4, 0.5, 0.1, 1.0), Others(0.1, 0.3, 0.02), 5.0)
    took: dict[str, list[float]] = {"alone": [], "with_prices": []}
    for _ in range(500):
        for name, situation in (("alone", alone), ("with_prices", replace(alone, tolls=tolls))):
            took[name].append(seconds(lambda s=situation: table.decide(s))[0])  # type: ignore[misc]
    return {name: round(1e6 * median(values), 1) for name, values in took.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cars", type=int, nargs="*", default=(5, 20, 50))
    parser.add_argument("--fleets", type=int, default=10, help="random fleets of each size")
    parser.add_argument("--servers", type=int, default=2)
    args = parser.parse_args()
    started = time.perf_counter()
    of = problems()
    figures: dict[str, Any] = {}
    for cars in args.cars:
        for share, name in ((0.0, "free"), (1.5, "deadlines")):
            figures[f"{cars}_{name}"] = study(cars, args, of, share)
            print(cars, name, json.dumps(figures[f"{cars}_{name}"]), flush=True)
    figures["speed"] = speed(of, args.servers)
    print(json.dumps({**figures, "wall_s": round(time.perf_counter() - started, 1)}))


if __name__ == "__main__":
    main()
