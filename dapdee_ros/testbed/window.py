"""The measured part of a recorded run: from the start of the link's trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from dapdee_ros.report.run_log import LinkRecord, PlanRecord, RunLog

Timed = TypeVar("Timed", PlanRecord, LinkRecord)


def window(log: RunLog, start_s: float, seconds: float) -> RunLog:
    """A run without its warm-up, with its clock restarted.

    Frames accepted within the window count; the last plan, forecast and estimate before it are
    moved to its start. The ledger stays that of the whole run.

    Args:
        log: the whole run.
        start_s: when the window starts on the log's clock.
        seconds: how long it is.
    """
    end_s = start_s + seconds
    frames = [
        replace(frame, at_s=frame.at_s - start_s)
        for frame in log.frames
        if start_s <= frame.at_s - frame.latency_s < end_s
    ]
    return replace(
        log,
        frames=frames,
        first_result_s=frames[0].at_s if frames else None,
        plans=_from(log.plans, start_s),
        forecasts=_from(log.forecasts, start_s),
        links=_from(log.links, start_s),
    )


def _from(records: Sequence[Timed], start_s: float) -> list[Timed]:
    before: list[Timed] = [r for r in records if r.at_s <= start_s][-1:]
    after: list[Timed] = [r for r in records if r.at_s > start_s]
    return [replace(r, at_s=max(0.0, r.at_s - start_s)) for r in before + after]
