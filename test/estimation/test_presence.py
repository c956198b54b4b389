"""Missing processes, detected from their messages alone."""

from __future__ import annotations

import pytest

from dapdee_ros.estimation.health import Level
from dapdee_ros.estimation.presence import EdgePresence, Presence


@pytest.mark.parametrize(("gap_s", "known_within_s"), [(0.03, 0.9), (0.1, 0.9), (1.0, 2.1)])
def test_who_falls_silent_is_missed_soon(gap_s: float, known_within_s: float) -> None:
    head = Presence("head", "ros2 run dapdee_ros head", 0.0)
    assert head.health(1.0).level is Level.STALE
    last_s = 0.0
    for number in range(50):
        last_s = number * gap_s
        head.on_sign(last_s)
        assert head.health(last_s + 1.2 * gap_s).level is Level.OK
    missing = head.health(last_s + known_within_s)
    assert missing.level is Level.ERROR
    assert "ros2 run dapdee_ros head" in missing.message
    # It is back, and its absence is not taken for its habit.
    for number in range(20):
        head.on_sign(last_s + 60.0 + number * gap_s)
    back_s = last_s + 60.0 + 19 * gap_s
    assert head.health(back_s).level is Level.OK
    assert head.health(back_s + known_within_s).level is Level.ERROR


def test_who_is_needed_and_never_comes_is_an_error_in_the_end() -> None:
    assert Presence("head", "x", 5.0).health(20.0).level is Level.STALE
    assert Presence("head", "x", 5.0).health(40.0).level is Level.ERROR
    assert Presence("viewer", "x", 5.0, needed=False).health(40.0).level is Level.WARN


def test_an_edge_that_stops_answering_is_an_error_one_that_never_came_is_not() -> None:
    edge = EdgePresence(0.0)
    edge.on_link(1.0, False)
    assert edge.health(2.0).level is Level.STALE
    assert edge.health(60.0).level is Level.WARN
    edge.on_link(61.0, True)
    assert edge.health(62.0).level is Level.OK
    edge.on_link(63.0, False)
    found = edge.health(64.0)
    assert found.level is Level.ERROR
    assert "1.0 s" in found.message and "dapdee edge" in found.message
