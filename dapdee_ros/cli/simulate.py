"""Run one or more policies over a link in simulated time: identical input, thousands of frames per
second.

Car, link and edge form a pipeline that follows the real rules; planner, plan keeper, link estimator
and ledger are the real code. A model's profiles come from `dapdee profile` or from the samples in
config/profiles; --blocks takes a network whose blocks were measured elsewhere (CSV with the columns
device, model, first_layer, last_layer, seconds, output_bytes).

  dapdee simulate roadsigns --link drive --policy exact --policy neurosurgeon --policy oracle
  dapdee simulate roadsigns --link 4g --load heavy --car-slowdown 1@0,3@20
  dapdee simulate --blocks times.csv --model vgg16 --car-device pi4 --edge-device pc --link wifi
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dapdee_ros.cli import scenario_options
from dapdee_ros.errors import CommandError

if TYPE_CHECKING:
    from dapdee_ros.planning.policy import Problem
    from dapdee_ros.simulation.figures import Figures
    from dapdee_ros.simulation.outcomes import SimulatedRun
    from dapdee_ros.simulation.scenario import Scenario

SUMMARY = "run policies over a link trace in simulated time"

_LONG_RUN_FRAMES = 5000


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("model", metavar="MODEL", nargs="?", help="model folder or name; with --blocks a network")
    add("--model", dest="model_option", metavar="MODEL", help="the same")
    add("--link", default="4g", help="cat1, 3g, 4g, wifi, 8.5mbit, drive, steps:..., or a trace")
    add("--rtt-s", type=float, default=0.02, help="round trip of an empty message (default 0.02)")
    add("--seconds", type=float, help="how long (default 60, or the trace's length)")
    add(
        "--load",
        choices=("light", "heavy"),
        default="light",
        help="light: --rate-hz; heavy: frames come as fast as they can be taken (default light)",
    )
    add("--rate-hz", type=float, default=10.0, help="frames per second (default 10)")
    add("--jitter", type=float, default=0.0, help="of their times, share of the interval, to 0.5")
    add("--seed", type=int, default=0, help="of jitter and of the frames' difficulty (default 0)")
    scenario_options.declare(
        parser,
        codecs_help="f32, all, bottlenecks, or codecs a,b,c; with --blocks raw, f32 or u8",
        profile_help="default: a sample",
    )
    add(
        "--car-overhead-s",
        type=float,
        help="per frame, outside the network (default: what the profile says)",
    )
    add("--edge-overhead-s", type=float, help="the same on the edge")
    add("--queue-bytes", type=int, default=100_000_000, help="that may wait for the link")
    add("--bare-wire", action="store_true", help="count data only, no headers and no answers")
    add("--blocks", help="CSV of block times measured elsewhere")
    add("--car-device", help="with --blocks: the car's name in it")
    add("--edge-device", help="with --blocks: the edge server's name in it")
    add("--warm-up-s", type=float, default=0.0, help="leave out results before this (default 0)")
    add("--out", type=Path, help="folder for the logs of the runs, for `dapdee report`")
    add("--json", action="store_true", help="one JSON object instead of text")


def run(args: argparse.Namespace) -> int:
    """Simulate and print; 0 if every frame is accounted for."""
    with scenario_options.mendable_errors():
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    from dapdee_ros.files import require_folder
    from dapdee_ros.planning.policy import make_policy
    from dapdee_ros.simulation.figures import figures_of
    from dapdee_ros.simulation.run import simulate

    scenario = _scenario(args)
    names = scenario_options.policy_names(args)
    out = require_folder(args.out) if args.out else None
    if not 0 <= args.warm_up_s < scenario.seconds:
        raise CommandError(
            f"--warm-up-s is {args.warm_up_s}; expected 0 or more, and less than the "
            f"{scenario.seconds:g} s that are simulated"
        )
    # All of them first: an unknown name is reported before anything is run.
    policies = {name: make_policy(name, scenario.problem) for name in names}
    runs: dict[str, SimulatedRun] = {}
    files: dict[str, Path] = {}
    for number, (name, policy) in enumerate(policies.items(), start=1):
        work = partial(simulate, scenario, name, made=policy)
        began_s = time.monotonic()
        runs[name] = _with_progress(scenario, name, work)
        # At once: policies take seconds to minutes, and results so far are kept if this is
        # interrupted.
        if out:
            files[name] = out / f"{name.replace(':', '.').replace('/', '-')}.json"
            runs[name].log.save(files[name])
            took_s = time.monotonic() - began_s
            print(
                f"{number} of {len(policies)}: {name}, {took_s:.1f} s, wrote {files[name]}",
                file=sys.stderr,
            )
    found = {name: figures_of(run, args.warm_up_s) for name, run in runs.items()}
    if args.json:
        print(json.dumps(_values(scenario, runs, found, files)))
    else:
        _show(scenario, runs, found, files)
    unbalanced = [n for n, r in runs.items() if not _balanced(r)]
    if unbalanced:
        print(
            f"the ledger of {', '.join(unbalanced)} is not balanced: this is a bug", file=sys.stderr
        )
    return 1 if unbalanced else 0


def _scenario(args: argparse.Namespace) -> Scenario:
    from dapdee_ros.simulation.link_text import parse_link
    from dapdee_ros.simulation.scenario import BARE_WIRE, Scenario, Wire

    link = parse_link(args.link)
    seconds = args.seconds
    if seconds is None:
        seconds = link.duration_s if math.isfinite(link.duration_s) else 60.0
    model = _model(args)
    model["problem"] = _with_overheads(model["problem"], args)
    return Scenario(
        link=link,
        rtt_s=args.rtt_s,
        seconds=seconds,
        rate_hz=None if args.load == "heavy" else args.rate_hz,
        jitter=args.jitter,
        seed=args.seed,
        wire=BARE_WIRE if args.bare_wire else Wire(),
        queue_bytes=args.queue_bytes,
        **scenario_options.scenario_parts(args),
        **model,
    )


def _with_overheads(problem: Problem, args: argparse.Namespace) -> Problem:
    """The problem where a frame costs its sites what the options say, if they say it."""
    from dapdee_ros.planning.overhead import Overhead

    profiles = [
        profile if frame_s is None else replace(profile, overhead=Overhead(frame_s))
        for profile, frame_s in zip(
            problem.profiles, (args.car_overhead_s, args.edge_overhead_s), strict=True
        )
    ]
    return replace(problem, profiles=tuple(profiles))


def _model(args: argparse.Namespace) -> dict[str, Any]:
    """The parts of a scenario that depend on the network."""
    name = args.model or args.model_option
    if not name:
        raise CommandError("which model? Give a model's name or folder, or with --blocks a network")
    if args.blocks:
        from dapdee_ros.simulation.block_chain import chain_problem, read_blocks

        if not (args.car_device and args.edge_device):
            raise CommandError("--blocks needs --car-device and --edge-device")
        codec = "f32" if args.codecs == "all" else args.codecs
        problem = chain_problem(
            read_blocks(args.blocks), name, args.car_device, args.edge_device, codec
        )
        return {"problem": problem, "quality_known": False, "notes": {"model": name}}
    from dapdee_ros.exits.card import find_model, read_card
    from dapdee_ros.planning.from_card import choose_profiles, problem_of, quality_known

    card = read_card(find_model(name))
    car, edge = choose_profiles(card, args.car_profile, args.edge_profile)
    return {
        "problem": problem_of(card, car, edge, scenario_options.codec_names(args)),
        "curves": card.calibration,
        "labels": card.labels,
        "task": card.task["name"],
        "quality_known": quality_known(card),
        "notes": {"model": card.name},
    }


def _with_progress(
    scenario: Scenario, name: str, work: Callable[..., SimulatedRun]
) -> SimulatedRun:
    """Simulate, with a progress bar if it takes a while."""
    if scenario.rate_hz is None or scenario.seconds * scenario.rate_hz < _LONG_RUN_FRAMES:
        return work()
    from tqdm import tqdm

    with tqdm(total=scenario.seconds, desc=name, unit="s", file=sys.stderr) as bar:

        def tell(at_s: float) -> None:
            bar.update(at_s - bar.n)

        return work(progress=tell)


def _balanced(run: SimulatedRun) -> bool:
    ledger = run.log.ledger
    return bool(
        ledger["accepted"] == ledger["results"] + ledger["drops"] and not ledger["in_flight"]
    )


def _values(
    scenario: Scenario,
    runs: dict[str, SimulatedRun],
    found: dict[str, Figures],
    files: dict[str, Path],
) -> dict[str, Any]:
    from dapdee_ros.report.run_log import FORESEES
    from dapdee_ros.report.summary import summarise

    common = next(iter(runs.values())).log.settings
    left_out = ("policy", "expected_quality", FORESEES)
    oracle = next((name for name, run in runs.items() if run.log.settings.get(FORESEES)), None)
    return {
        "settings": {k: v for k, v in common.items() if k not in left_out},
        "runs": {
            name: {
                **found[name].to_dict(),
                "summary": summarise(run.log),
                "complaints": run.complaints,
                "file": str(files[name]) if name in files else None,
            }
            for name, run in runs.items()
        },
        "regret": {name: _regret(run, runs[oracle]) for name, run in runs.items()}
        if oracle is not None and found[oracle].results
        else None,
    }


def _regret(run: SimulatedRun, oracle: SimulatedRun) -> float | None:
    from dapdee_ros.report.comparison import BothAnswered

    both = BothAnswered.of(run.log, oracle.log)
    return both.ratio if both.first_s else None


def _show(
    scenario: Scenario,
    runs: dict[str, SimulatedRun],
    found: dict[str, Figures],
    files: dict[str, Path],
) -> None:
    log = next(iter(runs.values())).log
    settings = log.settings
    rate = "as fast as they are taken" if scenario.rate_hz is None else f"{scenario.rate_hz:g} Hz"
    print(
        f"{settings['model']}: {scenario.link.describe()}, round trip {1e3 * scenario.rtt_s:g} ms, "
        f"deadline {scenario.planning.deadline_s:g} s, {scenario.seconds:g} s of frames, {rate}"
    )
    print(f"car: {settings['car']}\nedge: {settings['edge']}")
    print(f"codecs: {', '.join(settings['codecs'])}\n")
    width = max(len(name) for name in runs)
    print(
        f"{'policy':<{width}}  results    mean  median    95 %     1/s   late  dropped  "
        f"{log.quality_name:8} "
        "sent/frame   edge  fallback  usual plan"
    )
    for name, figures in found.items():
        if not figures.results:
            print(f"{name:<{width}}  no results; {runs[name].complaints or 'no complaint'}")
            continue
        quality = f"{figures.quality:8.3f}" if figures.quality == figures.quality else "unknown "
        print(
            f"{name:<{width}}  {figures.results:7d} {1e3 * figures.mean_latency_s:5.0f}ms "
            f"{1e3 * figures.median_latency_s:5.0f}ms {1e3 * figures.p95_latency_s:5.0f}ms "
            f"{figures.throughput_hz:7.2f} {figures.miss_ratio:6.1%} {figures.drop_ratio:8.1%}  "
            f"{quality} {figures.sent_bytes / 1e3:7.1f} kB {figures.places.get('edge', 0):6.0%}  "
            f"{figures.places.get('fallback', 0):8.1%}  {figures.plan}"
        )
        for complaint, count in runs[name].complaints.items():
            print(f"{'':<{width}}  {count} times {complaint}")
    for path in files.values():
        print(f"wrote {path}")
