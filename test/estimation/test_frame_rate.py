import math

import pytest

from dapdee_ros.estimation.frame_rate import FrameRate


def test_is_unknown_until_two_readings() -> None:
    rate = FrameRate()
    assert math.isinf(rate.interval_s)
    rate.on_count(0.0, 1, 5)
    assert math.isinf(rate.interval_s)
    rate.on_count(1.0, 1, 15)
    assert rate.interval_s == pytest.approx(0.1)


def test_follows_a_change_and_survives_a_restart_of_the_counter() -> None:
    rate = FrameRate()
    rate.on_count(0.0, 1, 0)
    rate.on_count(1.0, 1, 10)
    rate.on_count(2.0, 2, 3)  # a new head
    assert rate.interval_s == pytest.approx(0.1)
    for second in range(3, 12):
        rate.on_count(float(second), 2, 3 + 20 * (second - 2))
    assert rate.interval_s == pytest.approx(0.05, rel=0.01)


def test_a_camera_that_stops_says_nothing() -> None:
    rate = FrameRate()
    rate.on_count(0.0, 1, 0)
    rate.on_count(1.0, 1, 10)
    rate.on_count(9.0, 1, 10)
    assert rate.interval_s == pytest.approx(0.1)


@pytest.mark.parametrize("rate_hz", [0.4, 1.5, 3.0])
def test_a_camera_slower_than_the_readings_is_not_taken_for_faster(rate_hz: float) -> None:
    rate = FrameRate()
    found = []
    for tick in range(1, 300):
        rate.on_count(0.2 * tick, 1, int(rate_hz * 0.2 * tick))
        found.append(rate.interval_s)
    assert sum(found[150:]) / 149 == pytest.approx(1 / rate_hz, rel=0.05)


def test_a_camera_that_pauses_is_as_fast_as_before() -> None:
    rate = FrameRate()
    for tick in range(50):
        rate.on_count(0.2 * tick, 1, tick)
    for tick in range(50, 100):
        rate.on_count(0.2 * tick, 1, 49)
    for tick in range(100, 110):
        rate.on_count(0.2 * tick, 1, tick - 50)
        assert 0.2 <= rate.interval_s < 0.31
    assert rate.interval_s == pytest.approx(0.2, rel=0.01)
