"""Prices from what cars ask for: turns, where they end, who is told what, and what is refused."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from planning.fleet.random_fleets import random_fleet

from dapdee_ros.core.expiring import Expiring
from dapdee_ros.core.fleet_car import NOTHING, Demand, HeardPrices, Posted, Sums
from dapdee_ros.core.fleet_prices import FleetPrices, FleetSettings
from dapdee_ros.planning.errors import FleetError
from dapdee_ros.planning.fleet.fleet import Fleet, FleetCar
from dapdee_ros.planning.fleet.rows import Rows
from dapdee_ros.planning.fleet.search import cheapest
from dapdee_ros.planning.tolls import MOST_PULL, NO_TOLLS, Others, Tolls
from dapdee_ros.simulation.fleet.market import Market

NORTH: Sums = (0.1, 0.2, 0.02, math.inf)


def posted(**changes: Any) -> Posted:
    values: dict[str, Any] = {
        "epoch": 2, "number": 1, "valid_s": 5.0, "edge": {"edge": (0.5, 0.3, 0.1, 0.8)},
    }  # fmt: skip
    return Posted(**(values | changes))


def fleet_of(seed: int, cars: int, per_server: int = 3, rate_hz: float = 2.0) -> Fleet:
    """Cars with so many frames a second, over two servers and one cell."""
    fleet = random_fleet(seed, cars, per_server=per_server)
    return replace(fleet, cars=tuple(replace(car, most_stage_s=1 / rate_hz) for car in fleet.cars))


def paid(fleet: Fleet, rows: Any) -> float:
    """What all pay: their own, and pulls times what waiting costs beside each server's others."""
    r = fleet.rows
    rate = 1 / np.array([car.most_stage_s for car in fleet.cars])
    going_on = r.factor[rows] / np.maximum.reduceat(r.factor, fleet.starts)
    cost = float(r.base[rows].sum())
    for of, used_s in ((r.server[rows], r.edge_s[rows]), (r.cell[rows], r.air_s[rows])):
        pull, load = np.sqrt(r.factor[rows] * used_s), rate * going_on * used_s
        cost += float((pull**2).sum())
        for place in set(of.tolist()) - {-1}:
            here = of == place
            sums = Others(load[here].sum(), pull[here].sum(), (load * pull)[here].sum())
            cost += sums.pull * sums.wait
    return cost


def test_turns_end_near_the_best_of_all_choices() -> None:
    over = []
    for seed in range(25):
        fleet = fleet_of(seed, 3, per_server=2)
        ranges = [range(a, a + n) for a, n in zip(fleet.starts, fleet.counts, strict=True)]
        best = min(paid(fleet, np.array(rows)) for rows in itertools.product(*ranges))
        over.append(paid(fleet, Market().choose(fleet, 5.0, 30).rows) / best - 1)
    # What a car is told leaves its own waiting for itself out, so it may end lower, too.
    assert np.median(over) < 0.005 and max(over) < 0.1, sorted(over)


def test_all_together_pay_less_than_when_each_plans_alone() -> None:
    for seed in range(8):
        fleet = fleet_of(seed, 40)
        r = fleet.rows
        alone = cheapest(fleet, r.base + r.factor * (r.edge_s + r.air_s))
        found = Market().choose(fleet, 20.0, 400).rows
        assert paid(fleet, found) < 0.95 * paid(fleet, alone)


def test_like_cars_divide_servers_among_them_and_settle() -> None:
    fleet = fleet_of(3, 1, per_server=4)
    fleet = Fleet(
        tuple(replace(fleet.cars[0], name=f"car{n:02d}") for n in range(30)), fleet.servers
    )
    market = Market()
    market.choose(fleet, 20.0, 200)
    seen = [tuple(market.choose(fleet, 20.0 + n, 10).rows) for n in range(1, 11)]
    assert len(set(seen)) == 1
    assert len(set(seen[0])) > 1


def test_who_gains_more_of_a_full_server_takes_the_place_of_who_gains_less() -> None:
    """Three cars that could each fill it; the last one in gains most."""
    homes = {"car1": 0.3, "car2": 0.5, "car3": 0.9}
    cars = tuple(
        FleetCar(
            name,
            Rows.of((home_s, 1, home_s, 0, 0, -1, -1), (0.01, 1, 0.01, 0.08, 0, 0, -1)),
            most_stage_s=0.1,
        )
        for name, home_s in homes.items()
    )
    market = Market()
    for present in (cars[:1], cars[:2], cars):
        choice = market.choose(Fleet(present), 0.0, 20)
        assert (choice.edge_share > 0).tolist() == [car is present[-1] for car in present]


def test_cars_have_their_turn_one_after_the_other() -> None:
    prices = FleetPrices(FleetSettings(), epoch=1)
    assert prices.advance(0.0) == []
    for car in ("b", "a", "c"):
        prices.hear(0.0, car, Demand({"edge": 0.1}, 0.1))
    assert [prices.advance(0.1 * n) for n in range(1, 5)] == [["a"], ["b"], ["c"], ["a"]]
    prices.hear(0.5, "aa", Demand({"edge": 0.1}, 0.1))
    assert prices.advance(0.5) == ["aa"]
    many = FleetPrices(FleetSettings(), epoch=1)
    names = [f"car{n:04d}" for n in range(1000)]
    for car in names:
        many.hear(0.0, car, Demand({"edge": 0.1}, 0.001))
    told = [car for n in range(63) for car in many.advance(0.01 * n)]
    assert set(told) == set(names)


def test_a_car_is_told_of_the_others_only_and_only_in_its_turn() -> None:
    prices = FleetPrices(FleetSettings(), epoch=1)
    told = {
        "car1": Demand({"edge": 0.4}, 0.5, 0.1, "north", 0.1, 0.2),
        "car2": Demand({"edge": 0.2, "other": 0.0}, 0.1, 0.2, "south", 0.3, 0.5),
    }
    for car, demand in told.items():
        prices.hear(0.0, car, demand)
    assert prices.posted("car1").edge == {"edge": NOTHING}
    assert prices.advance(0.1) == ["car1"]
    assert prices.posted("car1").edge == {"edge": pytest.approx((0.1, 0.2, 0.02, 2.0))}
    assert prices.posted("car1").air == {"north": NOTHING}
    assert prices.posted("car2").edge == {"edge": NOTHING, "other": NOTHING}
    assert prices.advance(0.2) == ["car2"]
    posted = prices.posted("car2")
    assert posted.edge == {"edge": pytest.approx((0.5, 0.4, 0.2, 0.2)), "other": NOTHING}
    assert not posted.fault and not prices.posted("car3").edge
    assert prices.of("edge") == pytest.approx((0.6, 0.6, 0.22, 0.2))
    assert prices.of_cell("north") == pytest.approx((0.2, 0.1, 0.02, math.inf))
    # Shares go by what a frame asks for, however seldom it comes.
    assert prices.shares("edge") == pytest.approx({"car1": 4 / 3, "car2": 2 / 3})
    assert prices.shares("other") == {}


def test_a_car_that_falls_silent_is_forgotten() -> None:
    prices = FleetPrices(FleetSettings(valid_s=3.0), epoch=1)
    for car in ("car1", "car2"):
        prices.hear(0.0, car, Demand({"edge": 0.4}, 0.5))
    prices.advance(1.0)
    prices.hear(2.0, "car1", Demand({"edge": 0.4}, 0.5))
    prices.advance(3.0)
    prices.advance(3.1)
    assert set(prices.demands) == {"car1"} and set(prices.shares("edge")) == {"car1"}
    assert prices.posted("car1").edge == {"edge": NOTHING}
    assert not prices.posted("car2").edge


@pytest.mark.parametrize(
    "demand",
    [
        Demand({"edge": math.nan}),
        Demand({"edge": -0.1}),
        Demand({"edge": 2 * MOST_PULL}),
        Demand({"edge": 0.1}, edge_load=math.nan),
        Demand({"edge": 0.1}, edge_load=-0.5),
        Demand({"edge": 0.1}, edge_gain_s=math.nan),
        Demand({"edge": 0.1}, 0.5, 0.1, "cell", math.inf),
        Demand({"edge": 0.1}, air_load=1e9),
        Demand({f"edge{n}": 0.1 for n in range(17)}),
        Demand({"": 0.1}),
    ],
)
def test_what_no_car_can_ask_for_changes_no_price(demand: Demand) -> None:
    prices = FleetPrices(FleetSettings(), epoch=1)
    prices.hear(0.0, "car1", Demand({"edge": 0.4}, 0.5))
    with pytest.raises(FleetError, match="car2: "):
        prices.hear(0.0, "car2", demand)
    prices.advance(0.0)
    assert set(prices.demands) == {"car1"}


def test_what_a_thousand_cars_at_their_limits_ask_for_is_still_a_price() -> None:
    prices = FleetPrices(FleetSettings(), epoch=1)
    for n in range(40):
        prices.hear(0.0, f"car{n}", Demand({"edge": MOST_PULL}, 1e3, 1e3, "cell", MOST_PULL, 1e3))
    (car,) = prices.advance(0.0)
    assert not prices.posted(car).fault


def test_prices_hold_for_as_long_as_they_say_and_not_longer() -> None:
    heard, edge = HeardPrices(["edge"]), Others(0.5, 0.3, 0.1, 0.8)
    assert heard.tolls(0.0, "edge") == NO_TOLLS and math.isinf(heard.until_s)
    assert heard.hear(1.0, posted(air={"north": NORTH})) == ""
    assert heard.tolls(5.9, "edge", "north", 0.1) == Tolls(edge, Others(*NORTH), 10.0)
    assert (
        heard.tolls(5.9, "edge", "south", 0.1)
        == heard.tolls(5.9, "edge", "", 0.1)
        == Tolls(edge, rate_hz=10.0)
    )
    assert heard.hear(4.0, posted(air={"north": NORTH})) == "" and heard.until_s == 6.0
    assert heard.tolls(6.0, "edge") == NO_TOLLS
    assert heard.expire(6.0) and not heard.expire(6.0)
    assert heard.hear(7.0, posted(number=2)) == "" and heard.tolls(7.0, "edge").edge == edge


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"edge": {"edge": (math.nan, 0.3, 0.1, 1.0)}}, "'edge': the load is nan"),
        ({"edge": {"edge": (0.5, -0.3, 0.1, 1.0)}}, "the pull is -0.3, expected 0 to"),
        ({"edge": {"edge": (0.5, 1e9, 0.1, 1.0)}}, "expected 0 to 1000"),
        ({"edge": {"edge": (0.5, 0.3, 5.0, 1.0)}}, "expected up to load times pull"),
        ({"edge": {"edge": (0.5, 0.3, 0.1, math.nan)}}, "the least gain is nan"),
        ({"air": {"north": (0.5, 0.3, math.inf, 1.0)}}, "'north': the work is inf"),
        ({"edge": {"other": (0.5, 0.3, 0.1, 1.0)}}, "not of this car's edge servers: edge"),
        ({"valid_s": math.inf}, "valid_s is inf"),
        ({"valid_s": -1.0}, "valid_s is -1.0"),
        ({"epoch": 1, "number": 99}, "run 1, and run 2 has been heard since"),
    ],
)
def test_hostile_prices_have_no_effect_and_are_named(wrong: dict[str, Any], words: str) -> None:
    heard = HeardPrices(["edge"])
    assert heard.hear(0.0, posted()) == ""
    before = heard.tolls(1.0, "edge")
    assert words in heard.hear(1.0, posted(**wrong))
    assert heard.tolls(1.0, "edge") == before and heard.until_s == 5.0


def test_a_later_run_replaces_an_earlier_one_and_after_the_end_of_it_any_may_come() -> None:
    told = Expiring[str]()
    assert told.hear(0.0, "first", 5, 80, 5.0) == ""
    assert told.hear(1.0, "second", 6, 0, 5.0) == "" and told.at(1.0) == "second"
    assert told.hear(2.0, "first", 5, 81, 5.0) and told.at(2.0) == "second"
    # A machine whose clock was set back starts its node again: it is heard once nothing else holds.
    assert told.hear(6.0, "back", 4, 0, 5.0) == "" and told.at(6.0) == "back"


def test_a_car_alone_in_its_fleet_does_what_it_would_without_prices() -> None:
    for seed in range(20):
        fleet = fleet_of(seed, 1)
        part, numbers = fleet.reduced
        r = part.rows
        alone = cheapest(part, r.base + r.factor * (r.edge_s + r.air_s))
        market = Market()
        for now_s in range(3):
            assert (market.choose(fleet, float(now_s), 10).rows == numbers[alone]).all()
