"""What a run says that its frames will take, against what they take, under any load."""

from __future__ import annotations

from dataclasses import replace

import pytest
from simulation.small_world import PLANNING, scenario

from dapdee_ros.report.foreseen import image_to_result
from dapdee_ros.simulation.load_trace import LoadTrace
from dapdee_ros.simulation.run import simulate

WITHIN = 0.1


@pytest.mark.parametrize("policy", ["edge-only", "exact", "device-only"])
@pytest.mark.parametrize("edge_slowdown", [1.0, 20.0])
@pytest.mark.parametrize("link", ["20mbit", "1mbit"])
@pytest.mark.parametrize("rate_hz", [3.0, 90.0])
def test_the_time_from_image_to_result_is_foreseen_whether_frames_wait_or_not(
    policy: str, edge_slowdown: float, link: str, rate_hz: float
) -> None:
    of = scenario(
        link,
        rate_hz=rate_hz,
        seconds=15.0,
        planning=replace(PLANNING, deadline_s=2.0),
        edge_load=LoadTrace(slowdowns=(edge_slowdown,)),
    )
    log = simulate(of, policy).log
    log.frames = [f for f in log.frames if f.at_s > 5]
    found = image_to_result(log)
    assert found["predicted_s"] == pytest.approx(found["took_s"], rel=WITHIN)
