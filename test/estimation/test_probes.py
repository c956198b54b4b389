"""Probes stay within their sliver of the link and come when they are needed."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest

from dapdee_ros.estimation.link import LinkEstimate
from dapdee_ros.estimation.probes import ProbeSchedule, ProbeSettings

UNKNOWN = LinkEstimate(math.nan, math.nan, 0.0, False, math.inf, math.inf, 0)
OVERHEAD = ProbeSettings().overhead_bytes


def linked(uplink_bps: float, age_s: float = 5.0) -> LinkEstimate:
    return LinkEstimate(uplink_bps, 0.03, 0.0, True, age_s, 0.2, 9)


def sent(
    schedule: ProbeSchedule, estimate: LinkEstimate, from_s: float, to_s: float
) -> list[tuple[float, int]]:
    """Probes as a node asking 20 times a second would send them; each one renews the rate."""
    probes = []
    rated_s = from_s
    for tick in range(round(from_s * 20), round(to_s * 20)):
        now_s = tick / 20
        age_s = now_s - rated_s if math.isfinite(estimate.age_s) else math.inf
        padding = schedule.due(now_s, replace(estimate, age_s=age_s))
        if padding is not None:
            probes.append((now_s, padding))
            rated_s = now_s if padding else rated_s
    return probes


@pytest.mark.parametrize("rate_bps", [0.13e6, 1.1e6, 5.85e6, 18.88e6])
def test_probes_take_two_percent_or_two_kilobytes(rate_bps: float) -> None:
    probes = sent(ProbeSchedule(), linked(rate_bps), 0.0, 120.0)
    spent = sum(padding + OVERHEAD for _, padding in probes)
    # Four seconds' worth may have been saved before.
    assert spent <= 124 * min(2000, 0.02 * rate_bps / 8)
    # Something large enough to measure with at least every 10 s, something small every second.
    large = [at for at, padding in probes if padding >= 600]
    assert all(b - a <= 10 for a, b in zip([0.0, *large], [*large, 120.0], strict=True))
    assert all(b[0] - a[0] <= 1.5 for a, b in pairwise(probes))


@pytest.mark.parametrize("estimate", [UNKNOWN, linked(1.1e6)])
def test_a_tight_budget_holds_whatever_the_intervals_say(estimate: LinkEstimate) -> None:
    settings = ProbeSettings(share=0.002)
    schedule = ProbeSchedule(settings)
    spent = sum(padding + OVERHEAD for _, padding in sent(schedule, estimate, 0.0, 120.0))
    # Beside what it starts out with, enough for one measurement.
    assert 0 < spent <= 600 + 2 * OVERHEAD + 120 * schedule.budget_bytes_per_s(estimate)


def test_large_probes_fit_the_link() -> None:
    slow = max(padding for _, padding in sent(ProbeSchedule(), linked(0.13e6), 0.0, 30.0))
    fast = max(padding for _, padding in sent(ProbeSchedule(), linked(18.88e6), 0.0, 30.0))
    assert slow == 600 and fast == 5000


def test_frames_that_are_answered_are_the_probes() -> None:
    schedule = ProbeSchedule()
    probes = []
    for tick in range(60 * 20):
        if tick % 2 == 0:
            schedule.on_answer(tick / 20)
        if (padding := schedule.due(tick / 20, linked(5e6, 0.1))) is not None:
            probes.append((tick / 20, padding))
    # Three at the start, as after every interruption, then one in ten seconds.
    assert 7 <= len(probes) <= 9
    assert all(padding == 0 for _, padding in probes)
    # As soon as the frames are not answered any more, probes come again.
    assert sent(schedule, linked(5e6), 60.0, 61.1)


@pytest.mark.parametrize("estimate", [UNKNOWN, replace(linked(18e6), connected=False)])
def test_a_dead_link_is_tried_twice_a_second(estimate: LinkEstimate) -> None:
    probes = sent(ProbeSchedule(), estimate, 0.0, 30.0)
    assert probes[0][0] == 0.0
    assert all(b[0] - a[0] <= 0.7 for a, b in pairwise(probes))
    assert all(padding == 0 for _, padding in probes)


def test_frames_too_short_to_measure_by_get_a_large_probe_beside_them() -> None:
    schedule = ProbeSchedule()
    paddings = []
    for tick in range(62 * 20):
        schedule.on_answer(tick / 20)
        if (padding := schedule.due(tick / 20, linked(5e6, 30.0))) is not None:
            paddings.append(padding)
    assert [padding > 0 for padding in paddings[3:]] == [True, False, True, False, True, False]


def test_after_an_interruption_the_floor_is_renewed_at_once() -> None:
    schedule = ProbeSchedule()
    sent(schedule, replace(linked(5e6), connected=False), 0.0, 5.0)
    probes = []
    for tick in range(100, 200):
        schedule.on_answer(tick / 20)
        if schedule.due(tick / 20, linked(5e6, 0.1)) is not None:
            probes.append(tick / 20)
    assert len(probes) == 3 and probes[-1] < 7.0


def test_time_that_stands_still_or_runs_back_earns_nothing() -> None:
    schedule = ProbeSchedule()
    assert schedule.due(10.0, UNKNOWN) == 0
    assert all(schedule.due(10.0, UNKNOWN) is None for _ in range(1000))
    assert schedule.due(9.0, UNKNOWN) is None
