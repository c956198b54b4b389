"""The joint choice by price: how far from exact, in time where that is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from planning.fleet.random_fleets import random_fleet

from dapdee_ros.planning.fleet.exact import lowest_sum
from dapdee_ros.planning.fleet.fleet import Fleet
from dapdee_ros.planning.fleet.merge import total_cost
from dapdee_ros.planning.fleet.polish import polished
from dapdee_ros.planning.fleet.price import by_price, changed, decide, offer, settle
from dapdee_ros.planning.fleet.priced import Prices, Terms


def test_prices_prove_a_bound_and_the_choice_is_near_it() -> None:
    gaps = []
    for seed in range(40):
        fleet = random_fleet(seed, 2 + seed % 9)
        found, exact = by_price(fleet), lowest_sum(fleet)
        assert found.bound <= exact.total_cost * (1 + 1e-9)
        assert found.total_cost >= exact.total_cost * (1 - 1e-9)
        gaps.append(found.total_cost / exact.total_cost - 1)
    assert np.median(gaps) < 1e-3 and max(gaps) < 0.1, gaps


def test_nobody_is_late_where_all_can_be_in_time() -> None:
    met = 0
    for seed in range(120):
        fleet = random_fleet(seed, 2 + seed % 5, deadline_s=0.35, stage_s=0.25, busy=seed % 2 == 0)
        exact, found = lowest_sum(fleet), by_price(fleet)
        if not exact.late:
            assert not found.late, seed
            assert found.total_cost >= exact.total_cost * (1 - 1e-7)
            met += 1
        else:
            assert len(found.late) >= len(exact.late)
    assert met >= 20


def test_prices_converge_however_often_cars_change_their_minds() -> None:
    fleet = random_fleet(7, 200, per_server=4)
    market = settle(fleet, rounds=200)
    late = market.history[-20:]
    assert (np.ptp(late, axis=0) < 0.05 * late.mean(axis=0)).all()
    # The bound they prove leaves little room above it.
    assert total_cost(fleet, polished(fleet, market.rows)) < 1.01 * market.bound


def test_undamped_prices_would_swing_for_ever() -> None:
    fleet = random_fleet(7, 200, per_server=4)
    terms = Terms.of(fleet)
    prices = settle(fleet).prices
    seen = []
    for _ in range(40):
        prices = changed(prices, offer(fleet, terms, prices).pulls, 1.0)
        seen.append(np.concatenate(prices))
    late = np.array(seen)[-20:]
    assert (np.ptp(late, axis=0) > 0.05 * late.mean(axis=0)).any()


def test_a_car_that_comes_is_taken_in_from_the_prices_there_are() -> None:
    fleet = random_fleet(3, 40)
    before = settle(fleet).prices
    grown = Fleet((*fleet.cars, *random_fleet(4, 2).cars), fleet.servers, fleet.cells)
    assert by_price(grown, before, rounds=20).total_cost < 1.02 * by_price(grown).total_cost


def test_a_car_alone_on_its_server_pays_what_it_costs_others() -> None:
    fleet = random_fleet(11, 1)
    assert by_price(fleet).total_cost == pytest.approx(lowest_sum(fleet).total_cost)


def test_a_cars_decision_is_its_cheapest_row_whether_or_not_a_deadline_binds() -> None:
    other = 0
    for seed in range(60):
        fleet = random_fleet(seed, 6, deadline_s=0.25, stage_s=0.2, busy=seed % 2 == 0)
        part, _ = fleet.reduced
        prices = settle(part, rounds=20).prices
        for car in part.cars:
            terms = Terms.of(Fleet((car,), part.servers))
            at = decide(terms, prices)
            assert terms.at(prices).cost[at] == terms.at(prices).cost.min()
            free = terms._replace(slack_s=terms.slack_s + 10, most_stage_s=terms.most_stage_s + 10)
            other += decide(free, prices) != at
    assert other > 5


def test_prices_of_nothing_are_no_prices() -> None:
    fleet = random_fleet(2, 5)
    free = offer(fleet, Terms.of(fleet), Prices(np.zeros(2), np.zeros(1)))
    assert free.bound == pytest.approx(np.minimum.reduceat(fleet.rows.base, fleet.starts).sum())
    assert math.isfinite(float(np.concatenate(free.pulls).sum()))
