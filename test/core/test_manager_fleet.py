"""A car's manager and a fleet node's prices: heeded while they hold, told what is asked for."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from simulation.small_world import PLANNING, QUALITY, dag, problem, profile

from dapdee_ros.core.fleet_car import NOTHING, Demand, Posted
from dapdee_ros.core.fleet_prices import FleetPrices, FleetSettings
from dapdee_ros.core.manager import ManagerCore
from dapdee_ros.core.manager_events import (
    FramesCounted,
    LinkEstimated,
    PricesCame,
    ProblemChanged,
    RefusePrices,
    SettingsChanged,
    TellDemand,
    TellPlan,
    TimePassed,
    WakeAt,
)
from dapdee_ros.planning.codec_cost import AsIs
from dapdee_ros.planning.policy import Problem, make_policy

FAST = LinkEstimated(8e6, 0.01, 0.1, True)
PROBLEM = problem()
# Alone: 0.012 s on the air, 0.01 s of round trip and 0.01 s of the edge server; on the car 0.1 s.
DEAR = Posted(1, 1, 5.0, {"edge": (0.9, 1.0, 0.5, 1.0)})


def manager(slowdown: float = 1.0, rate_hz: int = 10, **changes: object) -> ManagerCore:
    core = ManagerCore(replace(PLANNING, **changes), PROBLEM)  # type: ignore[arg-type]
    core.handle(0.0, ProblemChanged(PROBLEM, make_policy("exact", PROBLEM)))
    core.handle(0.1, FAST)
    core.handle(0.1, FramesCounted(1, 1))
    core.handle(1.1, FramesCounted(1, 1 + rate_hz))
    return core


def plan_of(core: ManagerCore) -> tuple[str, ...]:
    assert core.told is not None
    return core.told.plan.boundary


def test_a_high_price_brings_the_car_home_until_it_expires() -> None:
    core = manager()
    assert plan_of(core) == ("image",)
    wake_s = 2.0
    actions = core.handle(2.0, PricesCame(DEAR))
    assert isinstance(actions[0], TellPlan) and plan_of(core) == ()
    while plan_of(core) == ():
        wake_s = next((a.at_s for a in actions if isinstance(a, WakeAt)), wake_s + 0.1)
        actions = core.handle(wake_s, TimePassed())
    # Without a fleet node it plans alone, as soon as prices have ceased to hold.
    assert wake_s == 7.0 and plan_of(core) == ("image",)
    core.handle(9.0, PricesCame(replace(DEAR, number=2)))
    assert plan_of(core) == ()


def test_who_may_drop_frames_loses_nothing_by_making_room() -> None:
    demands = {}
    for utilisation in (0.8, 0.0):
        core = manager(frame_utilisation=utilisation)
        core.handle(3.5, PricesCame(Posted(1, 1, 5.0)))
        (told,) = (a for a in core.handle(4.0, TimePassed()) if isinstance(a, TellDemand))
        demands[utilisation] = told.demand
    assert demands[0.8].edge_gain_s > 0
    assert demands[0.0] == replace(demands[0.8], edge_gain_s=0.0)
    # Beside three of them that ask for more than the server has, this car goes there all the same.
    prices = FleetPrices(FleetSettings(), epoch=1)
    for car in ("a", "b", "c", "own"):
        prices.hear(4.0, car, replace(demands[0.0], edge_load=0.5))
    for now_s in (4.0, 4.1, 4.2, 4.3):
        prices.advance(now_s)
    core.handle(4.5, PricesCame(prices.posted("own")))
    assert plan_of(core) == ("image",)
    # Where frames have to be finished somewhere, and the others gain as much, it makes room.
    for car in ("a", "b", "c", "own"):
        prices.hear(5.0, car, replace(demands[0.8], edge_load=0.5))
    for now_s in (5.0, 5.1, 5.2, 5.3):
        prices.advance(now_s)
    core.handle(8.0, PricesCame(prices.posted("own")))
    assert plan_of(core) == ()


def test_what_is_asked_for_is_told_only_while_somebody_makes_prices() -> None:
    core = manager(rate_hz=5, frame_utilisation=0.8, cell="north")
    assert not any(isinstance(a, TellDemand) for a in core.handle(3.0, TimePassed()))
    core.handle(3.5, PricesCame(Posted(1, 1, 5.0)))
    (told,) = (a for a in core.handle(4.0, TimePassed()) if isinstance(a, TellDemand))
    # The whole network on the edge server, the image on the air; five frames a second.
    assert told.demand.edge_pulls == pytest.approx({"edge": math.sqrt(0.01)})
    assert told.demand.edge_load == pytest.approx(0.05)
    # At home a frame takes 0.1 s, over the link 0.032 s.
    assert told.demand.edge_gain_s == pytest.approx(0.1 - 0.032)
    assert told.demand.air_pull == pytest.approx(math.sqrt(0.012))
    assert (told.demand.cell, told.demand.air_load) == ("north", pytest.approx(0.06))
    core.handle(4.5, LinkEstimated(math.nan, math.nan, math.inf, False))
    (told,) = (a for a in core.handle(5.1, TimePassed()) if isinstance(a, TellDemand))
    assert told.demand == Demand({"edge": 0.0}, cell="north")
    assert not any(isinstance(a, TellDemand) for a in core.handle(9.0, TimePassed()))


@pytest.mark.parametrize(
    "wrong",
    [
        {"edge": {"edge": (0.9, math.nan, 0.5, 1.0)}},
        {"edge": {"edge": (-1.0, 1.0, 0.0, 1.0)}},
        {"edge": {"edge": (0.9, 1e9, 0.5, 1.0)}},
        {"edge": {"elsewhere": (0.9, 1.0, 0.5, 1.0)}},
        {"valid_s": 1e9},
    ],
)
def test_a_hostile_price_is_refused_and_changes_no_plan(wrong: dict[str, object]) -> None:
    core = manager()
    (refused,) = core.handle(2.0, PricesCame(replace(DEAR, **wrong)))  # type: ignore[arg-type]
    assert isinstance(refused, RefusePrices) and refused.why
    assert plan_of(core) == ("image",) and not core.prices.hold(2.0)


def test_only_cars_that_share_a_cell_pay_for_its_air() -> None:
    core = manager()
    # 0.02 s on the car, 0.04 s on the air, 0.01 s of round trip, 0.008 s of the edge server.
    core.handle(1.2, LinkEstimated(0.8e6, 0.01, 0.1, True))
    assert plan_of(core) == ("stem",)
    full = (0.9, 3.0, 2.0, math.inf)
    core.handle(2.0, PricesCame(Posted(1, 1, 5.0, {"edge": NOTHING}, {"north": full})))
    assert plan_of(core) == ("stem",)
    # Others who want nearly all of the air lose more than this car gains.
    core.handle(2.1, SettingsChanged(replace(PLANNING, cell="north")))
    assert plan_of(core) == ()


def test_two_cars_of_unequal_speed_and_a_node_that_dies_and_comes_back() -> None:
    cars = {name: manager(rate_hz=5, frame_utilisation=0.8) for name in ("fast", "slow")}
    slow = Problem(dag(), (profile("car", 10.0), profile("edge", 0.1)), QUALITY, (AsIs(),))
    cars["slow"].handle(1.5, ProblemChanged(slow, make_policy("exact", slow)))
    alone = {name: plan_of(core) for name, core in cars.items()}
    assert set(alone.values()) == {("image",)}

    def turns(epoch: int, from_s: int, to_s: int) -> FleetPrices:
        """A node with these two and others who keep the server busy for three quarters."""
        prices = FleetPrices(FleetSettings(), epoch)
        for now_s in range(from_s, to_s):
            for name, core in cars.items():
                for action in core.handle(now_s + 0.5, TimePassed()):
                    if isinstance(action, TellDemand):
                        prices.hear(now_s + 0.5, name, action.demand)
            prices.hear(now_s + 0.5, "others", Demand({"edge": 1.0}, 0.75, 1.0))
            prices.advance(now_s + 0.5)
            for name, core in cars.items():
                core.handle(now_s + 0.9, PricesCame(prices.posted(name)))
        return prices

    turns(7, 2, 20)
    # The fast car has less to lose by staying at home.
    assert {name: plan_of(core) for name, core in cars.items()} == {"fast": (), "slow": ("image",)}
    for core in cars.values():
        core.handle(30.0, TimePassed())
    assert {name: plan_of(core) for name, core in cars.items()} == alone
    prices = turns(8, 30, 50)
    assert {name: plan_of(core) for name, core in cars.items()} == {"fast": (), "slow": ("image",)}
    assert prices.demands["fast"].edge_load == 0
