"""The paper's experiment in the simulator: every model, link, load and policy.

Three parts, each with its JSON under docs/results/ and its section of docs/results.md: the matrix
over fixed links, regret over measured drives, and networks measured on a real Raspberry Pi 4. What
is not there (a model, the traces, the block times) is named and left out. Ends with one JSON line.
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

from dapdee_ros.experiment import chains, matrix, regret, tables
from dapdee_ros.experiment.machine import describe_machine
from dapdee_ros.experiment.results_page import write_json, write_section
from dapdee_ros.experiment.subjects import (
    CAR_SLOWDOWN,
    MODELS,
    TRAINED,
    Subject,
    available,
    make_subject,
)
from dapdee_ros.simulation.block_chain import read_blocks

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
PARTS = ("matrix", "regret", "chains")

_READING = """\
`exact` may give up 0.5 points of accuracy for speed, `exact (0.1 pt)` next to none. A rival counts
against it if its results are at least as accurate (to 0.1 points, about what 10,000 frames can
tell). F and a number: percent of the results that the car had to finish because the edge's answer
did not come in time or the edge refused the frame as busy, usually at a shallower exit. Under heavy
load a policy whose slowest part is the edge server meets some refusals: the car sends as fast as it
can, narrows its window when the edge refuses, and tries again now and then.

What the published policies could not do here: BranchyNet may leave at every branch; a plan has one
gate, so `branchynet` has the best one and may be slower than the paper's. `neurosurgeon` minimises
latency; its energy mode needs watts, which profiles do not hold. Like `branchynet`, `edgent` and
`eddi` it has no mode for throughput: under heavy load it does what it does under light load.
"""

_FORMER = """
### Gain over DADS before and now

How many times faster `exact` is than `dads` with the same codecs, on the same profiles.
Before: the search for throughput walked a coarse, evenly spaced grid of at most 400 minimum cuts,
which could miss the light cut. Now: every split that any grid can find (docs/fidelity.md), and with
codecs every split of which calibration knows what it loses. {changed}

{table}
"""


def run_matrix(subjects: list[Subject], args: argparse.Namespace) -> dict[str, Any]:
    """The matrix, its JSON and its section."""
    cells: list[matrix.Cell] = []
    count = len(matrix.LINKS) * len(matrix.LOADS) * len(matrix.CODEC_SETS) * len(subjects)
    with tqdm(total=count, desc="matrix", unit="cell", file=sys.stderr) as bar:
        for subject in subjects:
            cells += matrix.run_matrix(subject, told=lambda cell: bar.update() and None)
    described = [subject.describe() for subject in subjects]
    machine = describe_machine()
    gains = _former_gains(cells, args.former, "matrix.json")
    former = (
        _FORMER.format(changed=tables.changed_words(gains), table=tables.former_table(gains))
        if gains
        else ""
    )
    write_json(
        args.out / "results" / "matrix.json",
        {
            "machine": machine,
            "car_slowdown": args.car_slowdown,
            "rtt_s": matrix.RTT_S,
            "subjects": described,
            "missing": args.missing,
            "gain_over_dads": gains,
            "cells": [cell.to_dict() for cell in cells],
        },
    )
    missing = "".join(f"\nNot here: {name} ({why}).\n" for name, why in args.missing.items())
    not_met = tables.misses(cells)
    write_section(
        args.out / "results.md",
        "matrix",
        f"""## Every policy over fixed links (simulator)

{tables.machine_words(machine)}.

The edge server is this machine on one thread, the car the same {args.car_slowdown:g} times slower.
Round trip {1e3 * matrix.RTT_S:g} ms. Light load: frames one at a time. Heavy load: the next frame
comes as soon as one is taken, four may be under way. Deadline: four times what the car alone takes.
Every policy knows the link's rate and plans once, with the headers of messages counted; frames then
run by the rules of the real head and edge. JSON: [matrix.json](results/matrix.json).

{tables.subject_table(described)}
{missing}
{_READING}
{tables.matrix_summary(cells)}

{"Not met:" if not_met else "Met in every cell."}

{not_met}

### Gain over policies as published

How many times faster `exact` with codecs is than a policy with plain float32 tensors (latency under
light load, throughput under heavy load), and its accuracy over that of the full network.

{tables.gain_table(cells)}
{former}
### All figures

{tables.matrix_tables(cells)}
""",
    )
    ratios = [c.ratio() for c in cells if c.rivals()]
    return {
        "cells": len(cells),
        "not_met": not_met.splitlines(),
        "worst_ratio": round(max(ratios), 4),
        "better_by_2_percent": sum(r < 0.98 for r in ratios) + len(cells) - len(ratios),
    }


def _former_gains(cells: list[matrix.Cell], folder: Path | None, name: str) -> list[dict[str, Any]]:
    if folder is None or not (folder / name).is_file():
        return []
    return tables.former_gains(cells, json.loads((folder / name).read_text(encoding="utf-8")))


def run_regret(subjects: list[Subject], args: argparse.Namespace) -> dict[str, Any]:
    """Regret on measured drives, its JSON and its section."""
    traces, missing = regret.find_traces(args.traces)
    if missing:
        print(f"traces left out, not in {args.traces}: {', '.join(missing)}", file=sys.stderr)
    trained = [subject for subject in subjects if subject.accuracy_data]
    if not traces or not trained:
        return {"skipped": "no trace or no trained model is here"}
    drives = []
    for subject in trained:
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
    machine = describe_machine()
    write_json(
        args.out / "results" / "regret.json",
        {
            "machine": machine,
            "car_slowdown": args.car_slowdown,
            "rtt_s": regret.RTT_S,
            "subjects": [subject.describe() for subject in trained],
            "drives": [drive.to_dict() for drive in drives],
        },
    )
    write_section(
        args.out / "results.md",
        "regret",
        f"""## Regret on measured drives (simulator)

{tables.machine_words(machine)}.

The oracle knows what the link will do and chooses for every frame anew; everybody else plans with
the live estimator, keeper and probes. Everybody minimises latency. A policy may beat the oracle's
mean where it answers less accurately: the oracle takes the most accurate exit that is in time, and
of plans within 0.5 points the fastest. JSON: [regret.json](results/regret.json).

{tables.regret_tables(drives)}
""",
    )
    return {
        f"{d.model} {d.link}": {
            "regret": round(d.regret("exact"), 4),
            "more_missed": round(d.more_misses("exact"), 5),
            "met": d.met(),
        }
        for d in drives
    }


def run_chains(args: argparse.Namespace) -> dict[str, Any]:
    """Networks measured on a real Pi, their JSON and their section."""
    if not args.blocks.is_file():
        print(f"block times left out: {args.blocks} is not there", file=sys.stderr)
        return {"skipped": f"{args.blocks} is not there"}
    times = read_blocks(args.blocks)
    with tqdm(desc="chains", unit="cell", file=sys.stderr) as bar:
        cells = chains.run_chains(times, told=lambda cell: bar.update() and None)
    machine = describe_machine()
    gains = _former_gains(cells, args.former, "pi4-chains.json")
    former = (
        _FORMER.format(
            changed=tables.changed_words(gains),
            table="Cells in which it has changed:\n\n"
            + tables.former_table(gains, changed_only=True),
        )
        if gains
        else ""
    )
    write_json(
        args.out / "results" / "pi4-chains.json",
        {
            "machine": machine,
            "source": args.blocks.name,
            "rtt_s": matrix.RTT_S,
            "gain_over_dads": gains,
            "cells": [cell.to_dict() for cell in cells],
        },
    )
    not_met = tables.misses(cells)
    write_section(
        args.out / "results.md",
        "pi4-chains",
        f"""## From a real Raspberry Pi 4 (simulator)

Block times of Keras networks measured on a Raspberry Pi 4, an i5-2500 and a PC with a 6700K
(Lockhart et al., Scission, UCC 2020; TensorFlow, batch 1), chains with one exit. `raw float32`
sends the picture as float32 as well, `float32` as the bytes that it is; `u8` sends a quarter of
float32's bytes for every other tensor. What that costs in time and accuracy was not measured on
these devices and is left out: its figures are a bound. Otherwise as in the matrix. JSON:
[pi4-chains.json](results/pi4-chains.json).

{tables.matrix_summary(cells)}

{"Not met:" if not_met else "Met in every cell."}

{not_met}
{former}
{tables.matrix_tables(cells)}
""",
    )
    return {"cells": len(cells), "not_met": not_met.splitlines()}


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
    wanted = names if "matrix" in args.parts else [n for n in names if n in TRAINED]
    subjects = []
    if {"matrix", "regret"} & set(args.parts):
        for name in tqdm(wanted, desc="profiling", unit="network", file=sys.stderr):
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
    figures["wall_s"] = round(time.monotonic() - started, 1)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
