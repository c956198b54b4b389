"""Fewer points, and what stands out is still there."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dapdee_ros.report.decimation import decimate, stretches

numbers = st.floats(-1e6, 1e6)


@given(st.lists(st.tuples(numbers, numbers), max_size=300), st.integers(4, 60))
def test_the_first_the_last_and_the_extremes_stay(
    points: list[tuple[float, float]], most: int
) -> None:
    times, values = decimate([t for t, _ in points], [v for _, v in points], most)
    assert len(times) == len(values) <= most
    assert times == sorted(times)
    assert set(zip(times, values, strict=True)) <= set(points)
    if points:
        assert {min(v for _, v in points), max(v for _, v in points)} <= set(values)
        assert (times[0], times[-1]) == (min(points)[0], max(points)[0])


def test_few_points_are_given_in_full() -> None:
    assert decimate([3.0, 1.0, 2.0], [1.0, 2.0, 3.0], 4) == ([1.0, 2.0, 3.0], [2.0, 3.0, 1.0])


def test_a_spike_in_every_second_of_an_hour_survives() -> None:
    times = [0.01 * n for n in range(360_000)]
    values = [9.0 if n % 6000 == 17 else 1.0 for n in range(360_000)]
    kept_times, kept = decimate(times, values, 1000)
    assert len(kept) <= 1000
    assert kept.count(9.0) == 60
    assert kept_times[-1] == times[-1]


def test_what_is_no_number_is_left_out() -> None:
    nan = math.nan
    assert decimate([0.0, nan, 2.0, 3.0], [1.0, 1.0, nan, math.inf], 9) == ([0.0], [1.0])
    assert decimate([], [], 4) == ([], [])


def test_too_few_points_to_keep_extremes_are_refused() -> None:
    with pytest.raises(ValueError, match="expected 4 or more"):
        decimate([0.0], [0.0], 3)


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 5)), max_size=100),
    st.sampled_from([0.1, 0.5, 2.0]),
)
def test_stretches_cover_every_interval_and_are_few(
    pairs: list[tuple[float, float]], shortest: float
) -> None:
    intervals = [(start, start + length) for start, length in pairs]
    merged = stretches(intervals, shortest)
    assert all(length >= 0.999 * shortest for _, length in merged)
    assert len(merged) <= 110 / shortest
    for start, end in intervals:
        assert any(s <= start and end <= s + length + 1e-9 for s, length in merged)
    for (start, length), (following, _) in itertools.pairwise(merged):
        assert following > start + length + 0.999 * shortest
