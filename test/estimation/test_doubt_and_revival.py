"""One measurement that says something new is confirmed at once; a tunnel is no slow road."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from dapdee_ros.estimation.link import LinkEstimate, LinkEstimator
from dapdee_ros.estimation.probes import ProbeSchedule

FRAME_BYTES = 20_000
RTT_S = 0.02


def answer(estimator: LinkEstimator, now_s: float, n_bytes: int, rate_bps: float) -> float:
    """A frame sent now is answered; returns when."""
    took_s = RTT_S + 8 * (n_bytes + 120) / rate_bps
    estimator.on_transfer(now_s + took_s, n_bytes, took_s)
    return now_s + took_s


def settled(rate_bps: float) -> LinkEstimator:
    """An estimator that has known a link for 5 s."""
    estimator = LinkEstimator()
    for tick in range(10):
        estimator.on_probe(tick / 2 + RTT_S, RTT_S)
        answer(estimator, tick / 2 + 0.1, FRAME_BYTES, rate_bps)
    return estimator


def test_a_measurement_in_line_leaves_no_doubt_a_new_one_does_until_it_is_confirmed() -> None:
    estimator = settled(5e6)
    assert math.isinf(estimator.estimate(5.0).doubt_age_s)
    first_s = answer(estimator, 5.0, FRAME_BYTES, 0.5e6)
    assert estimator.estimate(first_s + 0.1).doubt_age_s == pytest.approx(0.1)
    second_s = answer(estimator, first_s + 0.1, FRAME_BYTES, 0.5e6)
    confirmed = estimator.estimate(second_s)
    assert math.isinf(confirmed.doubt_age_s)
    assert confirmed.uplink_bps == pytest.approx(0.5e6, rel=0.3)


def test_an_outlier_that_nothing_confirms_is_forgotten() -> None:
    estimator = settled(5e6)
    late_s = answer(estimator, 5.0, FRAME_BYTES, 0.5e6)
    answer(estimator, late_s + 0.1, FRAME_BYTES, 5e6)
    estimate = estimator.estimate(late_s + 0.3)
    assert math.isinf(estimate.doubt_age_s)
    assert estimate.uplink_bps == pytest.approx(5e6, rel=0.3)


def test_after_a_tunnel_the_rate_before_it_is_the_first_guess() -> None:
    estimator = settled(5e6)
    for tick in range(8):
        at_s = 5.0 + tick / 2
        estimator.on_sent(at_s, FRAME_BYTES, tick)
        estimator.on_unanswered(at_s + 0.3, FRAME_BYTES, 0.3, tick)
        estimator.estimate(at_s + 0.3)
    in_tunnel = estimator.estimate(10.0)
    assert not in_tunnel.connected
    assert in_tunnel.uplink_bps < 1e6
    estimator.on_sent(10.0, 0, "probe")
    estimator.on_probe(10.0 + RTT_S, RTT_S, 0, "probe")
    behind = estimator.estimate(10.1)
    assert behind.connected
    assert behind.uplink_bps == pytest.approx(5e6, rel=0.3)
    # A guess only: one frame is enough to know better.
    at_s = answer(estimator, 10.2, FRAME_BYTES, 1.5e6)
    assert estimator.estimate(at_s).uplink_bps == pytest.approx(1.5e6, rel=0.3)


def test_silence_after_silence_lowers_the_guess() -> None:
    estimator = settled(100e6)
    guesses = []
    now_s = 5.0
    # At 5 Mbit/s none of these arrives before it is given up, though echoes come back between.
    for outage in range(3):
        for number in range(4):
            estimator.on_sent(now_s, 600_000, (outage, number))
            estimator.on_unanswered(now_s + 0.8, 600_000, 0.8, (outage, number))
            now_s += 1.0
            estimator.estimate(now_s)
        assert not estimator.estimate(now_s).connected
        estimator.on_sent(now_s, 0, "probe")
        estimator.on_probe(now_s + RTT_S, RTT_S, 0, "probe")
        guesses.append(estimator.estimate(now_s + RTT_S).uplink_bps)
        now_s += 0.1
    assert guesses[0] == pytest.approx(100e6, rel=0.3)
    assert guesses[1] < 0.5 * guesses[0]
    assert guesses[2] < 0.5 * guesses[1]
    # Once measured, it is as good a guess as any.
    now_s = answer(estimator, now_s, FRAME_BYTES, 5e6)
    estimator.on_sent(now_s, FRAME_BYTES, "lost")
    assert not estimator.estimate(now_s + 4.0).connected
    estimator.on_probe(now_s + 5.0 + RTT_S, RTT_S)
    assert estimator.estimate(now_s + 5.1).uplink_bps == pytest.approx(5e6, rel=0.3)


def test_a_link_that_became_slow_is_not_taken_for_a_tunnel() -> None:
    estimator = settled(5e6)
    estimator.on_sent(5.0, FRAME_BYTES, 1)
    estimator.on_unanswered(5.3, FRAME_BYTES, 0.3, 1)
    estimator.estimate(6.0)
    # It took more than a second, and then it did arrive.
    took_s = RTT_S + 8 * (FRAME_BYTES + 120) / 0.13e6
    estimator.on_transfer(5.0 + took_s, FRAME_BYTES, took_s, 0.0, 1)
    assert estimator.estimate(5.0 + took_s).uplink_bps < 1e6


def linked(doubt_age_s: float = math.inf) -> LinkEstimate:
    return LinkEstimate(0.13e6, 0.03, 0.0, True, 0.1, 0.2, 9, doubt_age_s)


def probes_of(schedule: ProbeSchedule, estimates: dict[float, LinkEstimate]) -> list[float]:
    return [at for at, estimate in estimates.items() if schedule.due(at, estimate) is not None]


def test_what_is_in_doubt_is_measured_again_at_once_but_once() -> None:
    schedule = ProbeSchedule()
    ticks = [i / 10 for i in range(31)]
    in_line = {at: linked() for at in ticks}
    usual = probes_of(schedule, in_line)
    last_s = usual[-1]
    doubted_s = 3.1
    later = {at: linked(at - doubted_s) for at in (3.15, 3.2, 3.3, 3.4)}
    assert last_s < doubted_s
    # Its echo is not back at the later ones: the doubt is as old as it was.
    assert probes_of(schedule, later) == [3.15]


def test_confirming_again_and_again_stays_within_the_budget() -> None:
    schedule = ProbeSchedule()
    spent = 0
    seconds = 60
    budget = schedule.budget_bytes_per_s(linked())
    for tick in range(seconds * 20):
        padding = schedule.due(tick / 20, linked(0.001))
        spent += 0 if padding is None else padding + schedule.settings.overhead_bytes
    # Four seconds' worth saved before and four owed at the end.
    assert spent <= budget * (seconds + 8) + 1


def test_a_link_found_to_be_faster_pays_for_its_measurement_when_nothing_is_saved() -> None:
    schedule = ProbeSchedule()
    for tick in range(200):
        schedule.due(tick / 20, linked(0.001))
    assert schedule.due(10.0, linked(0.001)) is None
    padding = schedule.due(10.01, replace(linked(0.001), at_least_bps=2e6))
    assert padding is not None and padding >= schedule.settings.least_bytes
    # What was once found of a link that is dead now pays for nothing.
    dead = replace(linked(0.001), at_least_bps=2e6, connected=False)
    assert schedule.budget_bytes_per_s(dead) == schedule.budget_bytes_per_s(linked())


def test_a_dead_link_is_not_measured() -> None:
    schedule = ProbeSchedule()
    assert schedule.due(0.0, replace(linked(0.01), connected=False)) == 0
    assert schedule.due(0.1, replace(linked(0.01), connected=False)) is None


def test_rare_frames_do_not_keep_a_doubt_from_being_settled_close_ones_do() -> None:
    schedule = ProbeSchedule()
    probes_of(schedule, {i / 10: linked() for i in range(31)})
    schedule.on_answer(3.1)
    doubts = {at: linked(at - 3.1) for at in (3.15, 3.2, 3.3)}
    assert probes_of(schedule, doubts) == [3.3]
    close = ProbeSchedule()
    probes_of(close, {i / 10: linked() for i in range(31)})
    sent = []
    for tick in range(20):
        # Answers ten times a second, each of which settles the doubt of the last and raises one.
        answered_s = 3.1 + tick / 10
        close.on_answer(answered_s)
        sent += probes_of(close, {answered_s + 0.05: linked(0.05), answered_s + 0.09: linked(0.09)})
    # Those that renew the floor after an interruption, no others.
    assert len(sent) <= 3
