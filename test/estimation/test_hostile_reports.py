"""Reports that cannot be true: no single one may leave a mark that outlasts the next true ones."""

from __future__ import annotations

import math
from itertools import product

import pytest

from dapdee_ros.estimation import credible
from dapdee_ros.estimation.frame_rate import FrameRate
from dapdee_ros.estimation.link import LinkEstimator
from dapdee_ros.estimation.load import LoadEstimator
from dapdee_ros.estimation.probes import ProbeSchedule

RTT_S, RATE_BPS, FRAME_BYTES = 0.02, 5e6, 10_000
HOSTILE = [
    math.nan, math.inf, -math.inf, 1e12, -1e12, 1e300, -1e300, 5e-324, 0.0, -1.0, 1e6, 3600.0
]  # fmt: skip


def drive(estimator: LinkEstimator, from_s: float, to_s: float) -> None:
    """True answers, ten frames and two probes a second."""
    for tick in range(round(10 * from_s), round(10 * to_s)):
        now_s = tick / 10
        took_s = RTT_S + 8 * (FRAME_BYTES + 120) / RATE_BPS
        estimator.on_transfer(now_s, FRAME_BYTES, took_s, 0.01, ("frame", tick))
        if tick % 5 == 0:
            estimator.on_sent(now_s + 0.04 - RTT_S, 0, ("probe", tick))
            estimator.on_probe(now_s + 0.04, RTT_S, 0, ("probe", tick))
        estimator.estimate(now_s + 0.05)


def is_noticed(estimator: LinkEstimator, died_s: float) -> float:
    """Seconds until the silence of a dead edge is noticed; probes go on unanswered."""
    for tick in range(1, 200):
        now_s = died_s + 0.1 * tick
        if tick % 5 == 1:
            estimator.on_sent(now_s, 0, ("lost", tick))
        if not estimator.estimate(now_s).connected:
            return 0.1 * tick
    return math.inf


@pytest.mark.parametrize("value", HOSTILE)
def test_no_single_report_hides_a_dead_edge(value: float) -> None:
    quickly_s = 0.0
    for which in ("none", "arrived", "transfer", "residence", "waited", "probe", "bytes"):
        estimator = LinkEstimator()
        drive(estimator, 0.0, 5.0)
        now_s = 5.0
        match which:
            case "arrived":
                estimator.on_transfer(now_s, 4000, 0.02, 0.01, "x", arrived_s=value)
            case "transfer":
                estimator.on_transfer(now_s, 4000, value, 0.01, "x")
            case "residence":
                estimator.on_transfer(now_s, 4000, 0.02, value, "x")
            case "waited":
                estimator.on_unanswered(now_s, 4000, value, "x")
            case "probe":
                estimator.on_probe(now_s, value, 0, "x", arrived_s=now_s)
                estimator.on_probe(now_s, RTT_S, 0, "x", arrived_s=value)
            case "bytes":
                n_bytes = int(value) if math.isfinite(value) else 2**32 - 1
                estimator.on_transfer(now_s, n_bytes, 0.02, 0.01, "x")
        noticed_s = is_noticed(estimator, now_s)
        quickly_s = quickly_s or noticed_s
        assert noticed_s <= quickly_s + 0.5 and noticed_s < 2.5, which


@pytest.mark.parametrize("value", HOSTILE)
def test_after_any_single_report_the_next_true_ones_count(value: float) -> None:
    for which, arrived_s in product(("transfer", "residence", "waited"), (None, value)):
        estimator = LinkEstimator()
        drive(estimator, 0.0, 5.0)
        if which == "transfer":
            estimator.on_transfer(5.0, 4000, value, 0.01, "x", arrived_s=arrived_s)
        elif which == "residence":
            estimator.on_transfer(5.0, 4000, 0.02, value, "x", arrived_s=arrived_s)
        else:
            estimator.on_unanswered(5.0, 4000, value, "x")
        drive(estimator, 5.0, 20.0)
        estimate = estimator.estimate(20.0)
        assert estimate.connected
        assert estimate.uplink_bps == pytest.approx(RATE_BPS, rel=0.3), which
        assert estimate.rtt_s == pytest.approx(RTT_S, abs=0.01), which
        assert estimate.age_s < 1


@pytest.mark.parametrize("value", HOSTILE)
def test_probes_go_on_whatever_is_said_of_frames(value: float) -> None:
    estimator = LinkEstimator()
    drive(estimator, 0.0, 5.0)
    schedule = ProbeSchedule()
    schedule.on_answer(value)
    asked_s = [5.0 + 0.1 * tick for tick in range(50)]
    assert sum(schedule.due(at, estimator.estimate(at)) is not None for at in asked_s) >= 2


def test_what_is_possible_passes() -> None:
    assert credible.transfer_fault(100.0, 99.0, 0.9, 0.1, 4000) == ""
    assert credible.transfer_fault(100.0, 40.0, 59.0, 1.0, 0) == ""
    assert credible.wait_fault(100.0, 99.7, 4000) == ""
    assert credible.durations_fault({"latency_s": 0.3, "head_s": 0.0}) == ""
    assert credible.link_fault(math.nan, math.nan, 0.0, math.inf) == ""
    assert credible.link_fault(20e6, 0.01, 1.0, 0.1) == ""
    assert credible.load_fault(1.0, 0.0, math.nan) == ""
    assert credible.slowdown(1e30) == credible.MOST_SLOWDOWN
    assert math.isnan(credible.slowdown(math.nan)) and math.isnan(credible.slowdown(-1.0))
    assert credible.share(1.004) == 1.0


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (credible.transfer_fault(100.0, 1e12, 0.01, 0.0, 10), "just past"),
        (credible.transfer_fault(100.0, math.nan, 0.01, 0.0, 10), "just past"),
        (credible.transfer_fault(1e6, 0.0, 0.01, 0.0, 10), "just past"),
        (credible.transfer_fault(100.0, 99.0, -0.5, 1.5, 10), "cannot be"),
        (credible.transfer_fault(100.0, 99.0, math.inf, 0.0, 10), "cannot be"),
        (credible.transfer_fault(100.0, 99.0, 0.5, 0.1, 2**32 - 1), "4294967295 bytes"),
        (credible.wait_fault(100.0, 101.0, 10), "-1.0 s ago"),
        (credible.wait_fault(100.0, math.nan, 10), "nan s ago"),
        (credible.durations_fault({"head_s": 1e30}), "head_s is 1e+30"),
        (credible.link_fault(-1.0, 0.1, 0.0, 0.1), "uplink_bps is -1.0"),
        (credible.link_fault(math.inf, 0.1, 0.0, 0.1), "uplink_bps is inf"),
        (credible.link_fault(1e6, -0.1, 0.0, 0.1), "rtt_s is -0.1"),
        (credible.link_fault(1e6, 0.1, 7.0, 0.1), "loss_ratio is 7.0"),
        (credible.link_fault(1e6, 0.1, 0.0, math.nan), "uplink_spread is nan"),
        (credible.load_fault(math.nan, 0.1, 0.5), "cpu_ratio is nan"),
        (credible.load_fault(0.1, 300.0, 0.5), "memory_ratio is 300.0"),
        (credible.load_fault(0.1, 0.1, 80.0), "battery_ratio is 80.0"),
    ],
)
def test_what_is_impossible_is_named(fault: str, words: str) -> None:
    assert words in fault


@pytest.mark.parametrize("value", [v for v in HOSTILE if not 0 <= v <= 1])
def test_loads_that_cannot_be_do_not_move_the_score(value: float) -> None:
    load = LoadEstimator()
    for tick in range(50):
        load.on_machine(0.1 * tick, 0.2, 0.3, 0.9)
        load.on_link(0.1 * tick, 20e6, 0.01, True)
        load.on_frame(0.1 * tick, 0.05, 0.3)
    before = load.estimate(5.0)
    load.on_machine(5.0, value, value, value)
    if value < 0 or not value <= credible.FASTEST_BPS:
        load.on_link(5.0, value, 0.01, True)
    if value < 0 or not value <= credible.LONGEST_S:
        load.on_link(5.0, 20e6, value, True)
    if not 0 <= value < math.inf:
        load.on_frame(5.0, value, 0.3)
    after = load.estimate(5.0)
    assert after.score == before.score
    assert after.indicators == before.indicators


def test_a_counter_that_jumps_says_nothing_of_the_rate() -> None:
    rate = FrameRate()
    for second in range(5):
        rate.on_count(float(second), 1, 10 * second)
    rate.on_count(4.001, 1, 41)  # a copy of a reading, a moment later
    rate.on_count(4.5, 1, 2**63)
    rate.on_count(4.7, 1, 0)
    rate.on_count(4.9, 1, 2**64 - 1)
    assert rate.interval_s == pytest.approx(0.1)
    for second in range(5, 8):
        rate.on_count(float(second), 1, 10 * second)
    assert rate.interval_s == pytest.approx(0.1)
