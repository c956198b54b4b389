"""Figures of a run on the testbed."""

from __future__ import annotations

import math
import statistics
from typing import Any

from dapdee_ros.report.run_log import RunLog
from dapdee_ros.report.summary import judged, quantile
from dapdee_ros.testbed.testbed import TestbedError


def figures_of(log: RunLog) -> dict[str, Any]:
    """A run's figures: seconds, frames per second, shares from 0 to 1, bytes per frame.

    Raises:
        TestbedError: if there are no results.
    """
    frames, settings = log.frames, log.settings
    if not frames:
        raise TestbedError("no frame was answered in the measured time")
    latencies = [frame.latency_s for frame in frames]
    quality = judged(log).quality()
    accepted = settings["accepted_in_window"]
    return {
        "car_slowdown": round(settings["car_slowdown"], 2),
        "median_latency_s": round(statistics.median(latencies), 5),
        "p95_latency_s": round(quantile(latencies, 0.95), 5),
        "throughput_hz": round(len(frames) / settings["seconds"], 3),
        "answered_ratio": round(len(frames) / accepted, 4),
        "deadline_miss_ratio": round(
            sum(x > settings["deadline_s"] for x in latencies) / len(frames), 4
        ),
        "quality": round(quality, 4) if math.isfinite(quality) else None,
        "sent_bytes_per_frame": round(sum(f.sent_bytes for f in frames) / len(frames)),
        "edge_ratio": round(sum(f.place == "edge" for f in frames) / len(frames), 4),
        "plans": len(log.plans),
        "last_plan": _plan_text(log),
    }


def _plan_text(log: RunLog) -> str:
    if not log.plans:
        return "none"
    plan = log.plans[-1]
    sent = f"{'+'.join(plan.boundary)} as {plan.codec}" if plan.boundary else "alone"
    return f"exit {plan.exit_number}, {sent}"
