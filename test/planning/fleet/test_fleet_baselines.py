"""The field's ways to plan for a fleet."""

from __future__ import annotations

import math

import numpy as np
import pytest
from planning.fleet.random_fleets import random_fleet

from dapdee_ros.planning.errors import FleetError
from dapdee_ros.planning.fleet.baselines import (
    device_only,
    each_for_itself,
    edge_only,
    equal_shares,
    nearest_edge,
)
from dapdee_ros.planning.fleet.exact import lowest_sum, lowest_worst
from dapdee_ros.planning.fleet.fleet import Fleet, FleetCar
from dapdee_ros.planning.fleet.iao import iao
from dapdee_ros.planning.fleet.rows import NOBODY, Rows

ALONE = (1.0, 1.0, 1.0, 0.0, 0.0, NOBODY, NOBODY)


def with_alone(seed: int, cars: int) -> Fleet:
    """A random fleet whose cars can all do without servers."""
    fleet = random_fleet(seed, cars)
    return Fleet(
        tuple(
            FleetCar(c.name, Rows.join([c.rows, Rows.of(ALONE)]), nearest=c.nearest)
            for c in fleet.cars
        ),
        fleet.servers,
    )


def test_no_way_to_plan_costs_less_than_the_exact_one() -> None:
    for seed in range(30):
        fleet = with_alone(seed, 2 + seed % 6)
        least = lowest_sum(fleet).total_cost * (1 - 1e-9)
        ways = (device_only, edge_only, equal_shares, each_for_itself, nearest_edge, iao)
        for way in ways:
            found = way(fleet)
            assert found.total_cost >= least, way
            for share in (found.edge_share, found.air_share):
                assert (share >= 0).all() and (share <= 1).all()
        assert iao(fleet).worst_cost >= lowest_worst(fleet).worst_cost * (1 - 1e-9)


def test_iao_is_best_for_the_slowest_car_where_there_is_one_server_and_no_cell() -> None:
    # The paper's own setting, up to the size of a unit.
    rng = np.random.default_rng(3)
    for _ in range(30):
        cars = []
        for i in range(4):
            rows = [ALONE]
            for _ in range(4):
                fixed_s = rng.uniform(0.05, 0.5)
                rows.append((fixed_s, 1.0, fixed_s, rng.uniform(0.01, 0.2), 0.0, 0, NOBODY))
            cars.append(FleetCar(f"c{i}", Rows.of(*rows)))
        fleet = Fleet(tuple(cars))
        found, best = iao(fleet, 1000).worst_cost, lowest_worst(fleet).worst_cost
        assert best * (1 - 1e-9) <= found <= best * 1.02


def test_by_hand() -> None:
    send = (0.1, 1.0, 0.1, 0.2, 0.3, 0, 0)
    fleet = Fleet(tuple(FleetCar(name, Rows.of(ALONE, send)) for name in "ab"))
    assert device_only(fleet).cost.tolist() == [1.0, 1.0]
    assert edge_only(fleet).cost == pytest.approx([1.1, 1.1])
    assert equal_shares(fleet).cost.tolist() == [1.0, 1.0]
    # For itself 0.6 is less than 1; but both do so.
    assert each_for_itself(fleet).cost == pytest.approx([1.1, 1.1])
    assert lowest_sum(fleet).total_cost == pytest.approx(1.6)


def test_a_car_without_a_plan_of_the_kind_is_named() -> None:
    fleet = Fleet((FleetCar("lonely", Rows.of(ALONE)),))
    with pytest.raises(FleetError, match="lonely"):
        edge_only(fleet)
    with pytest.raises(FleetError, match="units"):
        iao(Fleet(tuple(FleetCar(f"c{i}", Rows.of(ALONE)) for i in range(5))), units=4)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ((-1.0, 1, 0, 0, 0, 0, 0), "base"),
        ((math.inf, 1, 0, 0, 0, 0, 0), "base"),
        ((0.1, 1, 0, 0.1, 0, NOBODY, 0), "edge server"),
        ((0.1, 1, 0, 0, 0.1, 0, NOBODY), "cell"),
        ((0.1, 0, 0, 0.1, 0, 0, 0), "weight"),
    ],
)
def test_rows_that_make_no_sense_are_refused(row: tuple[float, ...], words: str) -> None:
    with pytest.raises(FleetError, match=words):
        Rows.of(row)


def test_fleets_that_make_no_sense_are_refused() -> None:
    with pytest.raises(FleetError, match="one car"):
        Fleet(())
    with pytest.raises(FleetError, match="there are 1"):
        Fleet((FleetCar("a", Rows.of((0.1, 1, 0.1, 0.1, 0.1, 1, 0))),))
    with pytest.raises(FleetError, match="deadline_s"):
        FleetCar("a", Rows.of(ALONE), deadline_s=0.0)
