"""How many frames a second does the simulator play, and is it the same run every time?

The road-sign model on a synthetic drive, its profile from this machine and a car ten times slower.
Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace

import torch

from dapdee_ros.experiment.regret import drive_scenario
from dapdee_ros.experiment.subjects import make_subject
from dapdee_ros.planning.policy import make_policy
from dapdee_ros.simulation.link_text import parse_link
from dapdee_ros.simulation.run import simulate

POLICIES = ("exact", "oracle", "device-only", "neurosurgeon+any")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="roadsigns")
    parser.add_argument("--seconds", type=float, default=300.0, help="of driving")
    parser.add_argument("--rate-hz", type=float, default=10.0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    subject = make_subject(args.model, budget_s=2.0)
    scenario = replace(
        drive_scenario(subject, parse_link("drive")), seconds=args.seconds, rate_hz=args.rate_hz
    )
    figures: dict[str, object] = {"bench": "simulator", "model": args.model}
    for name in POLICIES:
        made = make_policy(name, scenario.problem)
        began = time.process_time()
        first = simulate(scenario, name, made=made)
        spent_s = time.process_time() - began
        again = simulate(scenario, name)
        figures[name] = {
            "frames": first.log.ledger["accepted"],
            "frames_per_cpu_s": round(first.log.ledger["accepted"] / spent_s),
            "times_real_time": round(args.seconds / spent_s),
            "plan_changes": len(first.log.plans) - 1,
            "same_again": first.log == again.log,
        }
        print(name, figures[name])
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
