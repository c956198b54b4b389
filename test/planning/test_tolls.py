"""What sharing with others adds to a plan: by the best shares, in the scan, and in its price."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest

from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.planning.cost import EnergyPrices
from dapdee_ros.planning.errors import PlanningError
from dapdee_ros.planning.from_card import problem_of, sample_profiles
from dapdee_ros.planning.objective import PERIOD, Objective
from dapdee_ros.planning.policy import Situation
from dapdee_ros.planning.sites import Hop, car_and_edge
from dapdee_ros.planning.table import CandidateTable
from dapdee_ros.planning.tolls import NO_TOLLS, NOBODY_ELSE, Others, Tolls

TOLLS = Tolls(Others(0.4, 0.5, 0.1, 1.0), Others(0.1, 0.3, 0.02), 5.0)


@pytest.fixture(scope="module")
def table() -> CandidateTable:
    card = read_card(find_model("roadsigns"))
    car, *_, edge = sample_profiles(card.model_id)
    return problem_of(card, car, edge, ["f32", "u8"]).table


def others(load: float, pull: float) -> Others:
    """Cars of one kind that together keep a server so busy."""
    return Others(load, pull, load * pull)


def waited(load: float, seconds: float) -> float:
    """Mean wait before a server with frames of one length that come at random, in s."""
    return load * seconds / (2 * (1 - load))


@pytest.mark.parametrize("load", [0.1, 0.5, 0.9])
def test_many_like_cars_wait_as_queueing_theory_has_it(load: float) -> None:
    cars, seconds = 400, 0.03
    each = Others(load, cars * math.sqrt(seconds), load * math.sqrt(seconds))
    shared = Tolls(each, rate_hz=load / cars / seconds).on(1.0, seconds, seconds, 0.0)
    assert shared.waiting_s == pytest.approx(waited(load, seconds))
    # What all lose by one more car, from the sum of what all wait.
    more = load * (1 + 1 / cars)
    lost_s = (cars + 1) * waited(more, seconds) - cars * waited(load, seconds)
    assert shared.toll_s == pytest.approx(lost_s, rel=0.02)


def test_a_toll_is_what_all_together_pay_more() -> None:
    rng = random.Random(1)
    for _ in range(50):
        cars = [(rng.uniform(0, 0.2), rng.uniform(0.05, 0.6)) for _ in range(rng.randint(1, 4))]
        sums = Others(*(sum(c) for c in zip(*((a, x, a * x) for a, x in cars), strict=True)))
        worth, seconds, rate_hz = rng.uniform(0.2, 2), rng.uniform(0.01, 0.1), rng.uniform(0.1, 2)
        shared = Tolls(sums, rate_hz=rate_hz).on(worth, seconds, seconds, 0.0)
        x, load = math.sqrt(worth * seconds), rate_hz * seconds

        def paid(known: list[tuple[float, float]]) -> float:
            """P: what waiting costs, per root of a second."""
            return sum(a * x for a, x in known) / (2 * (1 - sum(a for a, _ in known)))

        lost = sum(y for _, y in cars) * (paid([*cars, (load, x)]) - paid(cars))
        assert shared.toll_s == pytest.approx(x * paid(cars) + lost)
        assert (shared.edge_pull, shared.edge_load) == pytest.approx((x, load))
        assert worth * shared.waiting_s == pytest.approx(x * paid(cars))


def test_waiting_on_the_air_is_in_the_measured_rate_and_only_what_others_lose_is_added() -> None:
    sums, worth, alone_s = others(0.4, 0.5), 1.0, 0.02
    y = math.sqrt(worth * alone_s)
    measured_s = alone_s + y * sums.wait / worth
    tolls = Tolls(air=sums, rate_hz=2.0)
    shared = tolls.on(worth, 0.0, 0.0, measured_s)
    assert (shared.air_pull, shared.air_load) == pytest.approx((y, 2.0 * alone_s))
    assert shared.toll_s == pytest.approx(sums.lose(y, 2.0 * alone_s)) and shared.toll_s > 0
    assert shared.waiting_s == 0


def test_the_fuller_a_server_the_more_a_frame_costs_there_even_beyond_what_there_is() -> None:
    tolls = [
        Tolls(others(load, 0.5), rate_hz=1.0).on(1.0, 0.02, 0.02, 0.0).toll_s
        for load in np.linspace(0.0, 3.0, 61)
    ]
    assert tolls[0] == 0.5 * 0.02 * math.sqrt(0.02) / (2 * 0.98)
    assert (np.diff(tolls) > 0).all()
    assert tolls[19] > 10 * tolls[10]


def test_nobody_waits_for_more_than_a_frame_of_each_nor_loses_more_than_who_makes_room() -> None:
    full = Others(2.0, 0.6, 0.5, least=0.3)
    assert full.wait == 0.6
    assert full.lose(0.2, 0.1) == pytest.approx(0.1 * 0.3)
    each = full.lose_each(np.array([0.0, 0.2, 0.3]), np.array([0.0, 0.1, 0.001]))
    assert each == pytest.approx([0.0, 0.03, 0.0003])
    # Where there is room, what they lose by waiting counts.
    idle = Others(0.1, 0.2, 0.02, least=0.3)
    assert 0 < idle.lose(0.2, 0.1) < 0.03


@pytest.mark.parametrize(
    "objective",
    [Objective(latency=1.0), PERIOD, Objective(1.0, 2.0), Objective(1.0, energy_s_per_j=0.05)],
)
def test_the_scan_finds_the_lowest_objective_with_its_toll(
    table: CandidateTable, objective: Objective
) -> None:
    differ = 0
    for edge, air in (
        (others(0.1, 0.2), NOBODY_ELSE), (others(0.6, 1.0), others(0.02, 0.1)),
        (NOBODY_ELSE, others(0.8, 2.0)), (others(1.4, 3.0), others(0.5, 1.0)),
    ):  # fmt: skip
        situation = Situation(
            car_and_edge(3.0, edge_slowdown=3.0), (Hop(2e7, 0.01),), deadline_s=10.0,
            mode=objective, energy=EnergyPrices(5.0, 2e-7, 2.0), quality_tolerance=1.0,
            tolls=Tolls(edge, air, 5.0), gates=False,
        )  # fmt: skip
        found = table.decide(situation)
        every = [table.plan_at(row, situation) for row in range(len(table))]
        best = min(plan.objective_s for plan in every if plan.gate is None)
        assert found.objective_s == pytest.approx(best, rel=1e-9)
        assert (found.toll_s > 0) == bool(found.boundary)
        differ += found.key != table.decide(replace(situation, tolls=NO_TOLLS)).key
    assert differ


def test_a_plan_is_priced_with_its_toll_in_the_table_or_out_of_it(table: CandidateTable) -> None:
    situation = Situation(car_and_edge(5.0), (Hop(2e7, 0.01),), deadline_s=0.5, tolls=TOLLS)
    plan = table.decide(situation)
    assert plan.boundary
    exit_number, boundary, codec, gate, threshold = plan.key
    again = table.price(
        exit_number, boundary, codec, situation, gate=gate, gate_threshold=threshold
    )
    assert (again.toll_s, again.waiting_s) == (plan.toll_s, plan.waiting_s)
    assert (
        again.objective_s
        == plan.objective_s
        > plan.objective.of(plan.expected_latency_s, plan.period_s, plan.energy_j)
    )
    alone = table.price(
        exit_number, boundary, codec, replace(situation, tolls=NO_TOLLS), gate=gate,
        gate_threshold=threshold,
    )  # fmt: skip
    assert alone.toll_s == alone.waiting_s == 0
    assert (alone.latency_s, alone.stages) == (plan.latency_s, plan.stages)


def test_what_waits_too_long_for_others_is_late(table: CandidateTable) -> None:
    hop = Hop(1e9, 0.001)
    free = Situation(car_and_edge(20.0), (hop,), deadline_s=0.1)
    assert table.decide(free).boundary
    crowded = replace(free, tolls=Tolls(others(0.9, 50.0), rate_hz=5.0))
    plan = table.decide(crowded)
    assert plan.key != table.decide(free).key
    sent = table.decide(free)
    priced = table.price(
        sent.exit_number, sent.boundary, sent.codec, crowded, gate=sent.gate,
        gate_threshold=sent.gate_threshold,
    )  # fmt: skip
    assert priced.late and priced.latency_s < 0.1


@pytest.mark.parametrize(
    "sums",
    [
        (math.nan, 0.1, 0.0), (0.1, math.nan, 0.0), (0.1, 0.1, math.nan), (-0.1, 0.1, 0.0),
        (0.1, -0.1, 0.0), (0.1, 0.1, -0.01), (math.inf, 0.1, 0.0), (0.1, 2e3, 0.0),
        (0.1, 0.1, 0.02), (0.1, 0.1, 0.01, math.nan), (0.1, 0.1, 0.01, -1.0),
    ],
)  # fmt: skip
def test_sums_that_make_no_sense_are_refused(sums: tuple[float, ...]) -> None:
    with pytest.raises(PlanningError, match="expected"):
        Others(*sums)
