"""Where the cuts are too many to list: hard conditions hold, and ``late`` is honest."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace

import numpy as np
import pytest
from planning.random_networks import random_dag, random_profile
from planning.test_conditions import breaks

from dapdee_ros.graph.cuts import TooManyCuts
from dapdee_ros.graph.dag import ModelDag, Node
from dapdee_ros.planning.codec_cost import AsIs, GateOption, MeasuredCodec, TensorCost
from dapdee_ros.planning.cut_pool import CutPool
from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.policy import Problem, Situation, ask, make_policy
from dapdee_ros.planning.sites import Hop, car_and_edge


def problems(rng: random.Random) -> tuple[Problem, Problem]:
    """A random problem whose cuts are too many to list, and the same where they are not."""
    dag = random_dag(rng, most_nodes=10)
    exits = range(1, len(dag.exits) + 1)
    some = {n.name: TensorCost(n.output_bytes / 4, 1e-3, 2e-3) for n in dag.nodes[:4]}
    losses: dict[tuple[int, tuple[str, ...]], float] = {
        (n, (name,)): 0.02 for name in some for n in exits
    }
    listed = Problem(
        dag,
        (random_profile(rng, dag, "car", 0.1), random_profile(rng, dag, "edge", 0.03)),
        [0.7 + 0.1 * i for i in range(len(dag.exits))],
        (AsIs(), MeasuredCodec("some", some, losses)),
        [GateOption(k, n, 0.9, 0.6, 0.69 + 0.1 * (n - 1)) for n in exits for k in range(1, n)],
    )
    return replace(listed, most_cuts=0), listed


def situations(rng: random.Random, quality: float, mode: str) -> list[Situation]:
    """Every hard condition on and off."""
    link = Hop(10 ** rng.uniform(5, 8), rng.uniform(0, 0.03))
    window = rng.choice([4, math.inf])
    sites = car_and_edge(10 ** rng.uniform(-0.2, 1), 10 ** rng.uniform(-0.2, 1))
    return [
        Situation(
            sites, (link,), 10 ** rng.uniform(-2, 0.5), mode, quality_floor=floor,
            quality_tolerance=tolerance, keep_raw_on_car=raw, gates=gates, window=window,
        )
        for floor, tolerance, raw, gates in itertools.product(
            (0.0, quality), (0.0, 0.03), (False, True), (False, True)
        )
    ]  # fmt: skip


def test_the_lowest_latency_is_found_under_every_hard_condition() -> None:
    rng = random.Random(71)
    sent = 0
    for _ in range(9):
        blind, listed = problems(rng)
        with pytest.raises(TooManyCuts):
            _ = blind.table
        exact = make_policy("exact", blind)
        for situation in situations(rng, listed.exit_quality[-1], "latency"):
            found, best = ask(exact, situation, blind), listed.table.decide(situation)
            assert not breaks(found, situation, listed)
            assert found.late == best.late
            assert found.objective_s == pytest.approx(best.objective_s)
            assert found.quality == pytest.approx(best.quality)
            assert "minimum cuts" in found.reason
            sent += situation.keep_raw_on_car and bool(found.boundary)
    assert sent > 3


@pytest.mark.parametrize("wish", ["throughput", "risk", "period", "oracle"])
def test_what_cannot_be_exact_breaks_nothing_and_is_never_wrongly_in_time(wish: str) -> None:
    rng = random.Random(72)
    equal = count = 0
    for _ in range(3):
        blind, listed = problems(rng)
        pool = CutPool(blind)
        name = "oracle" if wish == "oracle" else "exact"
        policy, other = make_policy(name, blind), make_policy(name, listed)
        mode = "throughput" if wish == "throughput" else "latency"
        for situation in situations(rng, listed.exit_quality[-1], mode)[::3]:
            if wish == "risk":
                link = replace(situation.link, relative_spread=0.5)
                situation = replace(situation, risk=0.1, hops=(link,))
            elif wish == "period":
                situation = replace(situation, most_period_s=10 ** rng.uniform(-2, 0))
            elif wish == "oracle":
                rate = situation.link.rate_bps

                def truth(head_s: np.ndarray, sent: np.ndarray, rate: float = rate) -> np.ndarray:
                    return 0.01 + 8 * sent / rate

                situation = replace(situation, true_transfer_s=truth, hops=(Hop(1.0, 0.01),))
            assert pool.table(situation).exact_up_to == 0.0
            found, best = ask(policy, situation, blind), ask(other, situation, listed)
            assert not breaks(found, situation, listed)
            assert found.late or found.latency_s <= situation.deadline_s * (1 + 1e-9)
            assert (
                found.late or found.period_s <= situation.most_period_s * (1 + 1e-9) or found.gate
            )
            assert found.late or not best.late
            if found.late == best.late and not found.late and found.quality == best.quality:
                assert found.objective_s >= best.objective_s * (1 - 1e-9)
            count += 1
            equal += same(found, best)
    assert equal > 0.85 * count


def same(found: Plan, best: Plan) -> bool:
    return found.late == best.late and found.objective_s == pytest.approx(best.objective_s)


def parallel_branches(count: int = 16) -> ModelDag:
    """An image that many branches read, each of them shrinking it."""
    branches = [f"b{i}" for i in range(count)]
    nodes = [Node("image", "input", (), (1, 64, 64, 3), "uint8", 12_288, 0)]
    nodes += [Node(b, "conv2d", ("image",), (1, 4, 8, 8), "float32", 1024, 1) for b in branches]
    nodes += [Node("sum", "add", tuple(branches), (1, 10), "float32", 40, 1)]
    return ModelDag(tuple(nodes), (("sum",),))


@pytest.mark.parametrize("name", ["exact", "oracle"])
@pytest.mark.parametrize("mode", ["latency", "throughput"])
def test_the_image_of_sixteen_shrinking_branches_stays_on_the_car(name: str, mode: str) -> None:
    dag = parallel_branches()
    rng = random.Random(2)
    car, edge = random_profile(rng, dag, "car", 0.05), random_profile(rng, dag, "edge", 0.001)
    problem = Problem(dag, (car, edge), [0.9])
    with pytest.raises(TooManyCuts):
        _ = problem.table
    free = Situation(car_and_edge(), (Hop(1e7),), 10.0, mode)
    policy = make_policy(name, problem)
    assert ask(policy, free, problem).boundary == ("image",)
    kept = ask(policy, replace(free, keep_raw_on_car=True), problem)
    assert "image" not in kept.boundary
    assert kept.boundary or kept.device_only
    # Only what the branches make of it may be sent: all of them have to run on the car.
    assert kept.latency_s >= sum(car.node_seconds[f"b{i}"] for i in range(16))
    floor = replace(free, quality_floor=0.95)
    with pytest.raises(Exception, match=r"quality of 0\.95"):
        ask(policy, floor, problem)


def test_the_pool_does_not_grow_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dapdee_ros.planning.cut_pool._MOST_HEADS", 20)
    rng = random.Random(73)
    blind, listed = problems(rng)
    exact = make_policy("exact", blind)
    for _ in range(15):
        situation = situations(rng, 0.7, "latency")[0]
        found, best = ask(exact, situation, blind), listed.table.decide(situation)
        assert found.objective_s == pytest.approx(best.objective_s)
