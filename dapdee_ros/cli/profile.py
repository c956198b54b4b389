"""Measure how long each node of a model takes on this machine, and write it as JSON.

Planning without hardware (`dapdee plan`) needs a profile of the car and one of the edge server:
run this on each. The nodes do the same by themselves when they start.

    dapdee profile roadsigns --out car.json
    dapdee profile models/mine --threads 2 --note "Pi 4, fan on" --json
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from dapdee_ros.cli.errors import CommandError

SUMMARY = "measure a model's seconds per node on this machine"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", metavar="MODEL", help="model name or folder")
    parser.add_argument(
        "--out", type=Path, help="file to write (default: <model>-profile.json, here)"
    )
    parser.add_argument("--threads", type=int, default=1, help="inference threads (default 1)")
    parser.add_argument("--repeats", type=int, default=30, help="runs of each node (default 30)")
    parser.add_argument(
        "--budget-s", type=float, default=10.0, help="seconds to measure at most (default 10)"
    )
    parser.add_argument("--device", help="this machine in words (default: its processor)")
    parser.add_argument("--note", default="", help="anything a reader should know: quota, cooling")
    parser.add_argument("--json", action="store_true", help="print the profile instead of a table")


def run(args: argparse.Namespace) -> int:
    """Measure, write, and say what takes longest."""
    if args.threads < 1 or args.repeats < 1 or not args.budget_s > 0:
        raise CommandError("--threads, --repeats and --budget-s must be greater than 0")
    import torch
    from tqdm import tqdm

    from dapdee_ros.exits.card import ModelFolderError, find_model
    from dapdee_ros.exits.model_folder import load_model
    from dapdee_ros.graph.dag import GraphError
    from dapdee_ros.graph.profiling import measure_profile

    try:
        model = load_model(find_model(args.model))
    except (ModelFolderError, GraphError) as error:
        raise CommandError(str(error)) from error
    height, width = model.card.input_size
    with tqdm(desc="profiling", unit="run", file=sys.stderr) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        profile = measure_profile(
            model.runner,
            torch.randint(0, 256, (1, height, width, 3), dtype=torch.uint8),
            model_id=model.card.model_id,
            device=args.device,
            threads=args.threads,
            repeats=args.repeats,
            budget_s=args.budget_s,
            progress=progress,
            note=args.note,
        )
    out = args.out or Path(f"{model.card.name}-profile.json")
    try:
        profile.save(out)
    except OSError as error:
        raise CommandError(f"cannot write {out}: {error}") from error
    if args.json:
        print(json.dumps(profile.to_dict()))
        return 0
    print(f"{profile.device}, {profile.threads} thread(s): {1e3 * profile.total_s:.2f} ms in all")
    slowest = sorted(profile.node_seconds.items(), key=lambda item: -item[1])[:10]
    for name, seconds in slowest:
        print(f"{1e3 * seconds:8.3f} ms  {name}")
    print(f"written to {out}")
    return 0
