"""A detector on the testbed: what each policy answers per second, how soon, and how well.

Real nodes over a real shaped link, the car on a CPU quota, road scenes with known objects: `exact`,
`edge-only-jpeg`, `dads` and `neurosurgeon` with every codec, `dads-f32` as published, and the car
alone, at 3G, 4G and WiFi, under light and heavy load. Rivals of a cell follow each other. Needs
root, and gives sockets room for an image while it runs: the car's processes, which reach each other
by UDP here, are too slow to read one as it comes. Writes docs/results/detector-CAR.json; ends with
one JSON line.

    python bench/detector_testbed.py --model roadscenes-det
    python bench/detector_testbed.py --links 3g,4g --loads light --docs /tmp/found
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.experiment.machine import describe_machine
from dapdee_ros.experiment.results_page import write_json
from dapdee_ros.report.foreseen import image_to_result
from dapdee_ros.testbed.figures import figures_of
from dapdee_ros.testbed.settings import TestbedSettings
from dapdee_ros.testbed.veth_link import why_no_link

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from bench.decisive import SETTLE_S, file_of, measured  # noqa: E402

LINKS, LOADS = ("3g", "4g", "wifi"), ("light", "heavy")
OURS = "exact"
RIVALS = ("edge-only-jpeg", "dads", "dads-f32", "neurosurgeon", "device-only")
AS_PUBLISHED = "-f32"
"""Ends the name of a policy that may only send plain tensors."""
# Slow enough that every policy keeps up over 3G: then latency is that of one frame. No rate is in
# step with a CPU quota's periods (see bench/decisive.py).
LIGHT_RATE_HZ, DEADLINE_S = 1.55, 1.0
# More than anything answers; much more would cost a slow car time for frames that it only drops.
HEAVY_RATE_HZ = {"3g": 15.3, "4g": 20.7, "wifi": 41.0}
LEAST_SHARE = 0.95

_ROOM = Path("/proc/sys/net/core/rmem_default")
_ROOM_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Cell:
    """One run: where, by which policy, and its figures."""

    link: str
    load: str
    policy: str
    figures: Mapping[str, Any]

    @property
    def speed(self) -> float:
        """Results per second under heavy load, else frames per second at the median latency."""
        found = self.figures
        return float(
            found["throughput_hz"] if self.load == "heavy" else 1 / found["median_latency_s"]
        )

    @property
    def line(self) -> str:
        """In words."""
        found = self.figures
        return (
            f"{self.link} {self.load} {self.policy}: {1e3 * found['median_latency_s']:.0f} ms, "
            f"{found['throughput_hz']:.2f}/s, mAP {found['quality']}, {found['last_plan']}, "
            f"{found['sent_bytes_per_frame']} bytes, predicted {1e3 * found['predicted_s']:.0f} "
            f"and took {1e3 * found['took_s']:.0f} ms"
        )


def settings_of(args: argparse.Namespace, link: str, load: str, policy: str) -> TestbedSettings:
    """Of one cell."""
    return TestbedSettings(
        model=args.model,
        policy=policy.removesuffix(AS_PUBLISHED),
        codecs="f32" if policy.endswith(AS_PUBLISHED) else "all",
        link=link,
        car=args.car,
        load=load,
        deadline_s=DEADLINE_S,
        rate_hz=LIGHT_RATE_HZ if load == "light" else HEAVY_RATE_HZ[link],
        seconds=args.seconds,
        settle_s=SETTLE_S,
        source="roadscenes",
    )


def cell_of(policy: str, settings: TestbedSettings, folder: Path, machines: Path) -> Cell:
    """Run it; once more with more frames where nearly all were answered under heavy load."""
    log = measured(settings, folder, machines)
    found = figures_of(log)
    if settings.is_heavy and found["answered_ratio"] > LEAST_SHARE:
        log = measured(replace(settings, rate_hz=2 * settings.rate), folder, machines)
        found = figures_of(log)
    return Cell(settings.link, settings.load, policy, found | image_to_result(log))


@contextmanager
def room_for_images() -> Iterator[None]:
    """Sockets that ask for nothing else get a buffer for several images."""
    before = _ROOM.read_text()
    _ROOM.write_text(str(_ROOM_BYTES))
    try:
        yield
    finally:
        _ROOM.write_text(before)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="roadscenes-det", help="a detector of road scenes")
    parser.add_argument("--car", default="pi4")
    parser.add_argument("--seconds", type=float, default=20.0, help="per cell")
    parser.add_argument("--links", default=",".join(LINKS), help="%(default)s")
    parser.add_argument("--loads", default=",".join(LOADS), help="%(default)s")
    parser.add_argument("--rivals", default=",".join(RIVALS), help="%(default)s")
    parser.add_argument("--out", type=Path, help="folder to keep the runs in")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where to write")
    args = parser.parse_args()
    if reason := why_no_link():
        print(json.dumps({"bench": "detector_testbed", "skipped": reason}))
        return 0
    card = read_card(find_model(args.model))
    started = time.monotonic()
    links, loads = args.links.split(","), args.loads.split(",")
    cells: list[Cell] = []
    policies = (OURS, *args.rivals.split(","))
    with (
        room_for_images(),
        tempfile.TemporaryDirectory() as scratch,
        tqdm(total=len(links) * len(loads) * len(policies), unit="cell", file=sys.stderr) as bar,
    ):
        out = args.out or Path(scratch)
        for load in loads:
            for link in links:
                for policy in policies:
                    bar.set_postfix_str(f"{link} {load} {policy}")
                    folder = out / f"{link}-{load}-{policy}"
                    settings = settings_of(args, link, load, policy)
                    cells.append(cell_of(policy, settings, folder, out / "machines"))
                    bar.update()
                    bar.write(cells[-1].line, file=sys.stderr)
    rows = [
        {
            "link": c.link,
            "load": c.load,
            "policy": c.policy,
            "speed": round(c.speed, 4),
            **c.figures,
        }
        for c in cells
    ]
    values = {
        "machine": describe_machine(),
        "model": card.name,
        "exit_quality": [round(quality, 4) for quality in card.exit_quality],
        "car": args.car,
        "seconds": args.seconds,
        "light_rate_hz": LIGHT_RATE_HZ,
        "cells": rows,
    }
    write_json(args.docs / "results" / f"detector-{file_of(args.car)}.json", values)
    best = {
        (link, load): max(
            c.speed for c in cells if (c.link, c.load) == (link, load) and c.policy != OURS
        )
        for link in links
        for load in loads
    }
    ratios = {
        f"{c.link} {c.load}": round(c.speed / best[c.link, c.load], 3)
        for c in cells
        if c.policy == OURS
    }
    print(
        json.dumps(
            {
                "bench": "detector_testbed",
                "model": card.name,
                "exact_over_best_rival": ratios,
                "wall_s": round(time.monotonic() - started, 1),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
