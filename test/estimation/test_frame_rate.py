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
