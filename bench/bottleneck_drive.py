"""Does the plan move along the points of a bottleneck as a link changes, and is a frame lost?

A drive over a measured trace, with frames as fast as the deepest exit on the car alone could not
keep up with: `exact` then sends what the link carries in time, from a boundary as it is down to the
coarsest point, and less than that by an early exit on the car. Simulated with the live cores, on
profiles of this machine; or, with --live, real nodes over a kernel-shaped link (needs root). Per
codec it says how many frames were sent so and at which rate of the link; then how often the plan
changed between points of one bottleneck, and how many frames were dropped within a second of a
change. Draws the run over time (PNG). Ends with one JSON line.

    python bench/bottleneck_drive.py
    python bench/bottleneck_drive.py --live --seconds 60
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from bisect import bisect_right
from collections import Counter
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import Any

from dapdee_ros.core.planning_settings import PlanningSettings
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.experiment.subjects import make_subject
from dapdee_ros.report.run_log import RunLog
from dapdee_ros.report.timeline import draw_timeline
from dapdee_ros.simulation.link_text import parse_link
from dapdee_ros.simulation.run import simulate
from dapdee_ros.simulation.scenario import Scenario
from dapdee_ros.testbed.settings import TestbedSettings
from dapdee_ros.testbed.testbed import Testbed

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from bench.detector_testbed import room_for_images  # noqa: E402

TRACE = ROOT.parent / "shared" / "traces" / "TMobile-UMTS-driving.up"
RTT_S = 0.02
AFTER_CHANGE_S = 1.0
"""For so long after a change a dropped frame is put down to it."""


def simulated(args: argparse.Namespace) -> RunLog:
    """The drive in simulated time."""
    subject = make_subject(args.model, car_slowdown=args.car_slowdown, kept=args.profiles)
    scenario = Scenario(
        problem=subject.problems["all"],
        link=parse_link(args.link),
        curves=subject.curves,
        rtt_s=RTT_S,
        seconds=args.seconds,
        rate_hz=args.rate_hz,
        jitter=0.2,
        planning=PlanningSettings(deadline_s=args.deadline_s, mode="latency"),
        labels=subject.labels,
        task=read_card(find_model(args.model)).task["name"],
        notes={"model": subject.name},
    )
    return simulate(scenario, "exact").log


def live(args: argparse.Namespace) -> RunLog:
    """The same drive with real nodes over a shaped link."""
    settings = TestbedSettings(
        model=args.model, policy="exact", link=args.link, car=f"emulated:{args.car_slowdown:g}",
        deadline_s=args.deadline_s, rate_hz=args.rate_hz, seconds=args.seconds, source=args.source,
    )  # fmt: skip
    with (
        room_for_images(),
        tempfile.TemporaryDirectory() as folder,
        Testbed(settings, Path(folder)) as bed,
    ):
        return bed.run()


def by_codec(log: RunLog) -> dict[str, dict[str, float]]:
    """For each codec how many frames it coded, their mean bytes, and the link's median rate."""
    known = [record for record in log.link_truth if record.uplink_bps is not None]
    times = [record.at_s for record in known]
    found: dict[str, list[tuple[int, float]]] = {}
    for frame in log.frames:
        place = bisect_right(times, frame.at_s - frame.latency_s) - 1
        if frame.sent_bytes and frame.codec and place >= 0:
            rate_bps = known[place].uplink_bps or 0.0
            found.setdefault(frame.codec, []).append((frame.sent_bytes, rate_bps))
    return {
        codec: {
            "frames": len(of),
            "mean_bytes": round(mean(sent for sent, _ in of), 1),
            "median_link_bps": round(median(rate for _, rate in of)),
        }
        for codec, of in sorted(found.items(), key=lambda item: -mean(s for s, _ in item[1]))
    }


def changes(log: RunLog) -> list[float]:
    """When a plan followed one with another point of the same bottleneck."""
    return [
        after.at_s
        for before, after in pairwise(log.plans)
        if "@" in after.codec
        and before.codec != after.codec
        and before.codec.partition("@")[0] == after.codec.partition("@")[0]
    ]


def figures_of(log: RunLog) -> dict[str, Any]:
    """What a run came to."""
    along = changes(log)
    lost = sum(
        drop.count
        for drop in log.drops
        if any(0 <= drop.at_s - at_s <= AFTER_CHANGE_S for at_s in along)
    )
    reasons: Counter[str] = Counter()
    for drop in log.drops:
        reasons[drop.reason] += drop.count
    late = sum(1 for f in log.frames if f.deadline_s and f.latency_s > f.deadline_s)
    return {
        "answered": len(log.frames),
        "dropped": reasons.total(),
        "drop_reasons": dict(reasons),
        "late": late,
        "plans": len(log.plans),
        "changes_between_points": len(along),
        "dropped_within_a_second_of_these": lost,
        "codecs": by_codec(log),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--model", default="roadscenes-det", help="a model folder, or the name of a model")
    add("--link", default=str(TRACE) if TRACE.is_file() else "drive", help="as `dapdee simulate`")
    add("--seconds", type=float, default=90.0)
    add("--rate-hz", type=float, default=10.0, help="frames per second")
    add("--deadline-s", type=float, default=0.4)
    add("--car-slowdown", type=float, default=8.0, help="of the car, over this machine")
    add("--profiles", type=Path, help="folder of measured profiles, as bench/experiment.py")
    add("--live", action="store_true", help="real nodes over a shaped link (needs root)")
    add("--source", default="roadscenes", help="with --live: the camera's frames")
    add(
        "--out",
        type=Path,
        default=Path("build/bottleneck-drive"),
        help="picture and log of the run",
    )
    args = parser.parse_args()
    log = live(args) if args.live else simulated(args)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    log.save(args.out.with_suffix(".json"))
    draw_timeline(log, args.out.with_suffix(".png"))
    found = figures_of(log)
    print(f"{'codec':14} {'frames':>7} {'bytes':>8} {'link Mbit/s':>12}")
    for codec, of in found["codecs"].items():
        print(
            f"{codec:14} {of['frames']:7.0f} {of['mean_bytes']:8.0f} "
            f"{of['median_link_bps'] / 1e6:12.2f}"
        )
    print(
        f"{found['answered']} frames answered, {found['dropped']} dropped {found['drop_reasons']}, "
        f"{found['late']} late; "
        f"{found['plans']} plans, {found['changes_between_points']} changes from point to point, "
        f"{found['dropped_within_a_second_of_these']} dropped within a second of these"
    )
    print(json.dumps({"bench": "bottleneck_drive", "live": args.live, **found}))


if __name__ == "__main__":
    main()
