"""What frames were expected to take, and what they took, from image to result."""

from __future__ import annotations

import bisect
import statistics

from dapdee_ros.report.run_log import FrameRecord, RunLog


def foreseen_s(log: RunLog, frames: list[FrameRecord]) -> list[float]:
    """What each frame was expected to take when its image came, in s.

    That is the last thing said before it, by a plan or a forecast. Nothing that was said later
    counts: it may know already what the frame took. A frame before the first plan counts as told
    by that one.

    Args:
        log: the run, with one plan or more.
        frames: frames of it.
    """
    said = sorted([*log.plans, *log.forecasts], key=lambda plan: plan.at_s)
    times = [plan.at_s for plan in said]
    return [
        said[max(0, bisect.bisect_right(times, f.at_s - f.latency_s) - 1)].predicted_latency_s
        for f in frames
    ]


def image_to_result(log: RunLog) -> dict[str, float]:
    """Median seconds from image to result: ``predicted_s`` when the images came, and ``took_s``.

    All waiting is in both. Frames that the car finished because no answer came are left out where
    there are others: no plan foresees them.

    Args:
        log: the run, with one plan and one frame or more.
    """
    frames = [f for f in log.frames if f.place != "fallback"] or log.frames
    return {
        "predicted_s": round(statistics.median(foreseen_s(log, frames)), 5),
        "took_s": round(statistics.median(f.latency_s for f in frames), 5),
    }
