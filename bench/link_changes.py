"""Does the plan follow a real link that is changed while running, and is no frame lost?

Car and edge on the testbed; the link goes 18.88, 1.1, 0.13, 5.85 Mbit/s, then nothing for 5 s, then
5.85 again. Printed for each change: how long until the car could know, until the new plan was in
force, and how many frames were answered between. Needs root; ends with one JSON line.

    python bench/link_changes.py [--rounds 3]
    python bench/link_changes.py --model vgg16-cifar10 --car pi4 --rate 5 --deadline-s 0.5
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.graph.dag import GraphError
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.errors import PlanningError
from dapdee_ros.planning.from_card import problem_of
from dapdee_ros.planning.policy import Problem, Situation, ask, make_policy
from dapdee_ros.planning.sites import Hop, car_and_edge
from dapdee_ros.report.run_log import RunLog
from dapdee_ros.testbed.following import Change, Outage, changes_of, lost_frames, outages_of
from dapdee_ros.testbed.settings import CODECS, TestbedSettings
from dapdee_ros.testbed.testbed import Testbed
from dapdee_ros.testbed.veth_link import why_no_link

MARGIN = 0.1
"""The manager's plan_margin: what saves less is not worth a change, so a plan may be so far off."""

TOLERANCE = 0.005
LINK = "steps:18.88@0,1.1@8,0.13@16,5.85@26,0@34,5.85@39"
SECONDS = 47.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="roadsigns")
    parser.add_argument("--car", default="emulated:20")
    parser.add_argument("--policy", default="exact")
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--deadline-s", type=float, default=0.3)
    parser.add_argument("--no-gates", action="store_true", help="send every frame's boundary")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder to keep the runs in")
    args = parser.parse_args()
    if reason := why_no_link():
        print(json.dumps({"bench": "link_changes", "skipped": reason}))
        return 0
    settings = TestbedSettings(
        model=args.model,
        policy=args.policy,
        car=args.car,
        link=LINK,
        rate_hz=args.rate,
        deadline_s=args.deadline_s,
        seconds=SECONDS,
        gates=not args.no_gates,
    )
    with tempfile.TemporaryDirectory() as scratch:
        out = args.out or Path(scratch)
        rounds = []
        for number in range(args.rounds):
            with Testbed(settings, out / str(number), profiles=out / "machines") as bed:
                rounds.append(report(bed.run(), out / str(number)))
    figures: dict[str, Any] = {
        "bench": "link_changes",
        "model": args.model,
        "car": args.car,
        "gates": not args.no_gates,
        "rounds": rounds,
        "holds": all(r["holds"] for r in rounds),
    }
    print(json.dumps(figures))
    return 0


def report(log: RunLog, folder: Path) -> dict[str, Any]:
    """Print and return one run's figures."""
    problem = problem_in(log, folder)
    changes, outages, lost = changes_of(log), outages_of(log), lost_frames(log)
    over = [excess(log, problem, change) for change in changes]
    for change, share in zip(changes, over, strict=True):
        print(change_text(change))
        print(f"{'':21}{share:.0%} over the best plan at that rate")
    for outage in outages:
        print(outage_text(outage))
    holds = not lost and all(c.holds for c in changes) and all(o.holds for o in outages)
    holds = holds and max(over) <= MARGIN
    print(f"{len(log.frames)} results, {lost} frames lost; {'holds' if holds else 'DOES NOT HOLD'}")
    return {
        "car_slowdown": log.settings["car_slowdown"],
        "changes": [
            {
                **asdict(c),
                "lag_s": c.lag_s,
                "holds": c.holds,
                "excess": round(share, 4),
            }
            for c, share in zip(changes, over, strict=True)
        ],
        "outages": [{**asdict(o), "holds": o.holds} for o in outages],
        "lost": lost,
        "holds": holds,
    }


def problem_in(log: RunLog, folder: Path) -> Problem:
    """What was planned for in a run: the model and both machines as measured."""
    settings = log.settings
    car, edge = (DeviceProfile.load(folder / side / "profile.json") for side in ("car", "edge"))
    card = read_card(find_model(settings["model"]))
    return problem_of(card, car, edge, CODECS[settings["codecs"]])


def excess(log: RunLog, problem: Problem, change: Change) -> float:
    """Share by which the settled plan is slower than the best one, if the true rate is known.

    Some is on purpose: a plan stays while another would gain little. Infinite for a plan that is
    late or less accurate than may be given up.
    """
    settings = log.settings
    rtts = sorted(
        record.rtt_s
        for record in log.links
        if record.rtt_s is not None and change.at_s < record.at_s < change.until_s
    )
    situation = Situation(
        car_and_edge(),
        # The rate counts headers, which are about 6 % on the packets of the testbed's link.
        (Hop(0.94 * change.rate_bps, rtts[len(rtts) // 2] if rtts else 0.0),),
        settings["deadline_s"],
        settings["mode"],
        quality_tolerance=TOLERANCE,
        gates=settings["gates"],
        most_period_s=0.85 / settings["rate_hz"],
    )
    best = ask(make_policy("exact", problem), situation, problem)
    exit_number, boundary, codec = change.settled
    gates: list[tuple[int, float] | tuple[None, None]] = [(None, None)]
    if settings["gates"]:
        gates += [(g.gate, g.threshold) for g in problem.gates if g.exit_number == exit_number]
    prices = [math.inf]
    for gate, threshold in gates:
        # The log does not say with which gate. Not every one lies within the plan's head.
        with contextlib.suppress(PlanningError, GraphError):
            plan = situation.price(
                problem,
                exit_number,
                boundary,
                codec if boundary else best.codec,
                "",
                gate=gate,
                gate_threshold=threshold,
            )
            if plan.late <= best.late and plan.quality >= best.quality - TOLERANCE:
                prices.append(plan.objective_s)
    return min(prices) / best.objective_s - 1


def change_text(change: Change) -> str:
    """One change in a line."""
    exit_number, boundary, codec = change.settled
    plan = f"exit {exit_number}, " + (f"{'+'.join(boundary)} as {codec}" if boundary else "alone")
    rate = f"to {change.rate_bps / 1e6:5.2f} Mbit/s: "
    evidence = _ms(change.evidence_s)
    if not change.needed:
        return f"{rate}plan stays ({plan}); first evidence after {evidence}"
    return (
        f"{rate}first evidence after {evidence}, new plan after {_ms(change.followed_s)}, "
        f"{change.frames} frames between; {plan}; {change.plans} plans in all"
        f"{'' if change.holds else '   <-- TOO LATE'}"
    )


def outage_text(outage: Outage) -> str:
    """One outage in a line."""
    return (
        f"nothing for {outage.seconds:.1f} s: {outage.accepted} frames, {outage.unanswered} "
        f"unanswered, worst {_ms(outage.worst_latency_s)} (deadline {_ms(outage.deadline_s)}); "
        f"the edge answers again after {_ms(outage.edge_used_again_s)}, planned for after "
        f"{_ms(outage.sending_again_s)}{'' if outage.holds else '   <-- DOES NOT HOLD'}"
    )


def _ms(seconds: float | None) -> str:
    return "never" if seconds is None else f"{1e3 * seconds:.0f} ms"


if __name__ == "__main__":
    sys.exit(main())
