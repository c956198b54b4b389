"""What the benchmark of the link estimator promises, held on shorter runs."""

from __future__ import annotations

import pytest

from bench.link_estimator import TRACES, median_error, outage_response, run, step_response
from dapdee_ros.simulation.link_text import parse_link


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_rate_of_a_drive_is_known_within_a_fifth(seed: int) -> None:
    drive = run(parse_link(f"drive:seed={seed}"), 90.0, 10.0)
    assert len(drive.errors) > 500
    assert median_error(drive.errors) <= 0.2
    assert drive.probe_bytes / 90 < 300


@pytest.mark.parametrize("name", ["ATT-LTE-driving.up", "Verizon-LTE-short.up"])
def test_the_rate_of_a_measured_drive_is_known_within_a_fifth(name: str) -> None:
    if not (TRACES / name).is_file():
        pytest.skip(f"the measured trace {name} is not beside the checkout in ../shared/traces")
    drive = run(parse_link(str(TRACES / name)), 120.0, 10.0)
    assert len(drive.errors) > 500
    assert median_error(drive.errors) <= 0.2


@pytest.mark.parametrize(("before", "after"), [(10e6, 1e6), (1e6, 10e6), (1.1e6, 0.11e6)])
@pytest.mark.parametrize("phase_s", [0.0, 0.03, 0.07])
def test_steps_are_followed(before: float, after: float, phase_s: float) -> None:
    frames, seconds = step_response(before, after, phase_s)
    assert frames <= 3 or seconds <= 0.5


@pytest.mark.parametrize("frames_per_s", [0.0, 10.0])
def test_an_outage_and_its_end_are_noticed(frames_per_s: float) -> None:
    dead_s, alive_s = outage_response(1.1e6, frames_per_s, 0.02)
    assert dead_s < 1.5 and alive_s < 1.0
