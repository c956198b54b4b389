"""Costs over lists of sites and hops: by hand for a car, an edge server and a cloud."""

from __future__ import annotations

import math

import numpy as np
import pytest
from planning.random_networks import chain_of_design

from dapdee_ros.planning.cost import EnergyPrices, plan_cost
from dapdee_ros.planning.errors import (
    LinkError,
    LoadError,
    PlanningError,
    ProfileError,
    TableError,
)
from dapdee_ros.planning.overhead import Overhead
from dapdee_ros.planning.plan import Crossing, Plan, Stage
from dapdee_ros.planning.policy import Problem
from dapdee_ros.planning.sites import Hop, Site, car_and_edge
from dapdee_ros.planning.situation import Situation
from dapdee_ros.planning.table import CandidateTable
from dapdee_ros.planning.view import cost_weights

SITES = (Site("car", 4.0), Site("edge", 2.0), Site("cloud", 0.5))
HOPS = (Hop(8e6, rtt_s=0.02), Hop(80e6, rtt_s=0.05))


def test_a_plan_over_two_hops_by_hand() -> None:
    cost = plan_cost((0.010, 0.020, 0.060), (20_000, 5_000), SITES, HOPS)
    # 4 * 10 ms, 2 * 20 ms, half of 60 ms; 20 ms and 20,000 bytes at 1 MB/s, 50 ms and 5,000 at 10.
    assert cost.stage_s == pytest.approx((0.040, 0.040, 0.030))
    assert cost.hop_s == pytest.approx((0.040, 0.0505))
    assert cost.latency_s == pytest.approx(0.2005)
    assert cost.period_s == pytest.approx(0.040)
    assert plan_cost((0.010, 0.020, 0.060), (20_000, 5_000), SITES, HOPS, window=4).period_s == (
        pytest.approx(0.2005 / 4)
    )
    # The slowest may be any stage or any hop, without its round trip.
    assert plan_cost((0.001, 0.001, 0.4), (1, 1), SITES, HOPS).period_s == pytest.approx(0.2)
    assert plan_cost((0.001, 0.001, 0.1), (1, 1e6), SITES, HOPS).period_s == pytest.approx(0.1)
    prices = EnergyPrices(compute_w=10, send_j_per_byte=1e-6, wait_w=2)
    energy_j = prices.car_j(cost.stage_s[0], 20_000, cost.latency_s)
    assert energy_j == pytest.approx(0.4 + 0.02 + 2 * 0.1605)


def test_a_plan_that_ends_before_the_last_site_costs_nothing_beyond() -> None:
    at_the_edge = plan_cost((0.010, 0.020), (20_000,), SITES, HOPS)
    assert at_the_edge == plan_cost((0.010, 0.020), (20_000,), SITES[:2], HOPS[:1])
    assert at_the_edge.stage_s == pytest.approx((0.040, 0.040))
    assert at_the_edge.latency_s == pytest.approx(0.120)
    alone = plan_cost((0.010,), (), SITES, HOPS, window=4)
    assert (alone.stage_s, alone.hop_s) == ((0.040,), ())
    assert alone.latency_s == alone.period_s == 0.040


def test_means_wait_for_round_trips_as_often_as_frames_are_sent() -> None:
    mean = plan_cost((0.010, 0.010, 0.030), (10_000, 2_500), SITES, HOPS, sent_share=0.5)
    assert mean.hop_s == pytest.approx((0.020, 0.02525))


def test_over_a_hop_that_is_gone_it_takes_for_ever() -> None:
    gone = (HOPS[0], Hop(80e6, connected=False))
    cost = plan_cost((0.010, 0.020, 0.060), (20_000, 5_000), SITES, gone)
    assert (cost.latency_s, cost.period_s) == (math.inf, math.inf)
    assert plan_cost((0.010, 0.020), (20_000,), SITES, gone).latency_s < math.inf


def test_the_weights_of_columns_give_the_same_latency() -> None:
    parts, sent = (0.010, 0.020, 0.060), (20_000, 5_000)
    column = np.array([parts[0], sent[0], parts[1], 1, sent[1], parts[2], 1])
    assert cost_weights(SITES, HOPS) @ column == pytest.approx(
        plan_cost(parts, sent, SITES, HOPS).latency_s
    )
    dead = cost_weights(SITES, (Hop(0.0), HOPS[1]))
    assert dead.tolist() == [4.0, 0, 0, 0, 0, 0, 0]


def test_a_plan_sums_up_its_stages_and_crossings() -> None:
    plan = Plan(
        2,
        (Stage("car", 0.04), Stage("edge", 0.04), Stage("cloud", 0.03)),
        (Crossing(("a", "b"), "u8", 20_000, 0.04), Crossing(("c",), "f32", 5_000, 0.0505)),
    )
    assert (plan.boundary, plan.codec, plan.boundary_bytes) == (("a", "b"), "u8", 20_000)
    assert (plan.head_s, plan.transfer_s, plan.edge_s) == pytest.approx((0.04, 0.0905, 0.07))
    values = plan.to_dict()
    assert [stage["site"] for stage in values["stages"]] == ["car", "edge", "cloud"]
    assert values["crossings"][1]["sent_bytes"] == 5_000
    alone = Plan(2)
    assert (alone.boundary, alone.codec, alone.boundary_bytes) == ((), "none", 0)
    assert (alone.transfer_s, alone.edge_s, alone.device_only) == (0.0, 0.0, True)


def test_sites_and_hops_that_cannot_be_are_refused() -> None:
    for slowdown in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(LoadError, match="car_slowdown"):
            Site("car", slowdown)
    for rate_bps in (-1.0, math.nan, math.inf):
        with pytest.raises(LinkError, match="rate_bps"):
            Hop(rate_bps)
    with pytest.raises(PlanningError, match="2 hops cannot join 2 sites"):
        Situation(SITES[:2], HOPS, 1.0)
    with pytest.raises(PlanningError, match="share an id: car, car"):
        Situation((SITES[0], SITES[0]), HOPS[:1], 1.0)
    with pytest.raises(PlanningError, match="3 parts with 1 boundaries"):
        plan_cost((1, 1, 1), (1,), SITES, HOPS)


def test_what_is_not_built_yet_says_so() -> None:
    dag, car, edge, rate = chain_of_design()
    with pytest.raises(TableError, match="over one hop so far, there are 3 profiles"):
        _ = Problem(dag, (car, edge, edge), [0.9]).basis
    table = CandidateTable.build(dag, car, edge, exit_quality=[0.9])
    with pytest.raises(PlanningError, match="plans go over one hop, there are 2"):
        table.decide(Situation(SITES, HOPS, 1.0))
    assert table.decide(Situation(car_and_edge(), (Hop(rate),), 100.0)).latency_s > 0


def test_overheads_are_part_of_the_stages_by_hand() -> None:
    sites = (
        Site("car", 4.0, Overhead(0.002, 0.001, 1e-7)),
        Site("edge", 2.0, Overhead(0.003, 0.0005, 1e-8)),
        Site("cloud", 0.5, Overhead(0.001, 0.0, 1e-8)),
    )
    parts, sent = (0.010, 0.020, 0.060), (20_000, 5_000)
    cost = plan_cost(parts, sent, sites, HOPS)
    # The edge is crossed twice: 20,000 bytes come and 5,000 go.
    assert cost.stage_s == pytest.approx((0.045, 0.04425, 0.03105))
    assert cost.hop_s == pytest.approx((0.040, 0.0505))
    assert cost.period_s == pytest.approx(0.045)
    assert plan_cost(parts[:1], (), sites, HOPS).stage_s == pytest.approx((0.042,))
    column = np.array([parts[0], sent[0], parts[1], 1, sent[1], parts[2], 1])
    every_frame_s = sites[0].overhead.frame_s
    assert cost_weights(sites, HOPS) @ column + every_frame_s == pytest.approx(cost.latency_s)
    # A gate ends half of the frames before they cross: the means of bytes count that already.
    mean = plan_cost(parts[:2], (10_000,), sites, HOPS, sent_share=0.5)
    assert mean.stage_s == pytest.approx((0.0435, 0.04185))


@pytest.mark.parametrize("seconds", [-1e-9, math.nan, math.inf, 61.0])
def test_an_overhead_that_cannot_be_is_refused(seconds: float) -> None:
    for name in ("frame_s", "crossing_s", "s_per_byte"):
        with pytest.raises(ProfileError, match=f"overhead {name} is {seconds}; expected 0 to"):
            Overhead(**{name: seconds})
