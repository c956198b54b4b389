"""Do the long commands of README.md and docs/ work as they are printed, and how long do they take?

Those under half a minute are run by test/test_printed_commands.py, which has the same table; this
runs the rest, each document in a folder of its own with what its commands need, and ends with one
JSON line. Commands that need root are left out without it.

    python -m bench.printed_commands --document docs/models.md
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SHORT_S = 30.0
_LONGEST_S = 1800.0
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)

HERE = ("import", "plan", "profile", "simulate", "report", "replay", "key", "fleet")
"""Subcommands whose lines run as they are, in less than ``SHORT_S``, unless the table has them."""

ELSEWHERE: dict[str, str] = {
    "ros2 ": "needs the ros2 command and a running system",
    "scp ": "needs a second machine",
    "export ROS_SECURITY_": "needs DDS security, which the wheels are built without",
    "pip install": "changes what is installed here",
    "ray start": "starts what keeps running; test/runtime/test_ray_scaling.py has a cluster",
    "dapdee edge": "runs until it is stopped; test/launch starts it",
    "dapdee car": "runs until it is stopped; test/launch starts it",
    "dapdee fleet run": "runs until it is stopped; test/nodes/test_fleet_node.py starts it",
    "dapdee demo": "drives; test/cli/test_demo.py has it",
    "make demo": "drives for a minute; test/cli/test_demo.py has it shorter",
    "make test": "is what runs this",
    "dapdee record": "records a running system; test/cli/test_record.py starts one",
    "python bench/gates.py --model vgg16-cifar10": "needs CIFAR-10",
    "python bench/gates.py --model roadsigns": "rewrites docs/gates.md with this machine's figures",
    "dapdee train": "long",
    "dapdee calibrate": "long, after the training",
    "dapdee bottleneck": "long, after the training",
    "dapdee privacy": "long, after the training",
    "dapdee profile models/mine": "long, after the training",
    "dapdee plan models/mine": "long, after the training",
    "dapdee testbed": "long, and needs root",
}
"""Beginnings of the lines that the test does not run, each with the reason."""


@dataclass(frozen=True)
class Printed:
    """One line of a block of commands.

    Attributes:
        document: the file, from the root of the sources.
        line: its number there.
        command: without the comment behind it.
    """

    document: str
    line: int
    command: str

    @property
    def elsewhere(self) -> str | None:
        """Why the test does not run it; None if it does."""
        return next(
            (why for start, why in ELSEWHERE.items() if self.command.startswith(start)), None
        )

    @property
    def is_long(self) -> bool:
        """Whether it is this file's business."""
        return (self.elsewhere or "").startswith("long")


def documents() -> list[Path]:
    """README.md and the pages of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def printed_in(document: Path) -> list[Printed]:
    """Every line of the document's blocks of commands: those without a language, or of a shell."""
    text = document.read_text(encoding="utf-8")
    found = []
    for block in _BLOCK.finditer(text):
        if block[1] not in ("", "sh", "bash", "console"):
            continue
        first = text.count("\n", 0, block.start(2)) + 1
        for number, line in enumerate(block[2].splitlines(), start=first):
            command = re.sub(r"\s+#.*", "", line).strip()
            if command:
                found.append(Printed(str(document.relative_to(ROOT)), number, command))
    return found


def run_printed(printed: Printed, folder: Path, timeout_s: float) -> tuple[float, str]:
    """Run a command as printed; returns seconds, and what went wrong (empty if nothing did)."""
    env = {
        **os.environ,
        "ROS_HOME": str(folder / "ros_home"),
        "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
    }
    began_s = time.monotonic()
    try:
        done = subprocess.run(
            ["bash", "-c", printed.command],
            cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=timeout_s,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return timeout_s, f"took longer than {timeout_s:g} s"
    wrong = f"status {done.returncode}: {done.stderr[-1500:]}" if done.returncode else ""
    return time.monotonic() - began_s, wrong


def prepare_long(document: str, folder: Path) -> None:
    """What the long commands of a document need in their folder."""
    import cv2

    if document == "docs/models.md":
        draws = np.random.default_rng(1)
        for number, name in enumerate(("bird", "cat")):
            (folder / "my_images" / name).mkdir(parents=True)
            for frame in range(20):
                image = draws.integers(100 * number, 100 * number + 100, (96, 96, 3), np.uint8)
                cv2.imwrite(str(folder / "my_images" / name / f"{frame}.png"), image)
    if document == "docs/testbed.md":
        # 12 Mbit/s in Mahimahi's format: a packet of 1,500 bytes a millisecond.
        (folder / "mytrace.up").write_text("".join(f"{ms}\n" for ms in range(1, 1001)))


def main() -> int:
    """Run them all; one JSON line at the end."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--document", help="this one alone, such as docs/models.md")
    args = parser.parse_args()
    figures: dict[str, Any] = {
        "bench": "printed_commands",
        "seconds": {},
        "failed": {},
        "left_out": [],
    }
    for document in documents():
        long = [printed for printed in printed_in(document) if printed.is_long]
        if not long or args.document not in (None, long[0].document):
            continue
        folder = Path(tempfile.mkdtemp(prefix="printed_"))
        try:
            prepare_long(long[0].document, folder)
            for printed in long:
                if "root" in (printed.elsewhere or "") and os.geteuid() != 0:
                    figures["left_out"].append(printed.command)
                    continue
                seconds, wrong = run_printed(printed, folder, _LONGEST_S)
                print(f"{seconds:7.1f} s  {printed.command}  {wrong}", flush=True)
                figures["seconds"][printed.command] = round(seconds, 1)
                if wrong:
                    figures["failed"][printed.command] = wrong
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    figures["ok"] = not figures["failed"]
    print(json.dumps(figures))
    return 0 if figures["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
