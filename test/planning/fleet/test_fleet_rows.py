"""From a car's candidate table to the rows of a joint choice."""

from __future__ import annotations

import random

import numpy as np
import pytest
from planning.fleet.random_fleets import random_fleet, random_rows

from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.planning.cost import EnergyPrices
from dapdee_ros.planning.errors import FleetError
from dapdee_ros.planning.fleet.exact import lowest_sum
from dapdee_ros.planning.fleet.fleet import Fleet, FleetCar
from dapdee_ros.planning.fleet.rows import NOBODY, Rows, rows_of
from dapdee_ros.planning.from_card import problem_of, sample_profiles
from dapdee_ros.planning.objective import PERIOD, Objective
from dapdee_ros.planning.overhead import Overhead
from dapdee_ros.planning.policy import Problem, Situation
from dapdee_ros.planning.sites import Hop, Site


@pytest.fixture(scope="module")
def problem() -> Problem:
    card = read_card(find_model("roadsigns"))
    car, *_, edge = sample_profiles(card.model_id)
    return problem_of(card, car, edge, ["f32", "u8", "u4"])


def situations() -> list[Situation]:
    rng = random.Random(5)
    found = []
    for _ in range(60):
        sites = (
            Site("car", 10 ** rng.uniform(0, 0.7), Overhead(0.001, 0.0005, 1e-8)),
            Site("edge", 10 ** rng.uniform(0, 1.5), Overhead(0.0005, 0.001, 2e-8)),
        )
        energy = EnergyPrices(rng.uniform(1, 8), 10 ** rng.uniform(-8, -6), rng.uniform(0, 2))
        objective = Objective(1.0, 0.0, rng.choice((0.0, rng.uniform(0.01, 0.3))))
        hop = Hop(10 ** rng.uniform(5.3, 7.5), rng.uniform(0, 0.03))
        found.append(
            Situation(
                sites, (hop,), rng.uniform(0.03, 0.3), objective, energy=energy,
                gates=rng.random() < 0.5, quality_tolerance=0.005,
            )
        )  # fmt: skip
    return found


def test_a_fleet_of_one_car_decides_as_the_car_alone(problem: Problem) -> None:
    kinds = set()
    for situation in situations():
        alone = problem.table.decide(situation)
        if alone.late:
            continue
        rows = rows_of(problem.table, situation)
        fleet = Fleet((FleetCar("a", rows, situation.deadline_s),))
        found = lowest_sum(fleet)
        plan = problem.table.plan_at(int(fleet.rows.number[found.rows[0]]), situation)
        assert plan.objective_s == pytest.approx(alone.objective_s, rel=1e-9)
        assert found.total_cost == pytest.approx(alone.objective_s, rel=1e-9)
        assert found.latency_s[0] == pytest.approx(plan.latency_s, rel=1e-9)
        kinds.add((bool(plan.boundary), plan.gate is not None))
    assert len(kinds) >= 3, kinds


def test_shares_divide_the_seconds_of_edge_server_and_air(problem: Problem) -> None:
    compared = 0
    for situation in situations()[:20]:
        rows = rows_of(problem.table, situation, reduce=False)
        halved = rows_of(
            problem.table,
            Situation(
                (situation.sites[0], Site("edge", 2 * situation.sites[1].slowdown)),
                (Hop(situation.link.rate_bps / 2, situation.link.rtt_s),),
                situation.deadline_s,
                situation.mode,
                energy=situation.energy,
                gates=situation.gates,
                quality_tolerance=1.0,
            ),
            reduce=False,
        )
        for number, air_s in zip(rows.number, rows.air_s, strict=True):
            at = np.flatnonzero(halved.number == number)
            # Which exits can be in time may have changed, but not what they send.
            assert halved.air_s[at] == pytest.approx(np.full(len(at), 2 * air_s))
            compared += len(at)
    assert compared > 1000


def test_a_link_that_is_not_shared_is_part_of_what_is_fixed(problem: Problem) -> None:
    situation = situations()[0]
    shared = rows_of(problem.table, situation, reduce=False)
    own = rows_of(problem.table, situation, cell=NOBODY, reduce=False)
    assert own.fixed_s == pytest.approx(shared.fixed_s + shared.air_s)
    assert own.base == pytest.approx(shared.base + shared.factor * shared.air_s)
    assert not own.air_s.any()


def test_quality_can_be_given_a_price(problem: Problem) -> None:
    situation = situations()[0]
    cheap = rows_of(problem.table, situation, quality_weight_s=0.0, reduce=False)
    dear = rows_of(problem.table, situation, quality_weight_s=10.0, reduce=False)
    lost = 1 - problem.table.candidates.quality[cheap.number]
    assert dear.base == pytest.approx(cheap.base + 10 * lost)
    assert len(cheap) > len(rows_of(problem.table, situation, reduce=False))


def test_a_period_is_no_sum(problem: Problem) -> None:
    situation = Situation((Site("car"), Site("edge")), (Hop(1e7),), 1.0, PERIOD)
    with pytest.raises(FleetError, match="period"):
        rows_of(problem.table, situation)


def test_what_is_left_out_is_never_needed() -> None:
    for seed in range(40):
        fleet = random_fleet(seed, 3, per_server=6, deadline_s=0.4)
        reduced = Fleet(
            tuple(
                FleetCar(c.name, c.rows.undominated, c.deadline_s, c.most_stage_s, c.nearest)
                for c in fleet.cars
            ),
            fleet.servers,
        )
        assert len(reduced.rows) < len(fleet.rows)
        found, best = lowest_sum(reduced), lowest_sum(fleet)
        assert found.late == best.late
        assert found.total_cost == pytest.approx(best.total_cost, rel=1e-8)


def test_rows_know_their_numbers_after_a_reduction() -> None:
    rows = random_rows(random.Random(1), 2, 20)
    kept = rows.undominated
    assert isinstance(kept, Rows)
    for i, number in enumerate(kept.number):
        assert kept.base[i] == rows.base[number]
