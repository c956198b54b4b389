"""Measure how long each node of a model takes on this machine, and write it as JSON.

Planning without hardware (`dapdee plan`) needs a profile of the car and one of the edge server: run
this on each. The nodes measure their own when they start. With ROS it also measures what a frame
costs beside the network (converting, coding, messages), which differs between the sides: --side.

Prints where a frame's time goes, with --plan for one that is sent; --draw draws it. The edge
server's share is that of --edge-profile, else what it would be on this machine.

    dapdee profile roadsigns --out car.json
    dapdee profile roadsigns --plan "exit=5 boundary=image codec=f32" --link 4g --draw frame
    dapdee profile models/mine --threads 2 --note "Pi 4, fan on" --json
    sudo dapdee profile roadsigns --quota 0.1 --out pi_like.json    # emulate a slower processor
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from dapdee_ros.engines.engine import ENGINES, EngineError
from dapdee_ros.errors import CommandError
from dapdee_ros.planning.sites import CAR, EDGE

_IDLE_S = 2.0

SUMMARY = "measure a model's seconds per node on this machine"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", metavar="MODEL", help="model name or folder")
    parser.add_argument(
        "--out", type=Path, help="file to write (default: <model>-profile.json, here)"
    )
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default=ENGINES[0],
        help=f"what computes (default {ENGINES[0]})",
    )
    parser.add_argument("--threads", type=int, default=1, help="inference threads (default 1)")
    parser.add_argument("--repeats", type=int, default=30, help="runs of each node (default 30)")
    parser.add_argument(
        "--budget-s", type=float, default=10.0, help="seconds to measure at most (default 10)"
    )
    parser.add_argument("--device", help="description of this machine (default: its processor)")
    parser.add_argument("--note", default="", help="anything a reader should know, such as cooling")
    parser.add_argument(
        "--quota",
        type=float,
        help="measure under a CPU quota of this share of one core, enforced by the kernel; needs "
        "root (default: the whole machine)",
    )
    parser.add_argument(
        "--compute-w", type=float, default=0.0,
        help="this machine's power while it computes, in W (default: measured where it can be)",
    )  # fmt: skip
    parser.add_argument(
        "--wait-w", type=float, default=0.0,
        help="its power while it waits, in W (default: measured where it can be)",
    )  # fmt: skip
    parser.add_argument(
        "--send-j-per-byte", type=float, default=0.0,
        help="energy of sending a byte, in J (default: unknown)",
    )  # fmt: skip
    parser.add_argument(
        "--side", choices=(CAR, EDGE), default=CAR, help="what the machine is (default car)"
    )
    parser.add_argument(
        "--plan",
        default="",
        help="show a frame of this plan, such as 'exit=5 boundary=image codec=f32' (default: the "
        "whole network here)",
    )
    parser.add_argument("--link", default="4g", help="with --plan: as `dapdee plan` (default 4g)")
    parser.add_argument(
        "--rtt-s", type=float, default=0.0, help="with --plan: round trip in s (default 0)"
    )
    parser.add_argument(
        "--edge-profile", help="with --plan: the edge server's profile (default: as this machine)"
    )
    parser.add_argument(
        "--draw", type=Path, metavar="STEM", help="draw where the time goes: STEM.png, STEM.svg"
    )
    parser.add_argument("--json", action="store_true", help="print the profile instead of a table")


def run(args: argparse.Namespace) -> int:
    """Measure, write, and print where a frame's time goes."""
    if args.threads < 1 or args.repeats < 1 or not args.budget_s > 0:
        raise CommandError("--threads, --repeats and --budget-s must be greater than 0")
    if args.quota is not None and not 0.01 <= args.quota <= args.threads:
        raise CommandError(
            f"--quota is {args.quota}; expected a share of one core from 0.01 to --threads"
        )
    from dapdee_ros.cli import frame_time
    from dapdee_ros.cli.plan import link_hop
    from dapdee_ros.exits.card import ModelFolderError, find_model, read_card
    from dapdee_ros.files import require_folder, require_place
    from dapdee_ros.graph.dag import GraphError
    from dapdee_ros.planning.device_profile import DeviceProfile
    from dapdee_ros.planning.errors import PlanningError
    from dapdee_ros.simulation.link_trace import LinkTraceError

    try:
        card = read_card(find_model(args.model))
        out = require_place(args.out or Path(f"{card.name}-profile.json"))
        plan = frame_time.plan_asked(card, args.plan)
        hop = link_hop(args.link, args.rtt_s)
        edge = DeviceProfile.load(args.edge_profile) if args.edge_profile else None
        if edge is not None:
            edge.check_fits((node.name for node in card.dag.nodes), card.model_id)
        if args.draw:
            require_folder(args.draw.parent)

        # What is wrong with the arguments is known without these seconds.
        from tqdm import tqdm

        from dapdee_ros.exits.runnable import load_runnable
        from dapdee_ros.planning.cost import EnergyPrices
        from dapdee_ros.runtime.bottleneck_times import with_bottlenecks
        from dapdee_ros.runtime.own_profile import codecs_here
        from dapdee_ros.runtime.power import PowerMeter
        from dapdee_ros.runtime.profiling import measure_engine

        model = load_runnable(card.path, args.engine, threads=args.threads)
    except (
        ModelFolderError, GraphError, EngineError, PlanningError, LinkTraceError,
    ) as error:  # fmt: skip
        raise CommandError(str(error)) from error
    notes = [f"under a CPU quota of {args.quota:g} of one core"] if args.quota else []
    notes += [args.note] if args.note else []
    with tqdm(desc="profiling", unit="run", file=sys.stderr) as bar, _quota(args.quota):

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        meter = PowerMeter.find()
        wait_w = meter.during(lambda: time.sleep(_IDLE_S))[0] if meter else 0.0
        measure = partial(
            measure_engine,
            model.engine,
            model_id=model.card.model_id,
            device=args.device,
            threads=args.threads,
            repeats=args.repeats,
            budget_s=args.budget_s,
            progress=progress,
            note="; ".join(notes),
        )
        compute_w, profile = meter.during(measure) if meter else (0.0, measure())
        energy = EnergyPrices(compute_w, 0.0, wait_w, meter.source if meter else "").with_known(
            args.compute_w, args.send_j_per_byte, args.wait_w
        )
        profile = replace(profile, codecs=codecs_here(card), energy=energy)
        profile = with_bottlenecks(profile, model)
        beside = frame_time.measure_beside(card)
    profile = frame_time.with_overhead(profile, beside, args.side)
    profile.save(out)
    whole = frame_time.frame_time(card, plan, profile, edge or profile, beside, hop, edge is None)
    drawn: list[Path] = []
    if args.draw:
        title = f"a frame of {card.name} on {profile.device}, {1e3 * whole.seconds:.2f} ms"
        drawn = frame_time.draw(whole, title, args.draw)
    if args.json:
        print(json.dumps(profile.to_dict()))
        return 0
    print(f"{profile.device}, {profile.threads} thread(s): {1e3 * profile.total_s:.2f} ms in all")
    if energy.any:
        print(
            f"{energy.compute_w:.3g} W computing, {energy.wait_w:.3g} W waiting, "
            f"{energy.send_j_per_byte:.3g} J per byte sent ({energy.source})"
        )
    print(frame_time.table(whole))
    for name, times in profile.codecs.items():
        codec, _, of_file = name.partition("#")
        if of_file:
            print(
                f"{codec} ({of_file}): {1e3 * times.encode_s:.2f} ms to encode, "
                f"{1e3 * times.decode_s:.2f} ms to decode"
            )
    if not beside.car:
        print("without ROS here: conversion and messages are not measured")
    print(f"written to {', '.join(str(path) for path in (out, *drawn))}")
    return 0


@contextlib.contextmanager
def _quota(share: float | None) -> Iterator[None]:
    """Put this process under a CPU quota for a while; None changes nothing.

    Raises:
        CommandError: if this system does not allow it.
    """
    if share is None:
        yield
        return
    from dapdee_ros.testbed.cpu_quota import CpuGroups, CpuQuotaError, find_hierarchy
    from dapdee_ros.testbed.owner import new_name

    own = str(os.getpid())
    try:
        hierarchy = find_hierarchy(Path("/proc/mounts").read_text())
        home = hierarchy.path / _group_of_this_process(hierarchy.version) / "cgroup.procs"
        groups = CpuGroups(new_name(), hierarchy)
        group = groups.make("profile", share)
        # Moves all threads of the process, those of torch with it.
        group.write_text(own)
    except (CpuQuotaError, OSError) as error:
        raise CommandError(
            f"no CPU quota can be set ({error}): --quota needs root and cgroups; "
            "measure without it, or on the slow machine itself"
        ) from error
    try:
        yield
    finally:
        groups.limit("profile", None)
        # Before the cgroups are closed, which ends whatever is still in them.
        home.write_text(own)
        groups.close()


def _group_of_this_process(version: int) -> str:
    """Path of this process's cgroup, relative to the hierarchy's root."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if (version == 2 and number == "0") or (version == 1 and "cpu" in controllers.split(",")):
            return path.lstrip("/")
    return ""
