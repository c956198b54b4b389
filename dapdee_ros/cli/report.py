"""Write a report of one or several runs: one self-contained HTML file.

RUN is a log (run.json of `dapdee demo`, or one that the testbed, the simulator or a replay wrote)
or a folder with logs; for an interrupted run, its journal (run.json.journal). The report shows
latency over time with exit, cut and link below, the latency distribution, throughput, bytes,
quality, deadline misses, the share of every exit and finishing site, drops with their reasons, and
the settings. Runs of the same scenario are compared with each other, and with the oracle if its run
is among them. Opens in any browser, also on a phone, without a network.

  dapdee report runs/20260101-120000
  dapdee report exact.json dads.json oracle.json --out comparison.html
  dapdee report results/ --json
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dapdee_ros.errors import CommandError

if TYPE_CHECKING:
    from dapdee_ros.report.comparison import Run

SUMMARY = "write a report of one or several runs, as one HTML file"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("runs", metavar="RUN", nargs="+", type=Path, help="log of a run, or a folder with logs")
    add(
        "--out",
        type=Path,
        help="the HTML file (default: report.html in the folder of the logs; of logs in several "
        "folders: here)",
    )
    add(
        "--figures",
        type=Path,
        metavar="DIR",
        help="folder for the figures as SVG (default: report-figures beside report.html)",
    )
    add("--no-figures", action="store_true", help="write no figures beside the report")
    add(
        "--timelines",
        type=int,
        default=24,
        metavar="N",
        help="draw this many runs over time, the first ones (default 24)",
    )
    add("--json", action="store_true", help="print the numbers of all runs as one JSON line")


def run(args: argparse.Namespace) -> int:
    """Read the logs, write the report, print its path."""
    from dapdee_ros.cli.optional_packages import require_charts

    require_charts("a report")
    from dapdee_ros.files import require_place
    from dapdee_ros.report.page import write_report
    from dapdee_ros.report.run_log import plain
    from dapdee_ros.report.summary import summary_text

    if args.timelines < 0:
        raise CommandError(f"--timelines is {args.timelines}; expected 0 or more")
    runs = read_runs(args.runs)
    out = args.out or _beside(args.runs, runs) / "report.html"
    if out.is_dir():
        raise CommandError(f"--out {out} is a folder; give the name of an HTML file")
    figures = args.figures or out.with_name(f"{out.stem}-figures")
    require_place(out)
    numbers = write_report(runs, out, None if args.no_figures else figures, args.timelines)
    if args.json:
        print(json.dumps(plain(numbers)))
        return 0
    if len(runs) == 1:
        print(summary_text(runs[0].summary))
    print(f"report   {out}")
    if numbers["figures"]:
        print(f"figures  {figures}")
    return 0


def _beside(given: list[Path], runs: list[Run]) -> Path:
    """The given folder, or the one that contains all logs; else the current one."""
    if len(given) == 1 and given[0].is_dir():
        return given[0]
    folders = {run.path.parent for run in runs}
    return folders.pop() if len(folders) == 1 else Path()


def read_runs(given: list[Path]) -> list[Run]:
    """All logs that these paths name, each once.

    In a folder, JSON files that are not logs are skipped and named on standard error.

    Raises:
        CommandError: if a file is not a log, or a folder has none.
    """
    from dapdee_ros.report.comparison import Run
    from dapdee_ros.report.journal import read_log
    from dapdee_ros.report.run_log import RunLogError

    runs: dict[Path, Run] = {}
    for path in given:
        files = _logs_in(path) if path.is_dir() else [path]
        found = False
        for file in files:
            try:
                runs.setdefault(file.resolve(), Run(file, read_log(file)))
                found = True
            except RunLogError as error:
                if not path.is_dir():
                    raise CommandError(str(error)) from error
                print(f"dapdee report: skipped: {error}", file=sys.stderr)
        if not found:
            names = ", ".join(sorted(entry.name for entry in path.iterdir())[:20]) or "nothing"
            raise CommandError(f"{path} holds no log of a run, only {names}")
    return list(runs.values())


def _logs_in(folder: Path) -> list[Path]:
    from dapdee_ros.report.journal import SUFFIX, journal_of

    usual = folder / "run.json"
    for path in (usual, journal_of(usual)):
        if path.exists():
            return [path]
    # A journal without its log is all that remains of a run.
    journals = [p for p in folder.rglob(f"*{SUFFIX}") if not p.with_suffix("").exists()]
    return sorted([*folder.rglob("*.json"), *journals])
