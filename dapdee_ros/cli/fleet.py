"""Fleets: many cars that share edge servers and radio cells.

Cars, servers and cells come from options or from a YAML file, which docs/fleet.md describes.

  dapdee fleet simulate --cars 20 --servers 2 --seconds 20 --policy price
  dapdee fleet simulate --policy exact --policy alone:dads --report fleet.html scenario.yaml
  dapdee fleet train-ppo --out my_policy --seed 0 --steps 10000000
  dapdee fleet run --cars car1,car2
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dapdee_ros.cli import fleet_training, scenario_options
from dapdee_ros.cli.roles import (
    add_arguments,
    add_side_arguments,
    read_arguments,
    run_until_told,
    side_processes,
)
from dapdee_ros.errors import CommandError
from dapdee_ros.process_table import FLEET_ARGUMENTS, fleet_side
from dapdee_ros.processes import start_all

if TYPE_CHECKING:
    from dapdee_ros.simulation.fleet.results import FleetRun
    from dapdee_ros.simulation.fleet.scenario import FleetScenario

SUMMARY = "many cars, edge servers and radio cells: simulate them, learn, or run the fleet node"

_LONG_RUN_FRAMES = 5000


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    simulate = actions.add_parser(
        "simulate",
        help="run policies over a fleet in simulated time",
        description="Run one or more policies over a fleet in simulated time. Every car has the "
        "real head, every policy the same cars and frames. What a SCENARIO may say is in "
        "docs/fleet.md; options come before it.",
    )
    add = simulate.add_argument
    add("scenario", metavar="SCENARIO", nargs="?", type=Path, help="YAML file (default: 20 cars)")
    add(
        "--policy",
        action="append",
        help="may be repeated: price, exact, exact-worst, iao, ppo, equal-shares, each-for-itself, "
        "nearest-edge, edge-only, device-only, posted-price, ppo:FILE with a policy that train-ppo "
        "has written, or alone:POLICY with a policy for one car, such as alone:dads (default "
        "price)",
    )
    add("--cars", type=int, help="how many, in place of the first group's count")
    add("--servers", type=int, help="edge servers, likewise")
    add("--cells", type=int, help="radio cells")
    add("--seconds", type=float, help="how long frames arrive")
    add("--rate-hz", type=float, help="frames a second of every car")
    add("--model", help="model of every car")
    add("--seed", type=int, help="of everything that is drawn")
    add("--report", type=Path, help="write an HTML page")
    add("--json", action="store_true", help="one JSON object instead of text")
    live = actions.add_parser(
        "run",
        help="run the fleet node: prices and shares for real cars",
        description="Run the fleet node on this machine, beside the edge server: prices for cars, "
        "and their shares for the edge server (docs/fleet.md).",
    )
    add_arguments(live, FLEET_ARGUMENTS)
    add_side_arguments(live)
    fleet_training.configure(
        actions.add_parser(
            "train-ppo",
            help="train a policy for fleets by reinforcement learning",
            description=fleet_training.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )


def run(args: argparse.Namespace) -> int:
    """Simulate and print, 0 if every frame is accounted for; train; or run the node."""
    if args.action == "run":
        values = read_arguments(args, FLEET_ARGUMENTS)
        processes = side_processes(args, "fleet", values)
        start_all(processes, fleet_side(values))
        return run_until_told(processes, args.seconds)
    with scenario_options.mendable_errors():
        return fleet_training.run(args) if args.action == "train-ppo" else _simulate(args)


def _simulate(args: argparse.Namespace) -> int:
    from dapdee_ros.files import require_place
    from dapdee_ros.simulation.fleet.agent import check_policy

    scenario = _scenario(args)
    if args.report:
        require_place(args.report)
    names = list(dict.fromkeys(args.policy or ["price"]))
    for name in names:
        check_policy(name)
    runs, took_s = [], []
    for name in names:
        began_s = time.monotonic()
        runs.append(_with_progress(scenario, name))
        took_s.append(time.monotonic() - began_s)
    if args.report:
        from dapdee_ros.report.fleet_page import write_fleet_report

        write_fleet_report(runs, args.report)
    if args.json:
        values = [
            {**run.to_dict(), "took_s": round(s, 2)} for run, s in zip(runs, took_s, strict=True)
        ]
        print(json.dumps({"runs": values, "report": str(args.report) if args.report else None}))
    else:
        _show(scenario, runs, took_s)
        if args.report:
            print(f"wrote {args.report}")
    unbalanced = [run.policy for run in runs if not run.balanced]
    if unbalanced:
        print(f"frames of {', '.join(unbalanced)} are unaccounted: this is a bug", file=sys.stderr)
    return 1 if unbalanced else 0


def _scenario(args: argparse.Namespace) -> FleetScenario:
    from dapdee_ros.simulation.fleet.scenario import FleetScenario
    from dapdee_ros.simulation.fleet.scenario_file import read_scenario

    scenario = read_scenario(args.scenario) if args.scenario else FleetScenario()
    cars, servers = list(scenario.cars), list(scenario.servers)
    if args.cars is not None:
        cars[0] = replace(cars[0], count=args.cars)
    if args.servers is not None:
        servers[0] = replace(servers[0], count=args.servers)
    for option in ("rate_hz", "model"):
        if (value := getattr(args, option)) is not None:
            cars = [replace(group, **{option: value}) for group in cars]
    given = {
        name: getattr(args, name)
        for name in ("cells", "seconds", "seed")
        if getattr(args, name) is not None
    }
    return replace(scenario, cars=tuple(cars), servers=tuple(servers), **given)


def _with_progress(scenario: FleetScenario, policy: str) -> FleetRun:
    """Simulate, with a progress bar if it takes a while."""
    from dapdee_ros.planning.errors import TooManyStatesError
    from dapdee_ros.simulation.fleet.run import simulate_fleet

    frames = scenario.seconds * sum(group.count * group.rate_hz for group in scenario.cars)
    try:
        if frames < _LONG_RUN_FRAMES:
            return simulate_fleet(scenario, policy)
        from tqdm import tqdm

        with tqdm(total=scenario.seconds, desc=policy, unit="s", file=sys.stderr) as bar:

            def tell(at_s: float) -> None:
                bar.update(at_s - bar.n)

            return simulate_fleet(scenario, policy, progress=tell)
    except TooManyStatesError as error:
        raise CommandError(
            f"{policy} cannot plan for this fleet: {error}. Give fewer cars, or --policy price"
        ) from error


def _show(scenario: FleetScenario, runs: list[FleetRun], took_s: list[float]) -> None:
    cars = sum(group.count for group in scenario.cars)
    servers = sum(group.count for group in scenario.servers)
    models = ", ".join(dict.fromkeys(group.model for group in scenario.cars))
    print(
        f"{cars} cars ({models}), {servers} edge servers, {scenario.cells} cells, "
        f"{scenario.seconds:g} s, seed {scenario.seed}\n"
    )
    width = max(6, *(len(run.policy) for run in runs))
    print(
        f"{'policy':<{width}}  frames  in time   late  dropped    edge  median    95 %  quality  "
        "J/frame  fairness  worst car  servers  cells   took"
    )
    for run, seconds in zip(runs, took_s, strict=True):
        t = run.totals
        accepted = max(t["accepted"], 1)
        print(
            f"{run.policy:<{width}} {t['accepted']:>7} {t['in_time_share']:8.1%} "
            f"{t['late'] / accepted:6.1%} {t['dropped'] / accepted:8.1%} "
            f"{t['edge'] / accepted:7.1%} {_ms(t['median_s'])} {_ms(t['p95_s'])} "
            f"{t['quality']:8.3f} {t['frame_j']:8.3f} {t['jain_in_time']:9.3f} "
            f"{t['worst_in_time']:10.1%} {t['edge_busy']:8.1%} {t['air_busy']:6.1%} "
            f"{seconds:5.1f} s"
        )
        empty = [car.empty_s for car in run.cars if math.isfinite(car.empty_s)]
        if empty:
            print(
                f"{'':<{width}}  {len(empty)} batteries empty, the first after {min(empty):g} s; "
                f"cars drove {t['drove_s']:.1f} s in the mean"
            )


def _ms(value_s: float) -> str:
    return f"{1e3 * value_s:4.0f} ms"
