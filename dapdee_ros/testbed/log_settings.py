"""What a run's log says of the testbed that it was made on."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from dapdee_ros.report.run_log import RunLog
from dapdee_ros.testbed.settings import TestbedSettings
from dapdee_ros.testbed.shaping import MTU_BYTES


def described(
    settings: TestbedSettings,
    log: RunLog,
    seconds: float,
    recorded: int,
    quota: float | None,
    total_s: Mapping[str, float],
) -> dict[str, Any]:
    """The settings to save with a log.

    Args:
        settings: what was run.
        log: what happened while it was measured.
        seconds: for how long.
        recorded: results of the whole run.
        quota: share of a core that each of the car's processes had; None: unlimited.
        total_s: seconds of the whole network, of ``car`` and ``edge``.
    """
    from dapdee_ros.exits.card import find_model, read_card

    numbers = [frame.number for frame in log.frames]
    return {
        **asdict(settings),
        "policy": settings.asked_policy,
        "deadline_s": settings.deadline,
        "rate_hz": settings.rate,
        "mode": settings.mode,
        "seconds": seconds,
        "source": "testbed",
        "frames_from": settings.source,
        "scenario": settings.scenario,
        "model_id": read_card(find_model(settings.model)).model_id,
        "car_quota": quota,
        "car_slowdown": total_s["car"] / total_s["edge"],
        "car_total_s": total_s["car"],
        "edge_total_s": total_s["edge"],
        "link_mtu_bytes": MTU_BYTES,
        "accepted_in_window": numbers[-1] - numbers[0] + 1 if numbers else 0,
        "results_before_window": recorded - len(log.frames),
        "machine": f"{platform.node()}, {os.cpu_count()} cores, {platform.release()}",
    }
