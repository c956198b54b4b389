"""How far are learned policies from the exact choice, and what do they cost in the simulator?

The comparison of Ma et al. (Electronics 2025, 14(8), 1647) with our networks: the cost of a frame,
half its expected seconds and half its joules, plus a second for every point of quality that is
missing, of 5 to 50 cars with two edge servers and two cells. Planned is what a choice costs with
the shares it reserves, the same formula for all, without deadlines, which their model has none of,
in multiples of the exact joint choice (of the bound that the prices prove, where the fleet is too
large for it). Simulated is what frames cost where unused shares go to others, with a deadline of a
second; `price` and `exact` reckon with both. "exact, 16 plans" is the exact choice from the plans
that a learned policy may take. Medians over fleets, the worst of the planned ones beside them.
Times compare within this run. Ends with one JSON line.

    python bench/ma_comparison.py --training ppo-0 --training ppo-1 --training ppo-2

compares the policies of these trainings (`dapdee fleet train-ppo --out ppo-0 --seed 0` and so on)
in place of the shipped one, and draws their curves.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from dapdee_ros.planning.errors import FleetError, TooManyStatesError
from dapdee_ros.planning.fleet.baselines import device_only, edge_only, equal_shares
from dapdee_ros.planning.fleet.exact import lowest_sum
from dapdee_ros.planning.fleet.fleet import Fleet, JointChoice
from dapdee_ros.planning.fleet.iao import iao
from dapdee_ros.planning.fleet.ppo import SHIPPED, LearnedPolicy
from dapdee_ros.planning.fleet.price import by_price
from dapdee_ros.planning.fleet.short_list import short_lists
from dapdee_ros.reinforcement.curve import draw_curves, read_curve
from dapdee_ros.simulation.fleet.ma_comparison import (
    drawn_fleet,
    ma_model,
    ma_scenario,
    simulated_cost,
)
from dapdee_ros.simulation.fleet.run import simulate_fleet
from dapdee_ros.simulation.fleet.scenario import FleetScenario

Way = Callable[[Fleet], JointChoice]
SHORT = "exact, 16 plans"


def without_deadlines(scenario: FleetScenario, policy: str) -> Fleet:
    """What a policy chooses from."""
    fleet = drawn_fleet(scenario, policy, ma_model)
    return fleet.without_deadlines(range(len(fleet.cars)))


def exact_of_short_lists(fleet: Fleet) -> JointChoice:
    """The exact choice from what a learned policy chooses from."""
    part, numbers = fleet.reduced
    keep = np.zeros(len(part.rows), bool)
    keep[short_lists(part).row] = True
    rest, kept = part.only(keep)
    return fleet.as_chosen(lowest_sum(rest), numbers[kept])


def ways_of(policies: Sequence[Path]) -> dict[str, tuple[Way, str]]:
    """What is compared by its name: how it chooses, and what the simulator calls it."""
    ways: dict[str, tuple[Way, str]] = {
        "device-only": (device_only, "device-only"),
        "edge-only": (edge_only, "edge-only"),
        "equal-shares": (equal_shares, "equal-shares"),
        "iao": (iao, "iao"),
    }
    for number, path in enumerate(policies):
        name = "ppo" if len(policies) == 1 else f"ppo {number}"
        ways[name] = LearnedPolicy.load(path).choose, f"ppo:{path}"
    ways["price"] = by_price, "price"
    ways["exact"] = lowest_sum, "exact"
    ways[SHORT] = exact_of_short_lists, ""
    return ways


def study(cars: int, ways: dict[str, tuple[Way, str]], args: argparse.Namespace) -> dict[str, Any]:
    """All figures of one size of fleet."""
    planned: dict[str, list[float]] = {name: [] for name in ways}
    over: dict[str, list[float]] = {name: [] for name in ways}
    took_ms: dict[str, list[float]] = {name: [] for name in ways}
    simulated: dict[str, list[float]] = {name: [] for name in ways}
    in_time: dict[str, list[float]] = {name: [] for name in ways}
    proven = 0
    for seed in range(args.fleets):
        scenario = ma_scenario(cars, seed, args.model, seconds=args.seconds)
        fleets = {who: without_deadlines(scenario, who) for who in ("price", "edge-only")}
        costs: dict[str, float] = {}
        least = 0.0
        for name, (way, _) in ways.items():
            if name in (SHORT, "exact") and cars > args.most_exact:
                continue
            began_s = time.perf_counter()
            try:
                found = way(fleets.get(name, fleets["price"]))
            except TooManyStatesError:
                continue
            took_ms[name].append(1e3 * (time.perf_counter() - began_s))
            costs[name] = found.total_cost
            if name == "price":
                least = found.bound
        proven += "exact" in costs
        least = costs.get("exact", least)
        for name, cost in costs.items():
            planned[name].append(cost / cars)
            over[name].append(cost / least)
        if seed < args.simulated:
            for name, (_, policy) in ways.items():
                if name not in costs:
                    continue
                try:
                    run = simulate_fleet(scenario, policy, load=ma_model) if policy else None
                except FleetError as error:
                    print(f"{name} with {cars} cars, seed {seed}: {error}", flush=True)
                    continue
                if run is not None:
                    simulated[name].append(simulated_cost(run))
                    in_time[name].append(run.totals["in_time_share"])
    return {
        "exact_in": proven,
        "fleets": args.fleets,
        **{
            name: {
                "planned": _of(planned[name], 4),
                "over_exact": _of(over[name], 4),
                "over_exact_worst": round(max(over[name]), 4),
                "ms": _of(took_ms[name], 1),
                "simulated": _of(simulated[name], 4),
                "in_time": _of(in_time[name], 4),
            }
            for name in ways
            if planned[name]
        },
    }


def _of(values: Sequence[float], digits: int) -> float | None:
    return round(median(values), digits) if values else None


def show(cars: int, found: dict[str, Any], ways: Sequence[str]) -> None:
    """One size of fleet as a table."""
    print(f"\n{cars} cars (exact in {found['exact_in']} of {found['fleets']})")
    print(f"{'':<16} planned  of exact   worst      ms  simulated  in time")
    for name in ways:
        if name in found:
            v = found[name]
            print(
                f"{name:<16} {v['planned']:7.4f} {v['over_exact']:9.4f} "
                f"{v['over_exact_worst']:7.3f} {v['ms']:7.1f} "
                + ("" if v["simulated"] is None else f"{v['simulated']:10.4f} {v['in_time']:8.1%}"),
                flush=True,
            )


def plot(figures: dict[int, dict[str, Any]], ways: Sequence[str], path: Path) -> None:
    """What is planned beside exact, and simulated cost, over the number of cars."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for n, name in enumerate(name for name in ways if name != SHORT):
        at = [cars for cars, found in figures.items() if name in found]
        look: dict[str, Any] = {
            "marker": "osD^vPX<*>"[n % 10], "label": name, "linewidth": 1.2, "markersize": 4,
        }  # fmt: skip
        over = [100 * (figures[cars][name]["over_exact"] - 1) for cars in at]
        left.plot(at, over, **look)
        there = [cars for cars in at if figures[cars][name]["simulated"] is not None]
        right.plot(there, [figures[cars][name]["simulated"] for cars in there], **look)
    left.set_yscale("symlog", linthresh=0.1)
    left.set_ylabel("planned cost over exact, %")
    right.set_ylabel("simulated cost of a frame")
    for axes in (left, right):
        axes.set_xlabel("cars")
        axes.grid(alpha=0.3)
    right.legend(fontsize=8)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cars", type=int, nargs="*", default=(5, 10, 20, 35, 50))
    parser.add_argument("--fleets", type=int, default=10, help="of each size, to plan for")
    parser.add_argument("--simulated", type=int, default=3, help="of them, to simulate as well")
    parser.add_argument(
        "--most-exact", type=int, default=40, help="cars up to which the exact choice is made"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="simulated")
    parser.add_argument("--model", default="roadscenes-det")
    parser.add_argument(
        "--training", type=Path, action="append", default=[], help="folder of a training"
    )
    parser.add_argument("--plot", type=Path, help="SVG or PNG file")
    parser.add_argument("--curves", type=Path, help="SVG or PNG file for the learning curves")
    args = parser.parse_args()
    began_s = time.perf_counter()
    ways = ways_of([folder / "policy.onnx" for folder in args.training] or [SHIPPED])
    figures: dict[int, dict[str, Any]] = {}
    for cars in args.cars:
        figures[cars] = study(cars, ways, args)
        show(cars, figures[cars], [*ways])
    if args.plot:
        plot(figures, [*ways], args.plot)
    trained = {folder.name: read_curve(folder) for folder in args.training}
    if args.curves and trained:
        draw_curves(trained, args.curves)
    ends = {
        name: {"steps": points[-1].steps, "seconds": points[-1].seconds,
               "best_over_price": round(min(p.over_price for p in points), 5)}
        for name, points in trained.items()
    }  # fmt: skip
    print(
        json.dumps(
            {
                "model": args.model,
                "cars": figures,
                "trained": ends,
                "wall_s": round(time.perf_counter() - began_s, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
