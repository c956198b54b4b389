import math

import pytest

from dapdee_ros.core.patience import PATIENCE, SLACK_S, answer_within, fallback_time


def test_waits_until_the_planned_exit_just_fits() -> None:
    at = fallback_time(10.0, 10.3, 0.05, deepest_s=0.1, quickest_s=0.02)
    assert at == pytest.approx(10.2)


def test_gives_the_edge_half_again_its_predicted_time() -> None:
    at = fallback_time(10.0, 10.3, 0.1, deepest_s=0.25, quickest_s=0.02)
    assert at == pytest.approx(10.0 + PATIENCE * (0.1 + SLACK_S))


def test_never_waits_so_long_that_nothing_fits() -> None:
    at = fallback_time(10.0, 10.3, 0.2, deepest_s=0.25, quickest_s=0.04)
    assert at == pytest.approx(10.26)


def test_a_car_too_slow_to_help_lets_the_edge_have_its_time() -> None:
    at = fallback_time(10.0, 10.2, 0.05, deepest_s=0.9, quickest_s=0.4)
    assert at == pytest.approx(10.05 + SLACK_S)
    # But not beyond the deadline.
    at = fallback_time(10.0, 10.2, 5.0, deepest_s=0.9, quickest_s=0.4)
    assert at == pytest.approx(10.2)


def test_is_not_before_sending_even_if_all_is_late() -> None:
    assert fallback_time(10.0, 10.01, math.nan, deepest_s=1.0, quickest_s=0.5) == 10.0


def test_the_edge_has_the_time_that_the_car_waits_less_the_link() -> None:
    assert answer_within(0.2, 0.05) == pytest.approx(0.15)
    assert answer_within(0.2, math.nan) == 0.2
    # A link that is predicted to take it all may be faster than that.
    assert answer_within(0.2, 5.0) == 0.1
    assert answer_within(0.0, 0.05) == 0.0
