"""Cells of model, link and policy on the testbed: latency, throughput, accuracy, bytes.

Each cell is a run of its own: real nodes, a real shaped link, a car on a CPU quota. Both machines
are measured once. Needs root; ends with one JSON line.

    python bench/testbed.py --links wifi,3g --policies exact,dads,device-only [--load heavy]
    python bench/testbed.py --out docs-runs      # keeps the runs, for the simulator to reproduce
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from dapdee_ros.testbed.figures import figures_of
from dapdee_ros.testbed.settings import CODECS, LOADS, TestbedSettings
from dapdee_ros.testbed.testbed import Testbed, TestbedError
from dapdee_ros.testbed.veth_link import why_no_link


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="roadsigns", help="separated by commas")
    parser.add_argument("--links", default="3g,4g,wifi")
    parser.add_argument("--policies", default="exact,dads,device-only,edge-only")
    parser.add_argument("--car", default="pi4")
    parser.add_argument("--load", choices=LOADS, default="light")
    parser.add_argument("--codecs", choices=tuple(CODECS), default="f32")
    parser.add_argument("--rate", type=float)
    parser.add_argument("--deadline-s", type=float)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--source", choices=("roadsigns", "images"), default="roadsigns")
    parser.add_argument("--path", default="", help="folder of source images")
    parser.add_argument("--out", type=Path, help="folder to keep the runs in")
    args = parser.parse_args()
    if reason := why_no_link():
        print(json.dumps({"bench": "testbed", "skipped": reason}))
        return 0
    cells = []
    with tempfile.TemporaryDirectory() as scratch:
        out = args.out or Path(scratch)
        for model, link, policy in itertools.product(
            args.models.split(","), args.links.split(","), args.policies.split(",")
        ):
            settings = TestbedSettings(
                model=model,
                link=link,
                policy=policy,
                car=args.car,
                load=args.load,
                codecs=args.codecs,
                rate_hz=args.rate,
                deadline_s=args.deadline_s,
                seconds=args.seconds,
                source=args.source,
                path=args.path,
            )
            folder = out / "-".join((Path(model).name, link, policy, args.load, args.codecs))
            try:
                with Testbed(settings, folder, profiles=out / "machines", say=_quiet) as bed:
                    cell = figures_of(bed.run())
            except TestbedError as error:
                # The other cells are worth having all the same.
                cell = {"failed": str(error).splitlines()[0]}
            cells.append({"model": model, "link": link, "policy": settings.asked_policy, **cell})
            print(cell_text(cells[-1]), flush=True)
    common = {"car": args.car, "load": args.load, "codecs": args.codecs, "seconds": args.seconds}
    print(json.dumps({"bench": "testbed", **common, "cells": cells}))
    return 1 if any("failed" in cell for cell in cells) else 0


def cell_text(cell: dict[str, Any]) -> str:
    """One cell in a line."""
    name = f"{cell['model']:<16} {cell['link']:<6} {cell['policy']:<16}"
    if "failed" in cell:
        return f"{name} failed: {cell['failed']}"
    return (
        f"{name} {1e3 * cell['median_latency_s']:7.1f} ms (95 % {1e3 * cell['p95_latency_s']:.0f}) "
        f"{cell['throughput_hz']:6.2f} frames/s, {cell['answered_ratio']:.0%} answered, "
        f"{cell['edge_ratio']:.0%} on the edge, {cell['sent_bytes_per_frame']} B; "
        f"{cell['last_plan']}"
    )


def _quiet(_text: str) -> None:
    """The cells' lines say enough."""


if __name__ == "__main__":
    sys.exit(main())
