"""The experiment's decisive cells on the testbed, and the same cells in the simulator.

Real nodes over a real shaped link, the car on a CPU quota: `exact` with all codecs at every rate,
`dads` as published at two, the car alone, lightly and heavily loaded. Then the simulator is given
the profiles that the testbed measured, and for each load what a frame takes beside the network and
by how much the car is slower than profiled, from a run of the car alone and one of the edge server
alone, which are not compared with it, and simulates every other cell. Under one load all policies
are given the same frames. Where one run of `exact` and of a rival (`dads`, and over WiFi the edge
server or the car alone) differ by less than a factor of 1.5, either way, both are measured twice
more, in turns, and medians of three are compared: one run of a plan can have 1.5 times the
throughput of the next. Needs root. Writes a JSON file in docs/results/ per car, then
docs/results.md from all of them; ends with one JSON line.

    python bench/decisive.py --images cifar10/test
    python bench/decisive.py --images cifar10/test --car emulated:13
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dapdee_ros.exits.card import ModelCard, find_model, read_card
from dapdee_ros.experiment.against_rivals import REPEATS, close_rivals, compare
from dapdee_ros.experiment.machine import describe_machine
from dapdee_ros.experiment.results_page import write_json, write_page
from dapdee_ros.report.foreseen import image_to_result
from dapdee_ros.report.run_log import RunLog
from dapdee_ros.testbed.figures import figures_of
from dapdee_ros.testbed.settings import TestbedSettings
from dapdee_ros.testbed.testbed import Testbed, TestbedError
from dapdee_ros.testbed.twin import (
    Overheads,
    overheads_alone,
    scenario_of,
    twin_figures,
    with_sending,
)
from dapdee_ros.testbed.veth_link import why_no_link

ROOT = Path(__file__).resolve().parents[1]
LINKS = ("cat1", "3g", "4g", "wifi")
DADS_LINKS = ("3g", "wifi")
# Every policy is given the same frames. Light: slow enough that the car alone keeps up, so that
# latency is that of one frame. Heavy: more than anything answers. Neither is in step with a CPU
# quota's periods of 10 ms, or a run would depend on where in a period its frames happen to come.
LIGHT_RATE_HZ, HEAVY_RATE_HZ = 3.1, 63.0
MOST_APART = 0.15
# How many times as good as the best rival `exact` has to be in every cell.
LEAST_RATIO = 0.95
# Median over the cells of how far the predicted time from image to result may be off.
MOST_MEDIAN_OFF = 0.10
SETTLE_S = 7.0
# Heavy load is measured again with more frames if nearly all were answered.
MORE, SATURATED, MOST_TRIES, MOST_RATE_HZ = 1.4, 0.95, 3, 240.0


@dataclass
class Cell:
    """One run on the testbed and its simulation.

    Attributes:
        model: its name.
        link: as the settings name it.
        policy: as the manager was given it.
        load: light or heavy.
        testbed: figures of the run.
        simulator: the same of the simulation, None if it is not compared.
        runs: what the load is about, of every run: seconds or frames/s.
    """

    model: str
    link: str
    policy: str
    load: str
    testbed: dict[str, Any]
    simulator: dict[str, float] | None = None
    runs: list[float] = field(default_factory=list)

    @property
    def figure(self) -> str:
        """What the load is about."""
        return "median_latency_s" if self.load == "light" else "throughput_hz"

    @property
    def apart(self) -> float | None:
        """Simulated over measured, less one."""
        if self.simulator is None:
            return None
        return float(self.simulator[self.figure] / self.testbed[self.figure] - 1)


@dataclass(frozen=True)
class Wanted:
    """A run to be made; see ``Cell``. ``compared`` is False for those that overheads come from."""

    link: str
    policy: str
    load: str
    codecs: str
    compared: bool = True


def wanted_cells() -> list[Wanted]:
    """Every run of a model, those for the overheads of a load before its others."""
    runs = []
    for load in ("light", "heavy"):
        runs += [Wanted("wifi", p, load, "f32", False) for p in ("device-only", "edge-only")]
        runs += [Wanted(link, "exact", load, "all") for link in LINKS]
        runs += [Wanted(link, "dads", load, "f32") for link in DADS_LINKS]
    return runs


def measured(settings: TestbedSettings, folder: Path, machines: Path) -> RunLog:
    """One run on the testbed; once more if something else in the machine broke it."""
    for last in (False, True):
        try:
            with Testbed(settings, folder, profiles=machines, say=lambda _: None) as bed:
                return bed.run()
        except TestbedError as error:
            if last:
                raise
            print(f"again, because: {error}", file=sys.stderr)
    raise AssertionError


def simulated(
    card: ModelCard, settings: TestbedSettings, folder: Path, overheads: Overheads
) -> dict[str, float]:
    """The run's median latency and throughput, from its profiles."""
    figures = twin_figures(scenario_of(card, settings, folder, overheads), settings)
    return {
        "median_latency_s": round(figures.median_latency_s, 5),
        "throughput_hz": round(figures.throughput_hz, 3),
        "plan": figures.plan,  # type: ignore[dict-item]
    }


class Model:
    """The runs of one model."""

    def __init__(self, name: str, args: argparse.Namespace, out: Path, bar: Any) -> None:
        self._name, self._args, self._out, self._bar = name, args, out, bar
        self._card = read_card(find_model(name))
        self._overheads: dict[str, Overheads] = {}
        self._folder = out
        self._settings: dict[tuple[str, str, str], tuple[Path, TestbedSettings]] = {}

    def _log(self, settings: TestbedSettings, folder: Path) -> RunLog:
        """A run, made now or before."""
        if self._args.reuse and (folder / "run.json").exists():
            return RunLog.load(folder / "run.json")
        return measured(settings, folder, self._out / "machines")

    def run(self) -> list[Cell]:
        """All of them, and again where one run each does not tell who is better."""
        cells = [self._cell(wanted) for wanted in wanted_cells()]
        for ours in (c for c in cells if c.policy == "exact"):
            self._repeat(ours, rivals_of(ours, cells))
        return cells

    def _repeat(self, ours: Cell, rivals: list[Cell]) -> None:
        """Measure close rivals twice more, in turns with ours."""
        once = {rival.policy: rival.runs[0] for rival in rivals}
        close = close_rivals(ours.runs[0], once, ours.load)
        taking_turns = [ours, *(rival for rival in rivals if rival.policy in close)]
        for number in range(2, REPEATS + 1):
            for cell in taking_turns if close else ():
                first, settings = self._settings[cell.link, cell.policy, cell.load]
                self._bar.set_postfix_str(f"{first.name}, run {number}")
                log = self._log(settings, first.with_name(f"{first.name}-{number}"))
                cell.runs.append(figures_of(log)[cell.figure])

    def _cell(self, wanted: Wanted) -> Cell:
        self._bar.set_postfix_str(f"{self._name} {wanted.link} {wanted.policy} {wanted.load}")
        args = self._args
        settings = TestbedSettings(
            model=self._name,
            link=wanted.link,
            policy=wanted.policy,
            car=args.car,
            load=wanted.load,
            codecs=wanted.codecs,
            rate_hz=HEAVY_RATE_HZ if wanted.load == "heavy" else LIGHT_RATE_HZ,
            seconds=args.seconds,
            settle_s=SETTLE_S,
            source="images" if args.images else "roadsigns",
            path=str(args.images or ""),
        )
        for further_tries in reversed(range(MOST_TRIES)):
            folder = self._out / "-".join(
                (Path(self._name).name, wanted.link, wanted.policy, wanted.load)
            )
            log = self._log(settings, folder)
            settings = replace(settings, rate_hz=log.settings["rate_hz"])
            found = figures_of(log)
            enough = not settings.is_heavy or found["answered_ratio"] < SATURATED
            if enough or args.reuse or not further_tries:
                break
            settings = replace(settings, rate_hz=min(MORE * settings.rate, MOST_RATE_HZ))
        self._folder = folder
        found["offered_hz"] = round(settings.rate, 2)
        found["calibrated_quality"] = log.plans[-1].predicted_quality
        found |= image_to_result(log)
        cell = Cell(self._card.name, wanted.link, settings.asked_policy, wanted.load, found)
        cell.runs.append(found[cell.figure])
        self._settings[cell.link, cell.policy, cell.load] = (folder, settings)
        if wanted.compared:
            overheads = self._overheads[wanted.load]
            cell.simulator = simulated(self._card, settings, folder, overheads)
        else:
            cell.testbed |= asdict(self._learn(wanted, log, settings, folder))
        self._bar.update()
        self._bar.write(line(cell), file=sys.stderr)
        return cell

    def _learn(
        self, wanted: Wanted, log: RunLog, settings: TestbedSettings, folder: Path
    ) -> Overheads:
        """Overheads from a run that is not compared."""
        known, card = self._overheads, self._card
        if wanted.policy == "device-only":
            new = overheads_alone(log, card, folder)
        else:
            new = with_sending(known[wanted.load], log, card, settings, folder)
        known[wanted.load] = new
        return new


def prediction(cells: list[Cell]) -> dict[str, float]:
    """How far the predicted time from image to result was off, over the compared cells."""
    off = [
        abs(c.testbed["predicted_s"] / c.testbed["took_s"] - 1)
        for c in cells
        if c.simulator is not None
    ]
    return {
        "cells": len(off),
        "median": round(statistics.median(off), 4),
        "most": round(max(off), 4),
    }


def line(cell: Cell) -> str:
    """A cell in a line."""
    apart = "" if cell.apart is None else f", simulated {cell.apart:+.0%}"
    found = cell.testbed
    return (
        f"{cell.model} {cell.link} {cell.policy} {cell.load}: "
        f"{1e3 * found['median_latency_s']:.0f} ms, {found['throughput_hz']:.2f}/s, accuracy "
        f"{found['quality']}, {found['last_plan']}, predicted {1e3 * found['predicted_s']:.0f} and "
        f"took {1e3 * found['took_s']:.0f} ms{apart}"
    )


def gains(cells: list[Cell]) -> list[dict[str, Any]]:
    """What `exact` gains over the car alone, one row per model, load and link."""
    alone = {(c.model, c.load): c.testbed for c in cells if c.policy == "device-only"}
    rows = []
    for cell in (c for c in cells if c.policy == "exact"):
        base, found = alone[cell.model, cell.load], cell.testbed
        gain = (
            found["throughput_hz"] / base["throughput_hz"]
            if cell.load == "heavy"
            else base["median_latency_s"] / found["median_latency_s"]
        )
        rows.append(
            {
                "model": cell.model,
                "load": cell.load,
                "link": cell.link,
                "gain": round(gain, 2),
                "quality_lost": round(base["quality"] - found["quality"], 4),
                "calibrated_loss": round(
                    base["calibrated_quality"] - found["calibrated_quality"], 4
                ),
            }
        )
    return rows


def rivals_of(ours: Cell, cells: list[Cell]) -> list[Cell]:
    """The other policies' runs over the same link under the same load."""
    same = (ours.model, ours.link, ours.load)
    return [c for c in cells if (c.model, c.link, c.load) == same and c.policy != ours.policy]


def against_rivals(cells: list[Cell]) -> list[dict[str, Any]]:
    """`exact` and the best rival of each cell that has one."""
    rows = []
    for cell in (c for c in cells if c.policy == "exact"):
        rivals = {rival.policy: rival.runs for rival in rivals_of(cell, cells)}
        if found := compare(cell.runs, rivals, cell.load):
            row = {"model": cell.model, "load": cell.load, "link": cell.link}
            rows.append(row | asdict(found))
    return rows


def file_of(car: str) -> str:
    """A car as part of a file's name."""
    return re.sub(r"\W+", "-", car)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="vgg16-cifar10,alexnet-cifar10")
    parser.add_argument("--car", default="pi4")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--images", type=Path, help="test images, one folder per class")
    parser.add_argument("--out", type=Path, help="folder to keep the runs in")
    parser.add_argument(
        "--reuse", action="store_true", help="only simulate again what is in --out already"
    )
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where to write")
    args = parser.parse_args()
    if reason := why_no_link():
        print(json.dumps({"bench": "decisive", "skipped": reason}))
        return 0
    models = args.models.split(",")
    if args.images is None and models != ["roadsigns"]:
        # Rendered road signs have none of the other models' labels.
        reason = f"{args.models} need test images: --images DIR, one folder per class"
        print(json.dumps({"bench": "decisive", "skipped": reason}))
        return 0
    started = time.monotonic()
    cells: list[Cell] = []
    with (
        tempfile.TemporaryDirectory() as scratch,
        tqdm(total=len(wanted_cells()) * len(models), unit="cell", file=sys.stderr) as bar,
    ):
        for model in models:
            cells += Model(model, args, args.out or Path(scratch), bar).run()
    rows, rivals = gains(cells), against_rivals(cells)
    write_json(
        args.docs / "results" / f"testbed-{file_of(args.car)}.json",
        {
            "machine": describe_machine(),
            "car": args.car,
            "seconds": args.seconds,
            "cells": [asdict(cell) | {"apart": cell.apart} for cell in cells],
            "gains": rows,
            "rivals": rivals,
        },
    )
    write_page(args.docs)
    apart = [abs(c.apart) for c in cells if c.apart is not None]
    heavy = [r for r in rows if r["load"] == "heavy" and r["link"] in ("4g", "wifi")]
    print(
        json.dumps(
            {
                "bench": "decisive",
                "compared": len(apart),
                "median_apart": round(statistics.median(apart), 4),
                "most_apart": round(max(apart), 4),
                "image_to_result": prediction(cells),
                "gains": rows,
                "rivals": rivals,
                "met": {
                    "rivals": all(r["ratio"] >= LEAST_RATIO for r in rivals),
                    "prediction": prediction(cells)["median"] <= MOST_MEDIAN_OFF,
                    "simulator": sum(a <= MOST_APART for a in apart) == len(apart) >= 12,
                    "heavy_10_times": all(r["gain"] >= 10 for r in heavy),
                    "quality": all(r["calibrated_loss"] <= 0.005 for r in heavy),
                },
                "wall_s": round(time.monotonic() - started, 1),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
