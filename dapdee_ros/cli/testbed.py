"""Run car and edge server on this machine as if on two: over a real, shaped link, with a slow car.

Real nodes communicate over real DDS between two network namespaces. The kernel shapes the link
between them, with a fixed rate, steps or a trace; a CPU quota makes the car's processes as slow as
on a Raspberry Pi. Needs root.

    dapdee testbed --link 4g --car pi4
    dapdee testbed --model vgg16-cifar10 --policy dads --load heavy --link wifi
    dapdee testbed --link steps:18.88@0,1.1@10,0.13@20,5.85@30 --seconds 40 --json
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from dapdee_ros.cli.roles import check_model, new_run_folder, require_ros
from dapdee_ros.engines.engine import ENGINES
from dapdee_ros.errors import CommandError
from dapdee_ros.simulation.link_text import LINK_TEXT_HELP
from dapdee_ros.testbed.car_speed import CAR_TEXT_HELP
from dapdee_ros.testbed.settings import CODECS, LOADS, SOURCES, TestbedSettings

SUMMARY = "run both sides here over a real, shaped link, the car on a CPU quota (needs root)"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    usual = TestbedSettings()
    add = parser.add_argument
    add("--model", default=usual.model, help="model name or folder (default %(default)s)")
    add("--policy", default=usual.policy, help="policy (default %(default)s)")
    add("--link", default=usual.link, help=f"{LINK_TEXT_HELP} (default %(default)s)")
    add("--car", default=usual.car, help=f"{CAR_TEXT_HELP} (default %(default)s)")
    add(
        "--load",
        choices=LOADS,
        default=usual.load,
        help="light: lowest latency at 10 frames/s; heavy: more frames than can be answered, for "
        "highest throughput (default %(default)s)",
    )
    add(
        "--codecs",
        choices=tuple(CODECS),
        default=usual.codecs,
        help="codecs for boundaries (default %(default)s)",
    )
    add("--deadline-s", type=float, help="seconds to a result (default 0.3 light, 1 heavy)")
    add("--rate", type=float, help="frames per second (default 10 light, 60 heavy)")
    add("--seconds", type=float, default=usual.seconds, help="how long (default %(default)g)")
    add(
        "--settle-s",
        type=float,
        default=usual.settle_s,
        help="seconds under quota and link before measuring (default %(default)g)",
    )
    add("--source", choices=SOURCES, default=usual.source, help="the frames")
    add("--path", default="", help="folder of frames, unless they are rendered")
    add("--engine", choices=ENGINES, default=usual.engine, help="what computes on each side")
    add("--threads", type=int, default=usual.threads, help="inference threads of each side")
    add("--delay-s", type=float, default=0.0, help="delay of each direction; needs netem")
    add("--loss", type=float, default=0.0, help="share of lost packets, 0 to 1; needs netem")
    add("--domain", type=int, help="ROS domain id (default: from the process's number)")
    add("--out", type=Path, help="folder for the results (default runs/<time>)")
    add("--json", action="store_true", help="print the summary as one JSON line")


def run(args: argparse.Namespace) -> int:
    """Run it; 0 if every accepted frame is accounted for and some were answered."""
    from dapdee_ros.testbed.veth_link import why_no_link

    if reason := why_no_link():
        raise CommandError(
            f"{reason}. Without it the link can be emulated: dapdee demo --link {args.link}"
        )
    require_ros()
    check_model(args.model)
    from dapdee_ros.report.summary import summarise, summary_text
    from dapdee_ros.simulation.link_trace import LinkTraceError
    from dapdee_ros.testbed.car_speed import CarTextError
    from dapdee_ros.testbed.testbed import Testbed, TestbedError

    def say(text: str) -> None:
        print(text, file=sys.stderr if args.json else sys.stdout, flush=True)

    try:
        settings = _settings(args)
        bed = Testbed(settings, new_run_folder(args.out), say=say)
    except (ValueError, LinkTraceError, CarTextError) as error:
        raise CommandError(str(error)) from error
    say(f"dapdee testbed: {settings.scenario}, policy {settings.asked_policy}")
    try:
        with bed:
            log = bed.run()
    except TestbedError as error:
        raise CommandError(str(error)) from error
    summary = {**summarise(log), "settings": log.settings, "log": str(bed.saved_log)}
    say("")
    say(summary_text(summary))
    say(f"log      {bed.saved_log}")
    if args.json:
        print(json.dumps(summary))
    if not summary["balanced"] or summary["in_flight"]:
        print("dapdee testbed: the ledger is not balanced: this is a bug", file=sys.stderr)
        return 1
    return 0 if summary["recorded"] else 1


def _settings(args: argparse.Namespace) -> TestbedSettings:
    return TestbedSettings(
        model=args.model,
        policy=args.policy,
        link=args.link,
        car=args.car,
        load=args.load,
        codecs=args.codecs,
        deadline_s=args.deadline_s,
        rate_hz=args.rate,
        seconds=args.seconds,
        settle_s=args.settle_s,
        source=args.source,
        path=args.path,
        engine=args.engine,
        threads=args.threads,
        delay_s=args.delay_s,
        loss_ratio=args.loss,
        domain=args.domain,
    )
