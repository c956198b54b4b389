"""Run the whole system on this machine: camera, head, link, edge, result, live picture.

Starts every node as a process of its own over real DDS, with a ROS domain to itself, prints what
happens, and leaves a folder with the log of the run, its timeline and the last live picture.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from dapdee_ros.cli.errors import CommandError
from dapdee_ros.cli.processes import Processes
from dapdee_ros.cli.roles import (
    add_camera_arguments,
    check_camera_arguments,
    check_model,
    far_remaps,
    new_run_folder,
    require_ros,
    start_car,
    start_edge,
)
from dapdee_ros.runtime.slow_runner import MOST_SLOWDOWN

SUMMARY = "run camera, head, link, edge and viewer together on this machine"

_LONGEST_START_S = 60.0
_SETTLE_S = 0.5


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (default 60)")
    parser.add_argument("--model", default="roadsigns", help="model name or folder (roadsigns)")
    parser.add_argument(
        "--link",
        default="drive",
        help="emulated link: cat1, 3g, 4g, wifi, 8.5mbit, drive, drive:seed=7, "
        "steps:5.85@0,1.1@10, a trace file, or none for no emulator (default drive)",
    )
    parser.add_argument(
        "--car-slowdown",
        type=float,
        default=40.0,
        help="how many times slower than one core of this machine the car shall be; a Raspberry Pi "
        "4 is about 10 times slower than a desktop, the small network of the demo needs more to "
        "make the car's life hard; 1 is no emulation (default 40)",
    )
    add_camera_arguments(parser)
    parser.add_argument(
        "--port", type=int, default=8080, help="live picture on this port, 0: none (default 8080)"
    )
    parser.add_argument("--out", type=Path, help="folder for the results (default runs/<time>)")
    parser.add_argument(
        "--domain", type=int, help="ROS domain id to use (default: one that nobody uses)"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON line")


def run(args: argparse.Namespace) -> int:
    """Run the demo; 0 if every accepted frame is accounted for and most were answered."""
    if not args.seconds > 0:
        raise CommandError("--seconds must be greater than 0")
    check_camera_arguments(args)
    if not 1 <= args.car_slowdown <= MOST_SLOWDOWN:
        raise CommandError(f"--car-slowdown must be between 1 and {MOST_SLOWDOWN:g}")
    require_ros()
    check_model(args.model)
    out = new_run_folder(args.out)
    started_s = time.monotonic()
    domain = args.domain if args.domain is not None else random.SystemRandom().randint(1, 101)
    say = (lambda text: print(text, file=sys.stderr)) if args.json else print
    say(f"dapdee demo: model {args.model}, link {args.link}, {args.rate_hz:g} frames/s, results in")
    say(f"  {out}")
    if args.port:
        say(f"  live picture: http://127.0.0.1:{args.port} (or as viewer.log says)")
    processes = Processes(
        out,
        {
            **os.environ,
            "ROS_DOMAIN_ID": str(domain),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            # One small machine plays two: more threads would only get in each other's way.
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        },
    )
    try:
        _start(processes, args, out, started_s)
        _watch(processes, args, started_s)
    finally:
        processes.stop(["camera"], within_s=5.0)
        # What is on its way is answered or finished by the car within the deadline.
        time.sleep(args.deadline_s + _SETTLE_S)
        # The picture first, or it would show how the answers stay away.
        processes.stop(["viewer"], within_s=5.0)
        processes.stop(["head"], within_s=5.0)
        time.sleep(_SETTLE_S)
        processes.stop(within_s=8.0)
    return _conclude(args, out, say)


def _start(processes: Processes, args: argparse.Namespace, out: Path, started_s: float) -> None:
    emulated = args.link != "none"
    # The slowest to start come first.
    start_edge(processes, args.model, 1, far_remaps(emulated))
    camera = {"source": args.source, "path": args.path, "rate_hz": args.rate_hz}
    start_car(processes, args.model, 1, args.deadline_s, camera, args.car_slowdown)
    settings = {
        "model": args.model,
        "link": args.link,
        "rate_hz": args.rate_hz,
        "deadline_s": args.deadline_s,
        "source": args.source,
        "car_slowdown": args.car_slowdown,
    }
    processes.start(
        "run_recorder",
        {
            "model": args.model,
            "path": str(out / "run.json"),
            "settings": json.dumps(settings),
            "started_s": started_s,
            "print_status": True,
        },
        echo=sys.stderr if args.json else sys.stdout,
    )
    if emulated:
        processes.start("link_emulator", {"link": args.link})
    processes.start(
        "viewer",
        {
            "model": args.model,
            "deadline_s": args.deadline_s,
            "http_port": args.port,
            "snapshot_path": str(out / "last_picture.png"),
        },
    )


def _watch(processes: Processes, args: argparse.Namespace, started_s: float) -> None:
    """Wait until the time is over; raise if a process ends by itself."""
    end_s = started_s + _LONGEST_START_S
    first = False
    while time.monotonic() < end_s:
        processes.check()
        if not first and processes.has_said("run_recorder", " frames "):
            first = True
            end_s = time.monotonic() + args.seconds
        time.sleep(0.1)
    if not first:
        raise CommandError(
            f"no result within {_LONGEST_START_S:.0f} s; the logs of all nodes are in "
            f"{processes.folder}"
        )


def _conclude(args: argparse.Namespace, out: Path, say: Any) -> int:
    from dapdee_ros.report.run_log import RunLog, RunLogError
    from dapdee_ros.report.summary import summarise, summary_text
    from dapdee_ros.report.timeline import draw_timeline

    try:
        log = RunLog.load(out / "run.json")
    except RunLogError as error:
        raise CommandError(str(error)) from error
    summary = summarise(log)
    draw_timeline(log, out / "timeline.png")
    say("")
    say(summary_text(summary))
    say(f"timeline {out / 'timeline.png'}")
    if (out / "last_picture.png").exists():
        say(f"picture  {out / 'last_picture.png'}")
    if args.json:
        print(json.dumps(summary))
    if not summary["balanced"] or summary["in_flight"]:
        print("dapdee demo: the ledger is not balanced: a defect", file=sys.stderr)
        return 1
    return 0 if summary["results"] else 1
