"""Run the whole system on this machine: camera, head, link, edge, results, live view.

Starts every node as a separate process over real DDS, in a ROS domain of its own, prints events as
they happen, and leaves a folder with the run's log, a report (open report.html in a browser), its
timeline and the last annotated image.
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

from dapdee_ros.cli.roles import (
    WATCH_PERIOD_S,
    add_arguments,
    new_run_folder,
    read_arguments,
    require_ros,
    with_link,
)
from dapdee_ros.errors import CommandError
from dapdee_ros.process_table import CAR_ARGUMENTS, DEFAULT_MODEL, car_side
from dapdee_ros.processes import Processes, start_all

SUMMARY = "run camera, head, link, edge and viewer together on this machine"

ARGUMENTS = tuple(a for a in CAR_ARGUMENTS if a.name not in ("edge", "viewer"))
DEFAULTS = {
    "model": DEFAULT_MODEL,
    "rate_hz": "10",
    "deadline_s": "0.3",
    "link": "drive",
    "threads": "1",
    "http_port": "8080",
}
# A Raspberry Pi 4 is about 10 times slower than a desktop. The network that names road signs is so
# small that even such a car would hardly need an edge; one 60 times slower does. One that finds
# objects takes a car 7 times slower nearly as long as a frame lasts at 10 frames/s: while there is
# no link the car can still answer every frame, at an earlier exit if not at the deepest, and the
# edge is worth it.
_OF_SIGNS = {"source": "roadsigns", "emulated_slowdown": 60.0}
_OF_SCENES = {"source": "roadscenes", "emulated_slowdown": 7.0}

_LONGEST_START_S = 60.0
_SETTLE_S = 0.5


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="how long after the first result (default 60)"
    )
    add_arguments(parser, ARGUMENTS, DEFAULTS)
    parser.epilog = (
        "Unless told otherwise, a classifier sees rendered road signs from a car 60 times slower "
        "than this machine, and any other model rendered road scenes from one 7 times slower."
    )
    parser.add_argument("--out", type=Path, help="folder for the results (default runs/<time>)")
    parser.add_argument(
        "--domain", type=int, help="ROS domain id to use (default: a random one of 1 to 101)"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON line")


def run(args: argparse.Namespace) -> int:
    """Run the demo; 0 if every accepted frame is accounted for and some were answered."""
    if not args.seconds > 0:
        raise CommandError("--seconds must be greater than 0")
    require_ros()
    values = _suited({**read_arguments(args, ARGUMENTS), "edge": True, "viewer": True})
    out = new_run_folder(args.out)
    started_s = time.monotonic()
    domain = args.domain if args.domain is not None else random.SystemRandom().randint(1, 101)
    say = (lambda text: print(text, file=sys.stderr)) if args.json else print
    say(
        f"dapdee demo: model {values['model']}, link {values['link']}, {values['rate_hz']:g} "
        f"frames/s; a car {values['emulated_slowdown']:g} times slower than this machine"
    )
    say(f"  results in {out}")
    if values["http_port"]:
        say(f"  live view: http://127.0.0.1:{values['http_port']} (or as viewer.log says)")
    processes = Processes(
        out,
        with_link(
            {
                **os.environ,
                "ROS_DOMAIN_ID": str(domain),
                "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
                # One small machine acts as two: more threads would only compete.
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
            },
            values,
        ),
    )
    try:
        picture = {"viewer": {"snapshot_path": str(out / "last_picture.png")}}
        start_all(processes, car_side(values), picture)
        processes.start(
            "run_recorder",
            {
                "model": values["model"],
                "path": str(out / "run.json"),
                "settings": json.dumps(_settings(values, args.seconds)),
                "started_s": started_s,
                "print_status": True,
            },
            echo=sys.stderr if args.json else sys.stdout,
        )
        _watch(processes, args)
    finally:
        processes.stop(["camera"], within_s=5.0)
        # Frames in flight are answered or finished by the car within the deadline.
        time.sleep(values["deadline_s"] + _SETTLE_S)
        # The viewer first, or its last image would show missing answers.
        processes.stop(["viewer"], within_s=5.0)
        processes.stop(["head"], within_s=5.0)
        time.sleep(_SETTLE_S)
        processes.stop(within_s=8.0)
    return _conclude(args, out, say)


def _suited(values: dict[str, Any]) -> dict[str, Any]:
    """The values, with a camera and a car that suit the model where none was asked for."""
    from dapdee_ros.exits.card import find_model, read_card
    from dapdee_ros.tasks.classification import Classifier

    names_signs = read_card(find_model(values["model"])).task["name"] == Classifier.name
    usual = _OF_SIGNS if names_signs else _OF_SCENES
    return {**values, **{name: values[name] or value for name, value in usual.items()}}


def _settings(values: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The run's settings for its log."""
    return {
        **values,
        "camera": values["source"],
        "source": "live",
        "car": f"this machine, emulated {values['emulated_slowdown']:g} times slower",
        "seconds": seconds,
    }


def _watch(processes: Processes, args: argparse.Namespace) -> None:
    """Wait until the time is over; restart what dies."""
    end_s = time.monotonic() + _LONGEST_START_S
    first = False
    while time.monotonic() < end_s:
        processes.supervise()
        if not first and processes.has_said("run_recorder", " frames "):
            first = True
            end_s = time.monotonic() + args.seconds
        time.sleep(WATCH_PERIOD_S)
    if not first:
        raise CommandError(
            f"no result within {_LONGEST_START_S:.0f} s; the logs of all nodes are in "
            f"{processes.folder}"
        )


def _conclude(args: argparse.Namespace, out: Path, say: Any) -> int:
    from dapdee_ros.cli.optional_packages import charts_can_be_drawn
    from dapdee_ros.report.comparison import Run
    from dapdee_ros.report.journal import journal_of
    from dapdee_ros.report.page import write_report
    from dapdee_ros.report.run_log import RunLog, RunLogError
    from dapdee_ros.report.summary import summary_text
    from dapdee_ros.report.timeline import draw_timeline

    try:
        drive = Run(out / "run.json", RunLog.load(out / "run.json"))
    except RunLogError as error:
        journal = journal_of(out / "run.json")
        rest = f"; `dapdee report {journal}` shows what was recorded" if journal.exists() else ""
        raise CommandError(f"{error}{rest}") from error
    summary = drive.summary
    drawn = charts_can_be_drawn()
    if drawn:
        draw_timeline(drive.log, out / "timeline.png")
        write_report([drive], out / "report.html", out / "report-figures")
    say("")
    say(summary_text(summary))
    if (out / "last_picture.png").exists():
        say(f"picture  {out / 'last_picture.png'}")
    if drawn:
        say(f"timeline {out / 'timeline.png'}")
        say(f"report   {out / 'report.html'}")
    else:
        say(f"run log  {out / 'run.json'} (no report: matplotlib is not installed)")
    if args.json:
        print(json.dumps(summary))
    if not summary["balanced"] or summary["in_flight"]:
        print("dapdee demo: the ledger is not balanced: this is a bug", file=sys.stderr)
        return 1
    return 0 if summary["results"] else 1
