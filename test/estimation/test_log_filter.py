"""The filter under both estimators: noise, outliers, steps, bounds and age."""

from __future__ import annotations

import math

import pytest

from dapdee_ros.estimation.log_filter import LogFilter


def settled(value: float = 10.0) -> LogFilter:
    known = LogFilter(drift=0.1, change_floor=0.2)
    for tick in range(20):
        known.follow(tick * 0.1, value * (1.05 if tick % 2 else 0.95), 0.1)
    return known


def test_nothing_is_known_at_first() -> None:
    unknown = LogFilter(drift=0.1, change_floor=0.2)
    assert not unknown.is_known and math.isnan(unknown.value)
    assert unknown.age_s(3.0) == math.inf and unknown.relative_spread(3.0) == math.inf


def test_noise_is_averaged() -> None:
    known = settled()
    assert known.value == pytest.approx(10.0, rel=0.04)
    assert known.relative_spread(1.9) < 0.1


def test_one_outlier_is_held_back_and_two_are_a_step() -> None:
    known = settled()
    assert not known.follow(2.0, 100.0, 0.1)
    assert known.value < 13.0
    assert known.follow(2.1, 90.0, 0.1)
    assert known.value == pytest.approx(90.0)


def test_outliers_to_either_side_are_no_step() -> None:
    known = settled()
    assert not known.follow(2.0, 100.0, 0.1)
    assert not known.follow(2.1, 1.0, 0.1)
    assert 7.0 < known.value < 13.0


def test_after_a_long_silence_the_first_measurement_is_believed() -> None:
    known = settled()
    assert known.relative_spread(1000.0) == pytest.approx(2.0)
    known.follow(1000.0, 40.0, 0.1)
    assert known.value == pytest.approx(40.0, rel=0.05)


def test_a_lower_bound_lifts_what_is_below_it() -> None:
    known = settled()
    assert not known.lift(2.0, 5.0)
    assert known.value == pytest.approx(10.0, rel=0.04)
    assert known.lift(2.0, 50.0)
    assert known.value == pytest.approx(50.0)
    assert known.relative_spread(2.0) == pytest.approx(0.5)
    unknown = LogFilter(drift=0.1, change_floor=0.2)
    assert unknown.lift(0.0, 3.0) and unknown.value == pytest.approx(3.0)


def test_a_suspected_upper_bound_lowers_and_leaves_the_word_to_the_next_measurement() -> None:
    known = settled()
    before = known.value
    known.lower(100.0, share=1.0)
    assert known.value == before
    known.lower(before / 16, share=0.5)
    assert known.value == pytest.approx(before / 4)
    assert known.relative_spread(1.9) > 1.0
    # One measurement is enough to go back.
    known.follow(2.0, before, 0.1)
    assert known.value == pytest.approx(before, rel=0.05)
