from __future__ import annotations

import random
from itertools import pairwise

import pytest
from planning.random_networks import chain_of_design, random_dag, random_profile

from dapdee_ros.graph.dag import ModelDag
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.policy import Problem, Situation, make_policy
from dapdee_ros.planning.sites import Hop, car_and_edge
from dapdee_ros.planning.sweep import sweep


def test_a_faster_link_moves_the_cut_towards_more_bytes_and_less_work() -> None:
    """For one exit, whatever its graph: what docs/fidelity.md argues."""
    rng = random.Random(31)
    moves = 0
    for _ in range(60):
        whole = random_dag(rng)
        part = whole.exit_part(len(whole.exits))
        dag = ModelDag(tuple(n for n in whole.nodes if n.name in part), whole.exits[-1:])
        problem = Problem(
            dag,
            (random_profile(rng, dag, "car", 0.1), random_profile(rng, dag, "edge", 0.01)),
            [0.9],
        )
        situation = Situation(car_and_edge(), (Hop(1e6),), 100.0, "latency")
        swept = sweep(problem, make_policy("exact", problem), situation, "link", count=60)
        sent = [point.plan.boundary_bytes for point in swept.points]
        computed = [point.plan.head_s + point.plan.edge_s for point in swept.points]
        assert sent == sorted(sent)
        assert computed == sorted(computed, reverse=True)
        moves += len(swept.changes()) - 1
    assert moves > 60


def test_a_deeper_exit_can_move_the_cut_towards_the_car() -> None:
    """With a fixed deadline, a faster link makes the deeper exit possible, by a longer head."""
    chain = chain_of_design()[0]
    dag = ModelDag(chain.nodes, (("x",), ("z",)))  # x answers after 1 s, z after 10 s on the car
    car = DeviceProfile("two", "car", 1, {"in": 0.0, "x": 1.0, "y": 2.0, "z": 7.0}, "now")
    edge = DeviceProfile("two", "edge", 1, {"in": 0.0, "x": 0.1, "y": 0.2, "z": 0.7}, "now")
    problem = Problem(dag, (car, edge), [0.7, 0.9])
    policy = make_policy("dapdee", problem)
    heads = []
    for bps in (400.0, 800.0, 8000.0):
        plan = policy.plan(Situation(car_and_edge(), (Hop(bps),), 6.0, "latency"))
        heads.append((plan.exit_number, plan.boundary, round(plan.head_s, 6)))
    assert heads == [(1, (), 1.0), (2, ("y",), 3.0), (2, ("in",), 0.0)]


@pytest.mark.parametrize("what", ["link", "deadline"])
def test_changes_are_where_the_plan_is_another(what: str) -> None:
    dag, car, edge, rate = chain_of_design()
    problem = Problem(dag, (car, edge), [0.9])
    situation = Situation(car_and_edge(), (Hop(rate),), 100.0, "latency")
    swept = sweep(problem, make_policy("exact", problem), situation, what, count=40)
    assert len(swept.points) == 40
    changes = swept.changes()
    assert changes[0] is swept.points[0]
    keys = [point.plan.key for point in swept.points]
    assert len(changes) == 1 + sum(a != b for a, b in pairwise(keys))
