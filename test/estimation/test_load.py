"""The load score: what raises it, what it ignores, and when its weights change."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dapdee_ros.estimation.load import LoadEstimator
from dapdee_ros.estimation.load_settings import INDICATORS, LoadSettings
from dapdee_ros.estimation.slowdown import SlowdownFilter


def driven(seconds: float = 30.0, **levels: float) -> tuple[LoadEstimator, float]:
    """An estimator that has seen the same measurements for a while, twice a second."""
    estimator = LoadEstimator()
    now_s = 0.0
    while now_s < seconds:
        now_s += 0.5
        feed(estimator, now_s, **levels)
    return estimator, now_s


def feed(estimator: LoadEstimator, now_s: float, **levels: float) -> None:
    at = {
        "cpu": 0.3,
        "memory": 0.4,
        "battery": 0.9,
        "uplink_bps": 6e6,
        "rtt_s": 0.03,
        "latency_s": 0.1,
    } | levels
    estimator.on_machine(now_s, at["cpu"], at["memory"], at["battery"])
    estimator.on_link(now_s, at["uplink_bps"], at["rtt_s"], connected=at["uplink_bps"] > 0)
    estimator.on_frame(now_s, at["latency_s"], 0.2)


def test_nothing_known_is_no_load() -> None:
    estimate = LoadEstimator().estimate(5.0)
    assert (estimate.score, estimate.heavy, dict(estimate.indicators)) == (0.0, False, {})


def test_idle_and_overloaded_are_the_ends() -> None:
    idle, now_s = driven(
        cpu=0.0, memory=0.3, battery=1.0, uplink_bps=20e6, rtt_s=0.0, latency_s=0.05
    )
    assert idle.estimate(now_s).score == 0.0
    busy, now_s = driven(
        cpu=1.0, memory=1.0, battery=0.0, uplink_bps=0.1e6, rtt_s=0.3, latency_s=0.3
    )
    assert busy.estimate(now_s).score == pytest.approx(1.0)
    assert busy.estimate(now_s).heavy


@pytest.mark.parametrize(
    "worse",
    [
        {"cpu": 0.9},
        {"memory": 0.95},
        {"battery": 0.1},
        {"uplink_bps": 0.5e6},
        {"uplink_bps": 0.0},
        {"rtt_s": 0.15},
        {"latency_s": 0.18},
    ],
)
def test_each_indicator_raises_the_score(worse: dict[str, float]) -> None:
    usual, now_s = driven()
    other, _ = driven(**worse)
    assert other.estimate(now_s).score > usual.estimate(now_s).score + 0.02


def test_steady_weights_are_the_base_weights() -> None:
    estimator, now_s = driven()
    estimate = estimator.estimate(now_s)
    assert estimate.weights == pytest.approx(LoadSettings().base_weights)
    assert estimate.score == pytest.approx(
        sum(estimate.weights[n] * estimate.indicators[n] for n in INDICATORS)
    )


def test_what_is_unknown_does_not_count() -> None:
    estimator, now_s = driven(battery=math.nan)
    estimate = estimator.estimate(now_s)
    assert "battery" not in estimate.indicators
    assert sum(estimate.weights.values()) == pytest.approx(1.0)
    # Nor does what has not been heard of for a while.
    assert dict(estimator.estimate(now_s + 11).indicators) == {}


def test_a_jump_moves_the_weights_towards_what_jumped() -> None:
    estimator, now_s = driven()
    feed(estimator, now_s + 0.5, cpu=0.95)
    estimate = estimator.estimate(now_s + 0.5)
    base = LoadSettings().base_weights
    assert estimate.cause == "cpu" and estimate.recomputed_s == now_s + 0.5
    # Base weight times one plus the bound of three deviations, normalised.
    assert estimate.weights["cpu"] == pytest.approx(4 * 0.25 / (1 + 3 * 0.25))
    assert estimate.weights["uplink"] < base["uplink"]
    assert estimate.indicators["cpu"] == pytest.approx(0.95)
    # They hold for a while and go back.
    for tick in range(1, 39):
        feed(estimator, now_s + 0.5 + tick / 2, cpu=0.95)
    assert estimator.estimate(now_s + 19.5).weights["cpu"] > 0.5
    assert estimator.estimate(now_s + 21).weights["cpu"] == pytest.approx(0.25)


def test_a_jump_towards_less_load_raises_no_weight() -> None:
    estimator, now_s = driven(cpu=0.9)
    feed(estimator, now_s + 0.5, cpu=0.1)
    estimate = estimator.estimate(now_s + 0.5)
    assert estimate.cause == "cpu"
    assert estimate.weights == pytest.approx(LoadSettings().base_weights)


def test_noise_recomputes_nothing() -> None:
    noise = random.Random(0)
    estimator, now_s = driven(5.0)
    recomputed = set()
    for tick in range(400):
        at_s = now_s + tick / 2
        feed(estimator, at_s, cpu=0.5 + noise.uniform(-0.15, 0.15))
        recomputed.add(estimator.estimate(at_s).recomputed_s)
    # Beyond mean plus two deviations lies a twentieth of ordinary noise.
    assert len(recomputed) < 0.1 * 400


def test_frames_slower_than_predicted_make_their_part_count_for_more() -> None:
    estimator, now_s = driven()
    for tick in range(60):
        at_s = now_s + tick / 10
        feed(estimator, at_s)
        estimator.on_frame(
            at_s, 0.1, 0.2, transfer_s=0.08, predicted_transfer_s=0.04, predicted_latency_s=0.1
        )
    weights = estimator.estimate(now_s + 6).weights
    base = LoadSettings().base_weights
    assert weights["uplink"] / weights["cpu"] == pytest.approx(
        2 * base["uplink"] / base["cpu"], rel=0.02
    )
    assert weights["delay"] / weights["deadline"] == pytest.approx(
        2 * base["delay"] / base["deadline"], rel=0.02
    )


def test_hysteresis_around_the_threshold() -> None:
    only_cpu = dict.fromkeys(INDICATORS, 0.0) | {"cpu": 1.0}
    estimator = LoadEstimator(LoadSettings(base_weights=only_cpu, smoothing_s=0.0))
    heavy = []
    for tick, cpu in enumerate([0.3, 0.42, 0.44, 0.42, 0.38, 0.36, 0.42, 0.44]):
        estimator.on_machine(tick, cpu, math.nan)
        heavy.append(estimator.estimate(tick).heavy)
    assert heavy == [False, False, True, True, True, False, False, True]


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_weights": {"cpu": 1.0}},
        {"base_weights": dict.fromkeys(INDICATORS, 0.0)},
        {"base_weights": dict.fromkeys(INDICATORS, 1.0) | {"cpu": -1.0}},
        {"slow_bps": 20e6},
        {"memory_free": 1.0},
        {"hysteresis": 0.5},
        {"most_feedback": 0.5},
    ],
)
def test_impossible_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        LoadSettings(**wrong)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(*[st.floats() for _ in range(7)]), max_size=15))
def test_whatever_is_measured_the_score_stays_a_ratio(
    rows: list[tuple[float, ...]],
) -> None:
    estimator = LoadEstimator()
    for tick, (a, b, c, d, e, f, g) in enumerate(rows):
        estimator.on_machine(tick, a, b, c)
        estimator.on_link(tick, d, e, connected=tick % 3 > 0)
        estimator.on_frame(tick, f, g, predicted_latency_s=a, head_s=b, predicted_head_s=c)
        estimate = estimator.estimate(tick)
        assert 0 <= estimate.score <= 1
        assert all(0 <= value <= 1 for value in estimate.indicators.values())
        assert all(0 <= weight <= 1 for weight in estimate.weights.values())


def test_slowdown_follows_competition_and_not_a_stall() -> None:
    follower = SlowdownFilter()
    assert follower.at(0.0) == 1.0 and not follower.is_known
    for tick in range(20):
        follower.on_frame(tick / 10, 1.1)
    follower.on_frame(2.0, 8.0)
    assert follower.at(2.0) < 1.5
    for tick in range(21, 25):
        follower.on_frame(tick / 10, 1.1)
    assert follower.at(2.4) == pytest.approx(1.1, rel=0.15)
    for tick in range(25, 28):
        follower.on_frame(tick / 10, 3.0)
    assert follower.at(2.7) == pytest.approx(3.0, rel=0.05)
    for nonsense in (math.nan, math.inf, 0.0, -1.0):
        follower.on_frame(3.0, nonsense)
    assert follower.at(2.7) == pytest.approx(3.0, rel=0.05)
    for tick in range(3):
        follower.on_frame(3 + tick / 10, 1e9)
    assert follower.at(3.2) <= 50.0 * (1 + 1e-9)


def test_an_old_slowdown_is_forgotten() -> None:
    follower = SlowdownFilter()
    for tick in range(3):
        follower.on_frame(tick / 10, 3.0)
    assert follower.at(1.2) == pytest.approx(3.0, rel=0.15)
    assert follower.at(10.2) == pytest.approx(3.0 ** math.exp(-1))
    assert follower.at(100.0) == pytest.approx(1.0, abs=0.01)
