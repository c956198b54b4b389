"""Joint choices for servers that work for whoever is there."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from planning.fleet.random_fleets import random_fleet

from dapdee_ros.planning.fleet.exact import lowest_sum
from dapdee_ros.planning.fleet.fleet import Fleet, FleetCar
from dapdee_ros.planning.fleet.presence import presences, with_presence
from dapdee_ros.planning.fleet.price import by_price
from dapdee_ros.planning.fleet.rows import NOBODY, Rows


def alike(cars: int, edge_s: float, interval_s: float) -> Fleet:
    """Like cars that can only leave everything to one server, over links that nobody shares."""
    rows = Rows.of((0.0, 1.0, 0.0, edge_s, 0.0, 0, NOBODY))
    return Fleet(tuple(FleetCar(f"car{n}", rows, math.inf, interval_s) for n in range(cars)))


@pytest.mark.parametrize(("cars", "load"), [(1, 0.5), (2, 0.5), (10, 0.3), (10, 0.8)])
def test_like_cars_take_what_processor_sharing_takes(cars: int, load: float) -> None:
    interval_s = 1.0
    edge_s = load * interval_s / cars
    found = with_presence(lowest_sum, alike(cars, edge_s, interval_s))
    # With n - 1 others, each there for rate * time there: T = e + (n - 1) * rate * T * e.
    expected_s = edge_s / (1 - (cars - 1) * edge_s / interval_s)
    assert found.latency_s == pytest.approx(np.full(cars, expected_s), rel=0.05)


def test_cars_that_are_always_there_have_reserved_shares() -> None:
    for seed in range(10):
        # No time between frames: always there, wherever somebody is.
        fleet = random_fleet(seed, 5, servers=1, busy=True)
        found, reserved = with_presence(lowest_sum, fleet), lowest_sum(fleet)
        assert found.total_cost == pytest.approx(reserved.total_cost)
        assert found.edge_share == pytest.approx(reserved.edge_share)


def test_one_car_has_everything_to_itself() -> None:
    for seed in range(10):
        fleet = random_fleet(seed, 1, stage_s=0.4)
        found = with_presence(lowest_sum, fleet)
        r = fleet.rows
        assert found.total_cost == pytest.approx(
            (r.base + r.factor * (r.edge_s + r.air_s))[fleet.possible].min()
        )


def test_a_choice_with_presence_costs_no_more_than_with_reserved_shares() -> None:
    for seed in range(20):
        fleet = random_fleet(seed, 2 + seed % 5, stage_s=0.5)
        edge, air = presences(fleet)
        assert ((edge > 0) & (edge <= 1) & (air > 0) & (air <= 1)).all()
        found, reserved = with_presence(by_price, fleet), by_price(fleet)
        if not (found.late or reserved.late):
            assert found.total_cost <= reserved.total_cost * (1 + 1e-9)


def test_no_server_is_asked_for_more_than_there_is_if_that_can_be() -> None:
    alone = Rows.of((0.5, 1.0, 0.5, 0.0, 0.0, NOBODY, NOBODY), (0.0, 1.0, 0.0, 0.3, 0.0, 0, NOBODY))
    cars = tuple(FleetCar(f"car{n}", alone, math.inf, 1.0) for n in range(6))
    found = with_presence(lowest_sum, Fleet(cars))
    sending = found.edge_share > 0
    assert 0.3 * sending.sum() <= 1.0 and sending.any() and not found.late


def test_deadlines_are_judged_with_what_is_left_by_others() -> None:
    # Ten cars that are there a fiftieth of the time: reserved, nobody could be in time.
    fleet = alike(10, 0.02, 1.0)
    fleet = replace(fleet, cars=tuple(replace(car, deadline_s=0.03) for car in fleet.cars))
    assert lowest_sum(fleet).late
    assert not with_presence(lowest_sum, fleet).late
