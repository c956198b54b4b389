"""What each car may send of what the edge can compute."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from dapdee_ros.core.demand import Demands


def told(asks: Mapping[str, float], shares: Mapping[str, float] | None = None) -> Demands:
    """Cars that ask for so much of the edge's time per second, in frames of 10 ms, for 10 s."""
    demands = Demands()
    for tick in range(1000):
        for car, part in asks.items():
            if math.floor((tick + 1) * part) > math.floor(tick * part):
                demands.came(0.01 * tick, car, 0.01)
    return demands


@pytest.mark.parametrize(
    ("asks", "shares", "parts"),
    [
        ({"a": 0.9, "b": 0.9}, {}, {"a": 0.5, "b": 0.5}),
        ({"a": 0.9, "b": 0.9, "c": 0.9}, {"a": 2.0}, {"a": 0.5, "b": 0.25, "c": 0.25}),
        # What one leaves, the others share by their weights; it could still have more itself.
        ({"a": 0.9, "b": 0.9, "c": 0.1}, {"a": 2.0}, {"a": 0.6, "b": 0.3, "c": 0.25}),
        ({"a": 0.9, "b": 0.1, "c": 0.1}, {}, {"a": 0.8, "b": 1 / 3 + 0.067 / 1, "c": 0.4}),
    ],
)
def test_what_a_car_may_have_is_its_share_and_what_others_leave(
    asks: dict[str, float], shares: dict[str, float], parts: dict[str, float]
) -> None:
    demands = told(asks)
    for car, part in parts.items():
        assert demands.part(10.0, car, shares) == pytest.approx(part, abs=0.05), car


def test_cars_hold_back_only_while_they_ask_for_more_than_there_is() -> None:
    few = told({"a": 0.3, "b": 0.3})
    assert few.send_interval_s(10.0, "a", {}) == 0
    many = told({"a": 0.9, "b": 0.9})
    assert many.send_interval_s(10.0, "a", {}) == pytest.approx(0.02, rel=0.1)
    # A while later nobody sends any more.
    assert many.send_interval_s(20.0, "a", {}) == 0
    alone = told({"a": 0.9})
    assert alone.send_interval_s(10.0, "a", {}) == alone.send_interval_s(10.0, "b", {}) == 0


def test_clocks_that_jump_and_ids_without_end_do_no_harm() -> None:
    demands = told({"a": 0.9, "b": 0.9})
    for now_s in (-1e9, 1e9, 1e9 + 0.01):
        demands.came(now_s, "a", 0.01)
        for car in ("a", "b", "c"):
            assert 0 <= demands.part(now_s, car, {}) <= 1
            assert 0 <= demands.send_interval_s(now_s, car, {}) < 1
    for number in range(1000):
        demands.came(1e9 + number, f"car{number}", 0.0)
    assert len(demands._asked) <= 64
