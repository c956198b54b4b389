"""A drive that was recorded live, and runs made from it, as material for tests of the report."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

from dapdee_ros.report.comparison import Run
from dapdee_ros.report.run_log import FORESEES, RunLog

DRIVE = Path(__file__).parent / "data" / "drive.json"


def recorded_drive() -> RunLog:
    """21 s of a drive with a tunnel; the ledger is recounted for this part of it."""
    return RunLog.load(DRIVE)


def runs_of(policies: Sequence[str], scenario: str | None = "drive") -> list[Run]:
    """The drive once for every policy, each a tenth slower than the one before."""
    runs = []
    drive = recorded_drive()
    for number, policy in enumerate(policies):
        log = copy.deepcopy(drive)
        log.settings["policy"] = policy
        if policy == "oracle":
            log.settings[FORESEES] = True  # as the simulator says of it
        if scenario is not None:
            log.settings["scenario"] = scenario
        for frame in log.frames:
            frame.latency_s *= 1 + 0.1 * number
        runs.append(Run(Path(f"{number:02d}.json"), log))
    return runs
