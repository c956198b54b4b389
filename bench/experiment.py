"""The paper's experiment in the simulator: every model, link, sites and policy.

Three parts, each with its JSON under docs/results/: the matrix over fixed links, regret over
measured drives, and networks measured on a real Raspberry Pi 4. docs/results.md is then written
from all JSON there. What is missing (a model, the traces, the block times) is named and left out.
Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from dapdee_ros.experiment import chains, matrix, regret
from dapdee_ros.experiment.machine import describe_machine
from dapdee_ros.experiment.results_page import write_json, write_page
from dapdee_ros.experiment.subjects import (
    CAR_SLOWDOWN,
    MODELS,
    Subject,
    available,
    make_subject,
)
from dapdee_ros.simulation.block_chain import read_blocks

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
PARTS = ("matrix", "regret", "chains")


def run_matrix(subjects: list[Subject], args: argparse.Namespace) -> dict[str, Any]:
    """The matrix, and its JSON."""
    cells: list[matrix.Cell] = []
    count = len(matrix.LINKS) * len(matrix.LOADS) * len(matrix.CODEC_SETS) * len(subjects)
    with tqdm(total=count, desc="matrix", unit="cell", file=sys.stderr) as bar:
        for subject in subjects:
            cells += matrix.run_matrix(subject, told=lambda cell: bar.update() and None)
    write_json(
        args.out / "results" / "matrix.json",
        {
            "machine": describe_machine(),
            "car_slowdown": args.car_slowdown,
            "rtt_s": matrix.RTT_S,
            "subjects": [subject.describe() for subject in subjects],
            "missing": args.missing,
            "gain_over_dads": _former_gains(cells, args.former, "matrix.json"),
            "cells": [cell.to_dict() for cell in cells],
        },
    )
    ratios = [c.ratio() for c in cells if c.rivals()]
    return {
        "cells": len(cells),
        "not_met": matrix.not_met(cells),
        "worst_ratio": round(max(ratios), 4),
        "better_by_2_percent": sum(r < 0.98 for r in ratios) + len(cells) - len(ratios),
    }


def _former_gains(cells: list[matrix.Cell], folder: Path | None, name: str) -> list[dict[str, Any]]:
    if folder is None or not (folder / name).is_file():
        return []
    return matrix.former_gains(cells, json.loads((folder / name).read_text(encoding="utf-8")))


def run_regret(subjects: list[Subject], args: argparse.Namespace) -> dict[str, Any]:
    """Regret on measured drives, and its JSON."""
    traces, missing = regret.find_traces(args.traces)
    if missing:
        print(f"traces left out, not in {args.traces}: {', '.join(missing)}", file=sys.stderr)
    if not traces:
        return {"skipped": "no trace is here"}
    drives = []
    for subject in subjects:
        for name, link in traces.items():
            with tqdm(desc=f"{subject.name} {name}", unit="s", file=sys.stderr) as bar:

                def follow(policy: str, bar: Any = bar) -> Any:
                    bar.set_postfix_str(policy)
                    bar.reset(total=round(min(args.seconds, link.duration_s)))  # noqa: B023
                    return lambda at_s: bar.update(at_s - bar.n) and None

                drives.append(
                    regret.run_drive(
                        subject,
                        link,
                        policies=args.policies,
                        seconds=args.seconds,
                        progress=follow,
                    )
                )
    found = {
        "machine": describe_machine(),
        "car_slowdown": args.car_slowdown,
        "rtt_s": regret.RTT_S,
        "subjects": [subject.describe() for subject in subjects],
        "drives": [drive.to_dict() for drive in drives],
    }
    path = args.out / "results" / "regret.json"
    if path.is_file():
        found = regret.beside_former(found, json.loads(path.read_text(encoding="utf-8")))
    write_json(path, found)
    return {
        f"{d.model} {d.link}": {
            "regret": round(d.regret("exact"), 4),
            "more_missed": round(d.more_misses("exact"), 5),
            "met": d.met(),
        }
        for d in drives
    }


def run_chains(args: argparse.Namespace) -> dict[str, Any]:
    """Networks measured on a real Pi, and their JSON."""
    if not args.blocks.is_file():
        print(f"block times left out: {args.blocks} is not there", file=sys.stderr)
        return {"skipped": f"{args.blocks} is not there"}
    times = read_blocks(args.blocks)
    with tqdm(desc="chains", unit="cell", file=sys.stderr) as bar:
        cells = chains.run_chains(times, told=lambda cell: bar.update() and None)
    write_json(
        args.out / "results" / "pi4-chains.json",
        {
            "machine": describe_machine(),
            "source": args.blocks.name,
            "rtt_s": matrix.RTT_S,
            "gain_over_dads": _former_gains(cells, args.former, "pi4-chains.json"),
            "cells": [cell.to_dict() for cell in cells],
        },
    )
    return {"cells": len(cells), "not_met": matrix.not_met(cells)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=MODELS, help=", ".join(MODELS))
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--car-slowdown", type=float, default=CAR_SLOWDOWN)
    parser.add_argument("--budget-s", type=float, default=6.0, help="to profile a network")
    parser.add_argument(
        "--profiles",
        type=Path,
        help="folder of measured profiles: those there are used, others measured and kept there",
    )
    parser.add_argument(
        "--former",
        type=Path,
        help="folder with a former run's JSON on the same profiles, to compare",
    )
    parser.add_argument("--seconds", type=float, default=1e9, help="of each drive at most")
    parser.add_argument(
        "--policies", nargs="*", default=regret.POLICIES, help="on the drives; oracle among them"
    )
    parser.add_argument("--traces", type=Path, default=SHARED / "traces")
    parser.add_argument("--blocks", type=Path, default=SHARED / "data" / "layer-times.csv")
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    args = parser.parse_args()
    torch.set_num_threads(1)
    started = time.monotonic()
    names, args.missing = available(tuple(args.models))
    for name, why in args.missing.items():
        print(f"{name} left out: {why}", file=sys.stderr)
    figures: dict[str, Any] = {"bench": "experiment"}
    subjects = []
    if {"matrix", "regret"} & set(args.parts):
        for name in tqdm(names, desc="profiling", unit="network", file=sys.stderr):
            subjects.append(
                make_subject(
                    name,
                    car_slowdown=args.car_slowdown,
                    budget_s=args.budget_s,
                    kept=args.profiles,
                )
            )
    if "matrix" in args.parts and subjects:
        figures["matrix"] = run_matrix(subjects, args)
    if "regret" in args.parts:
        figures["regret"] = run_regret(subjects, args)
    if "chains" in args.parts:
        figures["chains"] = run_chains(args)
    write_page(args.out)
    figures["wall_s"] = round(time.monotonic() - started, 1)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
