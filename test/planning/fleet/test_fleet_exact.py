"""The exact joint choice against every combination of plans, with shares found numerically."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from planning.fleet.random_fleets import Numeric, every_choice, random_fleet, sum_by_formula

from dapdee_ros.planning.fleet.exact import lowest_sum, lowest_worst
from dapdee_ros.planning.fleet.fleet import Fleet, FleetCar, JointChoice
from dapdee_ros.planning.fleet.rows import NOBODY, Rows
from dapdee_ros.planning.fleet.shares import best_shares

CASES = 200


def check_shares(fleet: Fleet, choice: JointChoice) -> None:
    """Nothing is given away twice, and who is not late is in time."""
    r = fleet.rows
    for of, share in ((r.server, choice.edge_share), (r.cell, choice.air_share)):
        for one in set(of[choice.rows].tolist()) - {NOBODY}:
            assert share[of[choice.rows] == one].sum() <= 1 + 1e-8
    for car, latency_s in zip(fleet.cars, choice.latency_s, strict=True):
        if car.name not in choice.late:
            assert latency_s <= car.deadline_s * (1 + 1e-8)


def small_fleet(seed: int, **limits: Any) -> Fleet:
    """2 to 4 cars, 2 servers, 1 cell; up to a few hundred combinations."""
    cars = 2 + seed % 3
    return random_fleet(seed, cars, per_server=2 if cars == 4 else 3, **limits)


def test_the_lowest_sum_is_that_of_every_combination() -> None:
    for seed in range(CASES):
        fleet = small_fleet(seed)
        best = min(every_choice(fleet), key=lambda rows: sum_by_formula(fleet, rows))
        found = lowest_sum(fleet)
        check_shares(fleet, found)
        assert found.total_cost == pytest.approx(sum_by_formula(fleet, best), rel=1e-9), seed
        assert found.bound == pytest.approx(found.total_cost)
        if seed % 10 == 0:
            assert found.total_cost == pytest.approx(Numeric(fleet, best).solve(), rel=1e-6)


def overfull(fleet: Fleet, rows: Any, left_s: Any) -> bool:
    """Whether it takes two lines to see that the rows do not fit.

    One server or cell is too full even if the others took no time at all; or all are together,
    since by Cauchy and Schwarz (e / f + b / g) * (f + g) is (sqrt(e) + sqrt(b))^2 or more.
    """
    r = fleet.rows
    used = (r.edge_s[rows] > 0) | (r.air_s[rows] > 0)
    if (left_s[used] <= 0).any():
        return True
    at_least = (np.sqrt(r.edge_s[rows]) + np.sqrt(r.air_s[rows])) ** 2
    there = len(set(r.server[rows[r.edge_s[rows] > 0]])) + len(set(r.cell[rows[r.air_s[rows] > 0]]))
    if (at_least[used] / left_s[used]).sum() > there:
        return True
    with np.errstate(divide="ignore", invalid="ignore"):
        return any(
            np.where(used[rows] > 0, used[rows] / left_s, 0.0)[of[rows] == one].sum() > 1
            for used, of in ((r.edge_s, r.server), (r.air_s, r.cell))
            for one in set(of[rows].tolist()) - {NOBODY}
        )


def lowest_in_time(fleet: Fleet) -> float:
    """The lowest sum that keeps every deadline, by trying; infinity if there is none."""
    best = math.inf
    relaxed = sorted((sum_by_formula(fleet, rows), tuple(rows)) for rows in every_choice(fleet))
    for least, rows in relaxed:
        if least >= best * (1 - 1e-7):
            break
        picked = np.array(rows)
        if fleet.possible[picked].all() and not overfull(fleet, picked, fleet.slack_s[picked]):
            best = min(best, Numeric(fleet, picked).solve())
    return best


def test_the_lowest_sum_in_time_is_that_of_every_combination() -> None:
    late = bound = 0
    for seed in range(CASES):
        fleet = small_fleet(seed, deadline_s=0.2, stage_s=0.14 if seed % 2 else math.inf, busy=True)
        found = lowest_sum(fleet)
        check_shares(fleet, found)
        best = lowest_in_time(fleet)
        if math.isinf(best):
            assert found.late, seed
            late += 1
            continue
        assert not found.late, seed
        assert found.total_cost == pytest.approx(best, rel=1e-6), seed
        bound += found.total_cost > sum_by_formula(fleet, found.rows) * (1 + 1e-6)
    # The cases are about something: deadlines bind in many, and cannot be kept in some.
    assert late >= 10 and bound >= 40, (late, bound)


def anything_below(fleet: Fleet, highest: float) -> bool:
    """Whether some choice keeps every deadline and lets no car cost more than this, by trying."""
    r = fleet.rows
    for rows in every_choice(fleet):
        if not fleet.possible[rows].all() or (r.base[rows] > highest).any():
            continue
        left_s = np.minimum((highest - r.base[rows]) / r.factor[rows], fleet.slack_s[rows])
        if overfull(fleet, rows, left_s):
            continue
        numeric = Numeric(fleet, rows)
        numeric.slack = left_s
        if math.isfinite(numeric.solve()):
            return True
    return False


def test_the_lowest_highest_cost_is_that_of_every_combination() -> None:
    compared = 0
    for seed in range(CASES):
        fleet = small_fleet(seed, deadline_s=0.3 if seed % 2 else math.inf, busy=seed % 4 < 2)
        found = lowest_worst(fleet)
        check_shares(fleet, found)
        if found.late:
            continue
        assert not anything_below(fleet, found.worst_cost * (1 - 1e-6)), seed
        if seed % 5 == 0:
            best = Numeric(fleet, found.rows, highest=True).solve()
            assert found.worst_cost == pytest.approx(best, rel=1e-6), seed
        compared += 1
    assert compared >= CASES / 2


def test_shares_at_deadlines_are_those_of_the_interior_point_method() -> None:
    seen = 0
    for seed in range(300):
        fleet = random_fleet(seed, 3, deadline_s=0.3, stage_s=0.25)
        for rows in list(every_choice(fleet))[:: 37 + seed % 5]:
            if not fleet.possible[rows].all():
                continue
            found = best_shares(fleet, rows)
            best = Numeric(fleet, rows).solve()
            if found is None:
                assert math.isinf(best)
                continue
            assert found.total_cost == pytest.approx(best, rel=1e-6)
            seen += found.total_cost > sum_by_formula(fleet, rows) * (1 + 1e-6)
        if seen > 25:
            break
    assert seen > 25


# --- hostile fleets -------------------------------------------------------------------------------


def car(name: str, *rows: tuple[float, ...], deadline_s: float = math.inf) -> FleetCar:
    return FleetCar(name, Rows.of(*rows), deadline_s)


ALONE = (1.0, 1.0, 1.0, 0.0, 0.0, NOBODY, NOBODY)


def test_one_car_has_everything_to_itself() -> None:
    fleet = Fleet((car("a", ALONE, (0.1, 1.0, 0.1, 0.2, 0.3, 0, 0)),))
    for found in (lowest_sum(fleet), lowest_worst(fleet)):
        assert found.total_cost == pytest.approx(0.6)
        assert (found.edge_share[0], found.air_share[0]) == pytest.approx((1.0, 1.0))


def test_plans_that_take_no_seconds_of_server_or_cell_need_no_share() -> None:
    fleet = Fleet(
        (
            car("a", (0.1, 1.0, 0.1, 0.0, 0.3, 0, 0)),
            car("b", (0.1, 1.0, 0.1, 0.2, 0.0, 0, 0)),
            car("c", (0.2, 1.0, 0.2, 0.0, 0.0, 0, 0)),
        )
    )
    for found in (lowest_sum(fleet), lowest_worst(fleet)):
        assert found.edge_share.tolist() == pytest.approx([0, 1, 0])
        assert found.air_share.tolist() == pytest.approx([1, 0, 0])
        assert found.total_cost == pytest.approx(0.9)


@pytest.mark.parametrize("count", [6, 20])
def test_cars_that_are_alike_get_alike_costs_where_all_must_send(count: int) -> None:
    send = (0.1, 1.0, 0.1, 0.02, 0.03, 0, 0)
    fleet = Fleet(tuple(car(f"c{i}", send) for i in range(count)))
    for found in (lowest_sum(fleet), lowest_worst(fleet)):
        assert found.edge_share == pytest.approx(np.full(count, 1 / count))
        assert found.cost == pytest.approx(np.full(count, 0.1 + 0.05 * count))


def test_twenty_cars_that_are_alike_split_between_sending_and_not() -> None:
    fleet = Fleet(tuple(car(f"c{i}", ALONE, (0.1, 1, 0.1, 0.05, 0.04, 0, 0)) for i in range(20)))
    costs = [20 - n + 0.1 * n + (0.05 + 0.04) * n**2 for n in range(21)]
    found = lowest_sum(fleet)
    assert found.total_cost == pytest.approx(min(costs))
    # With a deadline that n senders just cannot keep, one fewer sends.
    tight = Fleet(
        tuple(
            car(f"c{i}", ALONE, (0.1, 1, 0.1, 0.05, 0.04, 0, 0), deadline_s=1.0 if i else 0.45)
            for i in range(20)
        )
    )
    assert not lowest_sum(tight).late


def test_ties_and_a_thousand_rows() -> None:
    rng = np.random.default_rng(1)
    many = [(*rng.uniform(0.05, 0.3, 1), 1.0, 0.1, *rng.uniform(0.001, 0.1, 2), 0, 0)
            for _ in range(1000)]  # fmt: skip
    fleet = Fleet(tuple(car(f"c{i}", ALONE, *many, *many[:50]) for i in range(4)))
    reduced = Fleet(tuple(FleetCar(c.name, c.rows.undominated) for c in fleet.cars))
    assert len(reduced.cars[0].rows) < 200
    whole = lowest_sum(fleet)
    assert whole.total_cost == pytest.approx(lowest_sum(reduced).total_cost, rel=1e-12)


def test_huge_ranges_of_numbers() -> None:
    fleet = Fleet(
        (
            car("tiny", (1e-9, 1.0, 1e-9, 1e-12, 1e-11, 0, 0), (2e-9, 1, 2e-9, 0, 0, -1, -1)),
            car("huge", (1e4, 1.0, 1e4, 1e5, 1e3, 0, 0), (1e6, 1, 1e6, 0, 0, -1, -1)),
            car("both", (1e-6, 1e-3, 1e-6, 1e4, 1e-9, 0, 0), ALONE),
        )
    )
    best = min(sum_by_formula(fleet, rows) for rows in every_choice(fleet))
    assert lowest_sum(fleet).total_cost == pytest.approx(best, rel=1e-9)
    assert math.isfinite(lowest_worst(fleet).worst_cost)


def test_who_cannot_be_in_time_is_named() -> None:
    send = (0.1, 1.0, 0.1, 0.1, 0.1, 0, 0)
    fleet = Fleet(
        (
            car("hopeless", send, ALONE, deadline_s=0.25),
            *(car(f"c{i}", send, deadline_s=0.75) for i in range(4)),
        )
    )
    # Each of the others needs 0.31 of server and cell for itself: three fit, the fourth does not.
    for found in (lowest_sum(fleet), lowest_worst(fleet)):
        check_shares(fleet, found)
        assert "hopeless" in found.late
        assert len(found.late) == 2
        assert np.isfinite(found.cost).all()
