"""What do policies cost a fleet, as planned and as simulated, from 5 to 50 cars?

The cost is Ma et al.'s (planning/fleet/ma.py): half a frame's expected seconds and half its joules,
plus a second for every point of quality that is missing, so that nobody saves by answering worse.
Every policy gets the same cars, servers and frames; planned is the mean over cars of what the last
choice should cost, simulated what frames cost in the mean where unused shares go to others. Our own
policies reckon with that, those of others with reserved shares. The worst off is the car whose
frames cost most beside what they cost with each-for-itself. Medians over seeds. Ends with one JSON
line.

    python bench/fleet_policies.py --plot fleet-policies.svg
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median
from typing import Any

from dapdee_ros.planning.errors import FleetError
from dapdee_ros.simulation.fleet.ma_comparison import (
    ENERGY_SHARE,
    QUALITY_WEIGHT_S,
    ma_model,
    ma_scenario,
    simulated_cost,
)
from dapdee_ros.simulation.fleet.results import CarResult, FleetRun
from dapdee_ros.simulation.fleet.run import simulate_fleet
from dapdee_ros.simulation.fleet.scenario import FleetScenario

POLICIES = (
    "device-only", "edge-only", "equal-shares", "iao", "each-for-itself", "nearest-edge", "price",
    "exact", "posted-price",
)  # fmt: skip


def scenario_of(cars: int, seed: int, args: argparse.Namespace) -> FleetScenario:
    """A fleet whose servers become scarce as it grows."""
    return ma_scenario(
        cars, seed, args.model, rate_hz=args.rate_hz, deadline_s=args.deadline_s,
        seconds=args.seconds,
    )  # fmt: skip


def cost_of(car: CarResult, energy: float = ENERGY_SHARE) -> float:
    """The same of one car, by the median of its latencies."""
    seconds = (1 - energy) * car.median_s + energy * car.frame_j
    return float(seconds + QUALITY_WEIGHT_S * (1 - car.quality))


def worst_off(run: FleetRun, alone: FleetRun) -> float:
    """What frames of the car that loses most cost, over what they cost where each plans alone."""
    return max(
        cost_of(one) / cost_of(before) for one, before in zip(run.cars, alone.cars, strict=True)
    )


def study(cars: int, args: argparse.Namespace) -> dict[str, Any]:
    """All policies for one size of fleet."""
    found: dict[str, Any] = {}
    scenarios = [scenario_of(cars, seed, args) for seed in range(args.seeds)]
    alone = [simulate_fleet(one, "each-for-itself", load=ma_model) for one in scenarios]
    for policy in POLICIES:
        planned, simulated, in_time, worst, lost = [], [], [], [], []
        for seed, scenario in enumerate(scenarios):
            try:
                run = simulate_fleet(scenario, policy, load=ma_model)
            except FleetError as error:
                print(f"{policy} with {cars} cars, seed {seed}: {error}", flush=True)
                continue
            planned.append(run.rounds[-1].cost / cars)
            lost.append(worst_off(run, alone[seed]))
            simulated.append(simulated_cost(run))
            in_time.append(run.totals["in_time_share"])
            worst.append(run.totals["worst_in_time"])
        if planned:
            found[policy] = {
                "runs": len(planned),
                "planned": round(median(planned), 4),
                "simulated": round(median(simulated), 4),
                "in_time": round(median(in_time), 4),
                "worst_car_in_time": round(median(worst), 4),
                "worst_off": round(median(lost), 3),
            }
    return found


def show(cars: int, found: dict[str, Any]) -> None:
    """One size of fleet as a table."""
    best = min(v["planned"] for v in found.values())
    print(f"\n{cars} cars      planned  of best  simulated  in time  worst car  worst off")
    for policy, v in found.items():
        print(
            f"{policy:<15} {v['planned']:8.4f} {v['planned'] / best:8.3f} {v['simulated']:10.4f} "
            f"{v['in_time']:8.1%} {v['worst_car_in_time']:10.1%} {v['worst_off']:10.3f}",
            flush=True,
        )


def plot(figures: dict[int, dict[str, Any]], path: Path) -> None:
    """Planned and simulated cost over the number of cars."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    for axes, what in zip(
        figure.subplots(1, 2, sharey=True), ("planned", "simulated"), strict=True
    ):
        for n, policy in enumerate(POLICIES):
            at = [cars for cars, found in figures.items() if policy in found]
            costs = [figures[cars][policy][what] for cars in at]
            axes.plot(at, costs, marker="osD^vPX<*"[n], label=policy, linewidth=1.2, markersize=4)
        axes.set_title(what)
        axes.set_xlabel("cars")
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("cost of a frame")
    figure.axes[1].legend(fontsize=8)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cars", type=int, nargs="*", default=(5, 10, 20, 35, 50))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate-hz", type=float, default=3.0)
    parser.add_argument("--deadline-s", type=float, default=1.0)
    parser.add_argument("--model", default="roadscenes-det")
    parser.add_argument("--plot", type=Path, help="SVG or PNG file")
    args = parser.parse_args()
    began_s = time.perf_counter()
    figures = {}
    for cars in args.cars:
        figures[cars] = study(cars, args)
        show(cars, figures[cars])
    if args.plot:
        plot(figures, args.plot)
    print(json.dumps({"policies": figures, "wall_s": round(time.perf_counter() - began_s, 1)}))


if __name__ == "__main__":
    main()
