"""How much longer does a car drive on a battery under ``exact`` with energy weight than under DADS?

Cars with equal batteries for computing and sending share two edge servers; frames come until the
batteries are empty. DADS plans each car for the shortest latency, as published, over plain tensors
(``alone:dads``), and over the codec that is best for that (``alone:dads+any``). ``exact`` weighs
joules, more as the battery runs down, and may give up ``--quality`` of the quality. Deadline, cars
and frames are the same. Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from functools import cache
from statistics import median
from typing import Any

from dapdee_ros.planning.errors import FleetError
from dapdee_ros.simulation.fleet.members import FleetModel, bundled_model
from dapdee_ros.simulation.fleet.run import simulate_fleet
from dapdee_ros.simulation.fleet.scenario import CarGroup, FleetScenario, ServerGroup

RIVALS = ("alone:dads", "alone:dads+any", "alone:exact", "device-only")


@cache
def _model(name: str, codecs: tuple[str, ...]) -> FleetModel:
    return bundled_model(name, codecs)


def load(name: str, codecs: Sequence[str]) -> FleetModel:
    """A model, loaded once."""
    return _model(name, tuple(codecs))


def drive(policy: str, cars: int, seed: int, args: argparse.Namespace) -> dict[str, float]:
    """One run until the batteries are empty."""
    weighs = policy == "exact"
    group = CarGroup(
        cars, args.model, rate_hz=args.rate_hz, deadline_s=args.deadline_s,
        energy_weight=args.energy_weight if weighs else 0.0, battery_exponent=float(weighs),
        quality_weight_s=None, quality_tolerance=args.quality, battery_j=args.battery_j,
        uplink_bps=(20e6, 60e6),
    )  # fmt: skip
    scenario = FleetScenario(
        (group,), (ServerGroup(2, (0.2, 0.4)),), cells=2, seconds=args.seconds, seed=seed
    )
    t = simulate_fleet(scenario, policy, load=load).totals
    return {name: t[name] for name in ("drove_s", "quality", "in_time_share", "frame_j")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cars", type=int, nargs="*", default=(1, 4, 8))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=400.0, help="longer than any drives")
    parser.add_argument("--battery-j", type=float, default=150.0)
    parser.add_argument("--energy-weight", type=float, default=1.0)
    parser.add_argument("--rate-hz", type=float, default=3.0)
    parser.add_argument("--deadline-s", type=float, default=0.5)
    parser.add_argument("--quality", type=float, default=0.005)
    parser.add_argument("--model", default="roadscenes-det")
    args = parser.parse_args()
    began_s = time.perf_counter()
    figures: dict[str, Any] = {}
    for cars in args.cars:
        found: dict[str, Any] = {}
        for policy in ("exact", *RIVALS):
            try:
                runs = [drive(policy, cars, seed, args) for seed in range(args.seeds)]
            except FleetError as error:
                print(f"{policy} with {cars} cars: {error}", flush=True)
                continue
            found[policy] = {k: round(median(r[k] for r in runs), 4) for k in runs[0]}
        for policy, values in found.items():
            values["exact_drives_times"] = round(found["exact"]["drove_s"] / values["drove_s"], 3)
            print(cars, policy, json.dumps(values), flush=True)
        figures[str(cars)] = found
    print(json.dumps({"rundown": figures, "wall_s": round(time.perf_counter() - began_s, 1)}))


if __name__ == "__main__":
    main()
