"""Where a detector is cut at best, with bottlenecks and without.

A planner's matrix in the simulator, on profiles of this machine: links, light and heavy load, cars
that are several times slower than the edge server. Every policy is run twice, with the model's
bottlenecks and without them, so that what a bottleneck gains is not taken for what a policy gains.
`exact` may give up --tolerance of quality. Ends with one JSON line: in how many cells `exact` cuts
inside the network, and its speed over that of the best rival with the same codecs whose answers are
as good.

    python bench/bottleneck_matrix.py
    python bench/bottleneck_matrix.py --tolerance 0.02 --bottleneck stage2.onnx
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from tqdm import tqdm

from dapdee_ros.exits.bottlenecks import BOTTLENECKS
from dapdee_ros.exits.card import ModelCard, find_model, read_card
from dapdee_ros.experiment import matrix
from dapdee_ros.experiment.matrix import LOADS, OURS, Cell
from dapdee_ros.experiment.subjects import CODECS, Subject, make_subject
from dapdee_ros.planning.from_card import problem_of
from dapdee_ros.simulation.figures import Figures

LINKS = ("3g", "4g", "wifi")
SLOWDOWNS = (5.0, 10.0, 20.0)
RIVALS = ("device-only", "edge-only-jpeg", "edge-only+any", "neurosurgeon+any", "dads+any")
EXACT = "exact"


def where(figures: Figures, image: str) -> str:
    """Where most frames are cut: ``car``, ``image`` or ``inside``."""
    if "car alone" in figures.plan:
        return "car"
    return "image" if f" {image} as " in figures.plan else "inside"


def without_bottlenecks(subject: Subject, card: ModelCard) -> Subject:
    """The same network, which may use every other codec."""
    problem = subject.problems["all"]
    plain = problem_of(card, problem.car, problem.edge, [c for c in CODECS if c != BOTTLENECKS])
    return replace(subject, problems={**subject.problems, "all": plain})


def row_of(cell: Cell, slowdown: float, bottlenecks: bool, image: str) -> dict[str, Any]:
    """A cell as JSON values."""
    return {
        "link": cell.link,
        "load": cell.load,
        "car_slowdown": slowdown,
        "bottlenecks": bottlenecks,
        "exact_cuts": where(cell.figures[EXACT], image),
        # Of those whose answers are as good; None if there is none.
        "over_best_rival": round(1 / cell.ratio(EXACT), 4) if cell.rivals(EXACT) else None,
        "policies": {
            name: {
                "metric_s": round(cell.metric_s(name), 5),
                "quality": round(figures.quality, 4),
                "plan": figures.plan,
                "cuts": where(figures, image),
                "sent_bytes": round(figures.sent_bytes),
            }
            for name, figures in cell.figures.items()
        },
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """One line per cell, with and without bottlenecks side by side."""
    lines = [f"{'cell':24} {'without':44} with"]
    for without, having in zip(rows[::2], rows[1::2], strict=True):
        words = [
            f"{1e3 * r['policies'][EXACT]['metric_s']:7.1f} ms {r['policies'][EXACT]['plan'][:32]}"
            for r in (without, having)
        ]
        cell = f"{having['link']} {having['load']} {having['car_slowdown']:g} times"
        lines.append(f"{cell:24} {words[0]:44} {words[1]}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="roadscenes-det", help="a model with bottlenecks")
    parser.add_argument("--bottleneck", type=Path, nargs="*", default=[], help="files to add")
    parser.add_argument("--tolerance", type=float, default=OURS[EXACT], help="%(default)s")
    parser.add_argument("--profiles", type=Path, help="folder of measured profiles to use or fill")
    args = parser.parse_args()
    started = time.monotonic()
    matrix.OURS[EXACT] = args.tolerance
    rows: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory() as scratch,
        tqdm(total=2 * len(SLOWDOWNS) * len(LINKS) * len(LOADS), file=sys.stderr) as bar,
    ):
        folder = find_model(args.model)
        if args.bottleneck:
            folder = Path(shutil.copytree(folder, Path(scratch) / folder.name))
            (folder / "bottlenecks").mkdir(exist_ok=True)
            for file in args.bottleneck:
                shutil.copy(file, folder / "bottlenecks" / file.name)
        card = read_card(folder)
        profiles = args.profiles or Path(scratch) / "profiles"
        profiles.mkdir(exist_ok=True, parents=True)
        for slowdown in SLOWDOWNS:
            subject = make_subject(str(folder), car_slowdown=slowdown, kept=profiles)
            for link in LINKS:
                for load in LOADS:
                    for of, bottlenecks in (
                        (without_bottlenecks(subject, card), False),
                        (subject, True),
                    ):
                        cell = matrix.run_cell(of, link, load, "all", RIVALS)
                        rows.append(row_of(cell, slowdown, bottlenecks, card.dag.input))
                        bar.update()
    print(table(rows), file=sys.stderr)
    found: dict[str, Any] = {
        "bench": "bottleneck_matrix",
        "model": card.name,
        "tolerance": args.tolerance,
    }
    for bottlenecks, name in ((False, "without"), (True, "with")):
        group = [row for row in rows if row["bottlenecks"] is bottlenecks]
        ratios = [r["over_best_rival"] for r in group if r["over_best_rival"] is not None]
        found[name] = {
            "cells": len(group),
            "inside": sum(row["exact_cuts"] == "inside" for row in group),
            "inside_light": sum(
                row["exact_cuts"] == "inside" and row["load"] == "light" for row in group
            ),
            "over_best_rival": round(median(ratios), 3) if ratios else None,
        }
    gains = [
        a["policies"][EXACT]["metric_s"] / b["policies"][EXACT]["metric_s"]
        for a, b in zip(rows[::2], rows[1::2], strict=True)
    ]
    found["exact_with_over_without"] = [
        round(min(gains), 3),
        round(median(gains), 3),
        round(max(gains), 3),
    ]
    found["rows"] = rows
    found["wall_s"] = round(time.monotonic() - started, 1)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
