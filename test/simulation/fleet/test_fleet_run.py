"""Runs of a fleet: what must hold for every one, and what one car alone would have."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from simulation.small_world import problem, scenario

from dapdee_ros.planning.errors import FleetError, PolicyError
from dapdee_ros.simulation.fleet.members import FleetModel, members_of
from dapdee_ros.simulation.fleet.results import FleetRun, jain
from dapdee_ros.simulation.fleet.run import simulate_fleet
from dapdee_ros.simulation.fleet.scenario import Burst, CarGroup, FleetScenario, ServerGroup
from dapdee_ros.simulation.load_trace import LoadTrace
from dapdee_ros.simulation.run import simulate
from dapdee_ros.simulation.scenario import BARE_WIRE, ScenarioError

POLICIES = (
    "price", "exact", "exact-worst", "iao", "ppo", "equal-shares", "each-for-itself",
    "nearest-edge", "edge-only", "device-only", "posted-price", "alone:dads", "alone:exact",
)  # fmt: skip
CARS = CarGroup(
    count=4,
    model="small",
    slowdown=(1.0, 1.0),
    uplink_bps=(8e6, 8e6),
    rate_hz=5.0,
    jitter=0.0,
    deadline_s=0.3,
    quality_weight_s=None,
)


def small(_name: str, _codecs: Sequence[str]) -> FleetModel:
    return FleetModel(_PROBLEM)


_PROBLEM = problem()


def fleet(policy: str = "price", cars: CarGroup = CARS, **changes: Any) -> FleetRun:
    values: dict[str, Any] = {
        "cars": (cars,),
        "servers": (ServerGroup(count=1, slowdown=(1.0, 1.0), rtt_s=(0.01, 0.01)),),
        "cells": 1,
        "seconds": 20.0,
        "wire": BARE_WIRE,
    }
    run = simulate_fleet(FleetScenario(**(values | changes)), policy, load=small)
    assert run.balanced
    return run


@pytest.mark.parametrize("policy", ["exact", "dads", "edge-only", "device-only"])
@pytest.mark.parametrize("slowdown", [0.8, 2.0])
def test_one_car_does_what_the_simulation_of_one_car_does(policy: str, slowdown: float) -> None:
    alone = simulate(
        scenario(known_link=True, car_load=LoadTrace(slowdowns=(slowdown,))), policy
    ).log
    car = replace(CARS, count=1, slowdown=(slowdown, slowdown))
    found = fleet("device-only" if policy == "device-only" else f"alone:{policy}", car)
    ledger, (member,) = alone.ledger, found.cars
    assert (member.accepted, member.answered, member.dropped, member.late, member.edge) == (
        ledger["accepted"], ledger["results"], ledger["drops"], ledger["deadline_misses"],
        ledger["results_edge"],
    )  # fmt: skip
    latencies = sorted(frame.latency_s for frame in alone.frames)
    assert member.median_s == pytest.approx(latencies[len(latencies) // 2], rel=1e-6)
    assert found.totals["p95_s"] == pytest.approx(latencies[int(0.95 * len(latencies))], rel=0.01)


@pytest.mark.parametrize("policy", ["price", "exact"])
def test_one_car_planned_for_jointly_does_what_exact_does_for_it(policy: str) -> None:
    alone = simulate(scenario(known_link=True), "exact").log
    (member,) = fleet(policy, replace(CARS, count=1)).cars
    assert member.edge == alone.ledger["results_edge"] > 90
    assert member.median_s == pytest.approx(alone.frames[50].latency_s, rel=1e-6)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_accepted_frame_ends_once_under_every_policy(policy: str) -> None:
    down = ServerGroup(count=1, slowdown=(4.0, 4.0), rtt_s=(0.01, 0.01), down_s=((5.0, 9.0),))
    up = ServerGroup(count=1, slowdown=(2.0, 2.0), rtt_s=(0.02, 0.02))
    cars = replace(CARS, jitter=0.3, slowdown=(0.5, 3.0), bursts=(Burst(12.0, 3.0, 4.0),))
    run = fleet(policy, replace(cars, quality_weight_s=1.0), servers=(down, up))
    assert run.totals["accepted"] == pytest.approx(4 * (17 * 5 + 3 * 20), abs=4)
    # A few end after the last second that is counted.
    assert 0 <= run.totals["accepted"] - run.over_time.sum() <= 12


def test_the_same_scenario_gives_the_same_run_and_another_seed_another() -> None:
    cars = replace(CARS, jitter=0.3, slowdown=(0.5, 3.0))
    first, again = (fleet("price", cars).to_dict() for _ in range(2))
    assert first == again
    assert fleet("price", cars, seed=1).to_dict() != first


def test_a_failed_server_costs_fallbacks_until_it_is_noticed_and_is_used_again() -> None:
    servers = (
        ServerGroup(count=1, slowdown=(0.2, 0.2), rtt_s=(0.01, 0.01), down_s=((6.02, 12.02),)),
    )
    steady = fleet("exact", servers=(replace(servers[0], down_s=()),))
    run = fleet("exact", servers=servers)
    assert steady.totals["fallback"] == 0 and steady.totals["edge"] == steady.totals["answered"]
    # 4 cars, 5 frames a second, half a second until it is noticed.
    assert 4 <= run.totals["fallback"] <= 16 and run.totals["lost"] >= run.totals["fallback"] - 4
    assert run.totals["answered"] == run.totals["accepted"]
    assert run.totals["in_time_share"] >= 0.98
    used = [r for r in run.rounds if any(a.server == 0 for a in r.assignments.values())]
    assert [round(r.at_s, 2) for r in run.rounds] == [0.0, 6.52, 12.52] and len(used) == 2
    assert run.samples[12].edge_busy_s == run.samples[7].edge_busy_s < run.samples[-1].edge_busy_s


def test_another_server_takes_over() -> None:
    near = ServerGroup(count=1, slowdown=(0.2, 0.2), rtt_s=(0.01, 0.01), down_s=((6.02, 12.02),))
    far = ServerGroup(count=1, slowdown=(0.2, 0.2), rtt_s=(0.03, 0.03))
    run = fleet("exact", servers=(near, far))
    assert run.totals["edge"] >= run.totals["accepted"] - 16
    assert {a.server for a in run.rounds[1].assignments.values()} == {1}


def test_a_car_whose_battery_is_empty_drives_no_more() -> None:
    cars = replace(
        CARS, count=2, battery_j=20.0, base_w=1.0, compute_w=5.0, send_j_per_byte=1e-6, wait_w=2.0
    )
    run = fleet("device-only", cars)
    # 0.1 s of computing for each frame: 0.5 J, five times a second, and 1 W beside that.
    assert [car.empty_s for car in run.cars] == [6.0, 6.0]
    assert all(car.energy_j == pytest.approx(14.0, abs=1.1) for car in run.cars)
    assert all(29 <= car.accepted <= 31 for car in run.cars)
    saving = fleet("exact", replace(cars, energy_weight=1.0))
    assert all(car.empty_s > 9 for car in saving.cars)
    assert saving.samples[-1].driving == sum(math.isinf(car.empty_s) for car in saving.cars)


def test_energy_of_a_frame_is_what_the_plan_says() -> None:
    cars = replace(CARS, count=1, compute_w=5.0, send_j_per_byte=1e-6, wait_w=2.0)
    run = fleet("exact", cars)
    plan = run.rounds[0].assignments[0].plan
    assert plan.crossings and run.cars[0].frame_j == pytest.approx(plan.energy_j, rel=1e-6)


def test_bursts_bring_more_frames_at_their_time() -> None:
    cars = replace(CARS, count=1, bursts=(Burst(5.0, 2.0, 3.0),))
    (member,), _ = members_of(FleetScenario((cars,), seconds=10.0), small)
    inside = ((member.arrivals_s >= 5.0) & (member.arrivals_s < 7.0)).sum()
    assert (inside, len(member.arrivals_s)) == (30, 8 * 5 + 30)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(PolicyError, match="unknown; there are price, exact"):
        fleet("cheapest")
    with pytest.raises(PolicyError, match="unknown"):
        fleet("alone:cheapest")
    with pytest.raises(ScenarioError, match="slowdown is"):
        CarGroup(slowdown=(2.0, 1.0))
    with pytest.raises(ScenarioError, match="down_s is"):
        ServerGroup(down_s=((5.0, 3.0),))
    with pytest.raises(ScenarioError, match="count is 0"):
        CarGroup(count=0)
    with pytest.raises(FleetError, match="101 cars at a server"):
        fleet("iao", replace(CARS, count=101), seconds=1.0)


def test_jain_is_one_for_equals_and_one_over_n_for_a_single_winner() -> None:
    assert jain([2.0, 2.0, 2.0]) == pytest.approx(1.0)
    assert jain([0.0, 0.0, 5.0, 0.0]) == pytest.approx(0.25)
    assert math.isnan(jain([]))
