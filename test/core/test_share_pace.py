"""How often a car sends where the edge names its share."""

from __future__ import annotations

import math

import pytest

from dapdee_ros.core.pace import SharePace


@pytest.mark.parametrize("camera_s", [0.04, 0.033, 0.01, 0.1])
@pytest.mark.parametrize("interval_s", [0.062, 0.15])
def test_sends_as_often_as_its_share_allows_whatever_the_cameras_rate(
    camera_s: float, interval_s: float
) -> None:
    pace, sent = SharePace(), 0
    for number in range(round(20 / camera_s)):
        now_s = number * camera_s
        if pace.opens_s(now_s) <= now_s:
            pace.on_sent(now_s)
            pace.on_answer(now_s, interval_s)
            sent += 1
    assert sent == pytest.approx(20 / max(interval_s, camera_s), rel=0.05)


@pytest.mark.parametrize("interval_s", [0.0, -1.0, math.nan, math.inf, 1e6])
def test_without_a_share_that_makes_sense_it_sends_when_it_likes(interval_s: float) -> None:
    pace = SharePace()
    assert pace.opens_s(0.0) <= 0.0
    pace.on_answer(0.0, interval_s)
    for _ in range(10):
        pace.on_sent(0.0)
    assert pace.opens_s(0.0) <= 0.0


def test_a_limit_ends_when_the_edge_is_silent_and_a_shorter_one_holds_at_once() -> None:
    pace = SharePace()
    pace.on_answer(0.0, 2.0)
    for _ in range(3):
        pace.on_sent(0.0)
    assert pace.opens_s(0.0) == pytest.approx(4.0)
    assert pace.opens_s(6.9) == pytest.approx(4.0)
    assert pace.opens_s(7.1) == -math.inf
    pace.on_answer(0.5, 0.1)
    assert pace.opens_s(0.5) == pytest.approx(0.6)
