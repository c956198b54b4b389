"""Cars that each choose at a fleet node's prices: against everybody for itself, and the planner."""

from __future__ import annotations

from dataclasses import replace

import pytest
from simulation.fleet.test_fleet_run import CARS, fleet

from dapdee_ros.simulation.fleet.results import FleetRun
from dapdee_ros.simulation.fleet.scenario import ServerGroup


def scarce(policy: str, cars: int, slowdown: float, **changes: float) -> FleetRun:
    """Cars of unequal speed at one server, looked at every second."""
    group = replace(
        CARS, count=cars, slowdown=(0.5, 3.0), uplink_bps=(3e7, 3e7), deadline_s=0.5, jitter=0.3
    )
    server = ServerGroup(count=1, slowdown=(slowdown, slowdown), rtt_s=(0.01, 0.01))
    return fleet(policy, group, servers=(server,), replan_s=1.0, **changes)


def test_where_there_is_enough_cars_do_as_if_alone() -> None:
    alone, posted = (scarce(policy, 4, 2.0) for policy in ("each-for-itself", "posted-price"))
    for one, other in zip(posted.cars, alone.cars, strict=True):
        assert (one.edge, one.median_s) == (other.edge, pytest.approx(other.median_s))


@pytest.mark.parametrize(("cars", "slowdown"), [(16, 2.0), (8, 4.0)])
def test_where_there_is_too_little_all_cars_are_better_off(cars: int, slowdown: float) -> None:
    alone, posted, planned = (
        scarce(policy, cars, slowdown, seconds=30.0)
        for policy in ("each-for-itself", "posted-price", "price")
    )
    assert posted.totals["mean_s"] < 0.5 * alone.totals["mean_s"]
    assert posted.totals["mean_s"] < 1.25 * planned.totals["mean_s"]
    assert posted.totals["in_time_share"] > 0.98
    for one, other in zip(posted.cars, alone.cars, strict=True):
        assert one.median_s < 1.05 * other.median_s
    # Plans settle.
    late = [r.assignments for r in posted.rounds if r.at_s > 15]
    assert all(assignments == late[0] for assignments in late)


def test_prices_follow_a_server_that_fails_and_returns() -> None:
    server = ServerGroup(count=1, slowdown=(4.0, 4.0), rtt_s=(0.01, 0.01), down_s=((10.0, 15.0),))
    group = replace(CARS, count=8, slowdown=(0.5, 3.0), jitter=0.3, deadline_s=0.5)
    run = fleet("posted-price", group, servers=(server,), replan_s=1.0, seconds=30.0)
    used = {round(r.at_s): sum(a.server == 0 for a in r.assignments.values()) for r in run.rounds}
    assert used[13] == 0 < used[25] < 8
    assert run.totals["answered"] >= 0.99 * run.totals["accepted"]
