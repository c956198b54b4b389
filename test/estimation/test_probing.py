"""Estimator and schedule together: what probes alone find out, through answers that jitter."""

from __future__ import annotations

import random

import pytest

from dapdee_ros.estimation.link import LinkEstimate, LinkEstimator
from dapdee_ros.estimation.probes import ProbeSchedule

WIRE_BYTES = 90
"""What a probe really has around its padding; the estimator only has its own guess."""


def probed(rates: list[tuple[float, float]], seconds: float, jitter_s: float) -> LinkEstimate:
    """Probe a link of ``(from_s, rate_bps)`` pieces, each answer late by a random time."""
    estimator, schedule = LinkEstimator(), ProbeSchedule()
    late = random.Random(7)
    answers: list[tuple[float, float, int]] = []
    for tick in range(round(seconds * 20)):
        now_s = tick / 20
        for arrives_s, sent_s, n_bytes in [a for a in answers if a[0] <= now_s]:
            estimator.on_probe(arrives_s, arrives_s - sent_s, n_bytes, sent_s)
        answers = [a for a in answers if a[0] > now_s]
        padding = schedule.due(now_s, estimator.estimate(now_s))
        if padding is not None:
            rate_bps = [rate for from_s, rate in rates if from_s <= now_s][-1]
            estimator.on_sent(now_s, padding, now_s)
            took_s = 0.02 + 8 * (padding + WIRE_BYTES) / rate_bps + late.expovariate(1 / jitter_s)
            answers.append((now_s + took_s, now_s, padding))
    return estimator.estimate(seconds)


@pytest.mark.parametrize("rate_bps", [0.13e6, 1.1e6, 5.85e6])
def test_probes_alone_find_the_rate_through_jitter(rate_bps: float) -> None:
    estimate = probed([(0.0, rate_bps)], 25.0, jitter_s=0.004)
    assert estimate.connected
    assert estimate.uplink_bps == pytest.approx(rate_bps, rel=0.5)
    assert 0.02 < estimate.rtt_s < 0.03


def test_jitter_is_not_taken_for_a_slow_link() -> None:
    # Its 5 kB take 2.7 ms on the link and arrive 6 ms late.
    estimate = probed([(0.0, 15e6)], 60.0, jitter_s=0.006)
    assert estimate.uplink_bps > 6e6


def test_a_slow_past_does_not_hide_a_fast_present() -> None:
    estimate = probed([(0.0, 0.13e6), (20.0, 15e6)], 35.0, jitter_s=0.004)
    assert estimate.uplink_bps > 4e6


def test_a_fast_past_does_not_hide_a_slow_present() -> None:
    estimate = probed([(0.0, 15e6), (20.0, 0.5e6)], 32.0, jitter_s=0.004)
    assert estimate.uplink_bps < 1e6
