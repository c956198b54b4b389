"""Does memory stay flat? The whole system for ten minutes, frames at 20 a second over a drive.

Camera, head, link emulator, edge, manager, load monitor, viewer and recorder run as ``dapdee demo``
starts them, and the resident memory of each is read every few seconds. The first third of the run
is for filling caches and buffers; what counts is the mean of the last third beside that of the
second. At the end the ledger has to be balanced.

    python bench/endurance.py [--seconds 600] [--rate-hz 20]

The last line is JSON; the exit status is 1 unless every process stays within 3 %.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from dapdee_ros.nodes.diagnostics import resident_bytes
from dapdee_ros.process_table import car_side
from dapdee_ros.processes import Processes, start_all
from dapdee_ros.report.run_log import RunLog
from dapdee_ros.report.summary import summarise

MOST_GROWTH = 0.03
LEAST_ANSWERED = 0.95


def main() -> int:
    """Run it and print one JSON line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (default 600)")
    parser.add_argument("--rate-hz", type=float, default=20.0, help="frames/s (default 20)")
    parser.add_argument("--link", default="drive", help="the emulated link (default drive)")
    parser.add_argument("--sample-s", type=float, default=3.0, help="between two looks (default 3)")
    parser.add_argument("--domain", type=int, help="ROS domain id (default: a random one)")
    args = parser.parse_args()
    values: dict[str, Any] = {
        "model": "roadsigns",
        "source": "roadsigns",
        "rate_hz": args.rate_hz,
        "deadline_s": 0.3,
        "link": args.link,
        "threads": 1,
        "http_port": 0,
        "emulated_slowdown": 15.0,
        "edge": True,
        "viewer": True,
    }
    environment = {
        **os.environ,
        "ROS_DOMAIN_ID": str(args.domain or random.SystemRandom().randint(1, 101)),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    with tempfile.TemporaryDirectory(prefix="endurance_") as folder:
        log = Path(folder) / "run.json"
        processes = Processes(Path(folder), environment)
        try:
            start_all(processes, car_side(values))
            recording = {"model": values["model"], "path": str(log), "print_status": True}
            processes.start("run_recorder", recording)
            wait_for_frames(processes)
            samples = watch(processes, args.seconds, args.sample_s)
        finally:
            processes.stop(["camera"], within_s=5.0)
            time.sleep(1.0)
            processes.stop(["head"], within_s=5.0)
            time.sleep(0.5)
            processes.stop(within_s=8.0)
        summary = summarise(RunLog.load(log))
        figures = judge(samples, summary, args.seconds)
        if not figures["ok"]:
            for name in ("head", "edge", "manager"):
                said = (Path(folder) / f"{name}.log").read_text(errors="replace")
                print(
                    f"--- {name}, the first and the last of its log\n{said[:2000]}\n{said[-2000:]}"
                )
    print(json.dumps(figures))
    return 0 if figures["ok"] else 1


def wait_for_frames(processes: Processes) -> None:
    """Until the first results are there."""
    end_s = time.monotonic() + 120.0
    while not processes.has_said("run_recorder", " frames "):
        processes.check()
        if time.monotonic() > end_s:
            raise SystemExit("no result within 120 s")
        time.sleep(0.2)


def watch(processes: Processes, seconds: float, every_s: float) -> dict[str, list[int]]:
    """Resident bytes of each process, read again and again."""
    samples: dict[str, list[int]] = {name: [] for name in processes.pids}
    start_s = time.monotonic()
    looks = 0
    while time.monotonic() - start_s < seconds:
        processes.check()
        for name, pid in processes.pids.items():
            samples[name].append(resident_bytes(pid))
        looks += 1
        if looks % 20 == 0:
            shown = "  ".join(f"{name} {s[-1] / 1e6:.1f}" for name, s in samples.items())
            print(f"{time.monotonic() - start_s:5.0f} s  MB: {shown}", flush=True)
        time.sleep(max(0.0, start_s + looks * every_s - time.monotonic()))
    return samples


def judge(samples: dict[str, list[int]], summary: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The growth of each process, and whether all is as it should be."""
    growth = {}
    for name, values in samples.items():
        third = len(values) // 3
        second, last = values[third : 2 * third], values[2 * third :]
        growth[name] = sum(last) / len(last) / (sum(second) / len(second)) - 1
    answered = summary["results"] >= LEAST_ANSWERED * summary["accepted"] > 0
    flat = all(abs(share) <= MOST_GROWTH for share in growth.values())
    return {
        "bench": "endurance",
        "seconds": seconds,
        "memory_mb": {name: round(values[-1] / 1e6, 1) for name, values in samples.items()},
        "growth_last_third": {name: round(share, 4) for name, share in growth.items()},
        "accepted": summary["accepted"],
        "results": summary["results"],
        "recorded": summary["recorded"],
        "drops": summary["drops"],
        "drop_reasons": summary["drop_reasons"],
        "in_flight": summary["in_flight"],
        "balanced": summary["balanced"],
        "flat": flat,
        "answered": answered,
        "ok": bool(answered and flat and summary["balanced"] and not summary["in_flight"]),
    }


if __name__ == "__main__":
    sys.exit(main())
