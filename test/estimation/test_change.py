"""Mean plus two standard deviations, with a floor under it."""

import math

import pytest

from dapdee_ros.estimation.change import ChangeDetector


def test_the_rule_is_mean_plus_two_deviations() -> None:
    detector = ChangeDetector(floor=0.01)
    for change in (1.0, 3.0) * 5:
        detector.remember(change)
    assert (detector.mean, detector.deviation) == (2.0, 1.0)
    assert not detector.is_significant(3.9)
    assert detector.is_significant(4.1) and detector.is_significant(-4.1)
    assert detector.deviations(5.0) == pytest.approx(3.0)
    assert detector.deviations(0.5) == 0.0


def test_a_quiet_time_makes_no_hair_trigger() -> None:
    detector = ChangeDetector(floor=0.1)
    for _ in range(20):
        detector.remember(0.0)
    assert not detector.is_significant(0.09)
    assert detector.is_significant(0.11)
    assert detector.deviations(0.1) == pytest.approx(2.0)


def test_few_changes_decide_nothing_but_the_floor() -> None:
    detector = ChangeDetector(floor=0.1)
    assert not detector.is_significant(0.19)
    assert detector.is_significant(0.21)
    detector.remember(5.0)
    assert detector.is_significant(0.21)
    for _ in range(9):
        detector.remember(5.0)
    assert not detector.is_significant(0.21)
    detector.reset()
    assert detector.is_significant(0.21)


def test_only_recent_changes_count() -> None:
    detector = ChangeDetector(floor=0.1, window=5)
    for change in (9.0, 9.0, 1.0, 1.0, 1.0, 1.0, 1.0):
        detector.remember(change)
    assert detector.mean == 1.0


@pytest.mark.parametrize("change", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_ignored(change: float) -> None:
    detector = ChangeDetector(floor=0.1)
    detector.remember(change)
    assert detector.mean == 0.0
    assert not detector.is_significant(change) and detector.deviations(change) == 0.0


@pytest.mark.parametrize("wrong", [{"floor": 0.0}, {"sigmas": 0.0}, {"least": 1}, {"least": 30}])
def test_settings_that_decide_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected floor"):
        ChangeDetector(**{"floor": 0.1, **wrong})  # type: ignore[arg-type]
