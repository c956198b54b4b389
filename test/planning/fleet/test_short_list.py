"""Short lists: the plans that matter come first, and nobody's list is longer than it may be."""

from __future__ import annotations

import random

import numpy as np
import pytest
from planning.fleet.random_fleets import random_fleet, random_rows

from dapdee_ros.planning.fleet.exact import lowest_sum
from dapdee_ros.planning.fleet.fleet import Fleet, FleetCar
from dapdee_ros.planning.fleet.rows import NOBODY, Rows
from dapdee_ros.planning.fleet.short_list import short_lists


def test_a_car_with_few_plans_keeps_all_that_may_be_chosen() -> None:
    for seed in range(20):
        fleet = random_fleet(seed, 5)
        lists = short_lists(fleet)
        for car, (start, count) in enumerate(zip(fleet.starts, fleet.counts, strict=True)):
            kept = lists.row[car][lists.there[car]]
            assert sorted(kept) == [*range(start, start + count)]
            # What is there comes first, the rest repeats the first one.
            assert (lists.there[car] == (np.arange(16) < count)).all()
            assert (lists.row[car][count:] == kept[0]).all()


@pytest.mark.parametrize("length", [1, 3, 16])
def test_the_best_at_any_crowd_is_in_the_list(length: int) -> None:
    for seed in range(20):
        rows = random_rows(random.Random(seed), 2, 40)
        lists = short_lists(Fleet((FleetCar("car", rows),), ("a", "b")), length)
        kept = lists.row[0][lists.there[0]]
        assert len(kept) == len({*kept.tolist()}) == length
        assert rows.server[kept[0]] == NOBODY
        if length == 16:
            for server in (0, 1):
                over = np.flatnonzero(rows.server == server)
                cost = rows.base + rows.factor * (4 * rows.edge_s + 2 * rows.air_s)
                least = cost[over].min()
                mine = [row for row in kept if rows.server[row] == server]
                assert min(cost[mine]) <= least * 1.05


def test_of_the_plans_that_send_nothing_the_cheapest_is_kept() -> None:
    rows = Rows.of(
        (0.9, 1.0, 0.9, 0.0, 0.0, NOBODY, NOBODY),
        (0.5, 1.0, 0.5, 0.0, 0.0, NOBODY, NOBODY),
        (0.1, 1.0, 0.1, 0.1, 0.1, 0, 0),
    )
    lists = short_lists(Fleet((FleetCar("car", rows),)))
    assert lists.row[0][lists.there[0]].tolist() == [1, 2]
    assert lists.server[0, :2].tolist() == lists.cell[0, :2].tolist() == [NOBODY, 0]
    assert lists.edge[0, 1] == pytest.approx(0.1)


def test_hardly_anything_is_lost_to_the_exact_choice() -> None:
    for seed in range(10):
        rng = random.Random(seed)
        cars = tuple(FleetCar(f"c{i}", random_rows(rng, 2, 30)) for i in range(6))
        fleet = Fleet(cars, ("a", "b"))
        keep = np.zeros(len(fleet.rows), bool)
        keep[short_lists(fleet).row] = True
        part, _ = fleet.only(keep)
        assert lowest_sum(part).total_cost <= lowest_sum(fleet).total_cost * 1.01
