from __future__ import annotations

import random

import pytest
from planning.random_networks import chain_of_design, random_dag, random_profile

from dapdee_ros.graph.dag import ModelDag, Node
from dapdee_ros.planning.codec_cost import AsIs, CodecCost, MeasuredCodec, TensorCost
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.heavy_search import heavy_search
from dapdee_ros.planning.min_cut import CutCosts, fastest_split, minimum_cut, split_of
from dapdee_ros.planning.sites import Hop, car_and_edge
from dapdee_ros.planning.situation import Situation
from dapdee_ros.planning.table import CandidateTable


def chain_costs() -> CutCosts:
    dag, car, edge, rate = chain_of_design()
    return CutCosts.of(dag, 1, car, edge, AsIs(), Situation(car_and_edge(), (Hop(rate),), 1.0))


def test_the_corrected_cut_of_the_design_chain_takes_10_4_seconds() -> None:
    dag = chain_of_design()[0]
    split = fastest_split(dag, 1, chain_costs())
    assert split.latency_s == pytest.approx(10.4)
    assert split.boundary == ("y",)


def test_without_the_way_back_a_server_node_feeds_a_car_node() -> None:
    dag = chain_of_design()[0]
    car_side = minimum_cut(dag, chain_costs(), one_way=False)
    assert car_side == {"in", "y"}, "x on the server and y on the car: 1.5 s that nothing can run"


def test_without_the_pinned_input_the_upload_is_free() -> None:
    dag, car, edge, _ = chain_of_design()
    expensive = CutCosts.of(dag, 1, car, edge, AsIs(), Situation(car_and_edge(), (Hop(8.0),), 1.0))
    assert minimum_cut(dag, expensive, pin_input=False) == frozenset()
    assert minimum_cut(dag, expensive) == {"in", "x", "y", "z"}


def test_exact_equals_the_minimum_cut_on_random_networks() -> None:
    rng = random.Random(8)
    partly_sent = outputs_sent = 0
    for _ in range(400):
        dag = random_dag(rng)
        car, edge = random_profile(rng, dag, "car", 0.1), random_profile(rng, dag, "edge", 0.03)
        some = {
            node.name: TensorCost(node.output_bytes / 3, 1e-3, 2e-3)
            for node in dag.nodes
            if rng.random() < 0.8
        }
        codecs: list[CodecCost] = [AsIs(), MeasuredCodec("some", some, default_loss=0.0)]
        codec = rng.choice(codecs)
        link = Hop(10 ** rng.uniform(5.5, 8), rng.uniform(0, 0.03))
        sites = car_and_edge(rng.uniform(0.5, 2), rng.uniform(0.5, 4))
        only = len(dag.exits)
        table = CandidateTable.build(
            dag, car, edge, exit_quality=[0.1] * (only - 1) + [0.9], codecs=[codec]
        )
        plan = table.decide(Situation(sites, (link,), 1e6, "latency"))
        assert plan.exit_number == only
        split = fastest_split(
            dag, only, CutCosts.of(dag, only, car, edge, codec, Situation(sites, (link,), 1.0))
        )
        assert split.latency_s == pytest.approx(plan.latency_s, abs=1e-9)
        partly_sent += plan.boundary not in ((), (dag.input,))
        outputs_sent += not {*plan.boundary}.isdisjoint(dag.exit_outputs(only))
    assert partly_sent > 30
    assert outputs_sent > 3


def test_the_heavy_search_is_never_better_than_exact() -> None:
    rng = random.Random(9)
    equal = 0
    for _ in range(12):
        dag = random_dag(rng, most_nodes=9)
        car, edge = random_profile(rng, dag, "car", 0.1), random_profile(rng, dag, "edge", 0.03)
        link, sites = Hop(10 ** rng.uniform(5, 7)), car_and_edge(2.0, 1.0)
        only = len(dag.exits)
        costs = CutCosts.of(dag, only, car, edge, AsIs(), Situation(sites, (link,), 1.0))
        found = heavy_search(dag, only, costs, max_cuts=200)
        table = CandidateTable.build(dag, car, edge, exit_quality=[0.1] * (only - 1) + [0.9])
        best = table.decide(Situation(sites, (link,), 1e6, "throughput"))
        assert found.split.period_s >= best.period_s * (1 - 1e-9)
        equal += found.split.period_s == pytest.approx(best.period_s)
        assert found.cuts <= 200
        assert split_of(dag, only, found.split.head, costs) == found.split
    assert equal > 2


def test_the_cap_is_reported() -> None:
    dag = chain_of_design()[0]
    assert heavy_search(dag, 1, chain_costs(), max_cuts=50).capped
    free = heavy_search(dag, 1, chain_costs(), max_cuts=100_000, step=20.0, refine=2)
    assert not free.capped
    # x on the car and the rest on the server: 10 s of car against 5 s of link and 10.1 s of server.
    assert free.split.period_s == pytest.approx(10.1)


def test_no_grid_finds_the_period_that_lies_off_the_hull() -> None:
    """Scaled sums reach only cuts that some scaling makes the cheapest."""
    names, sizes = ("in", "x", "y"), (10, 6, 4)
    nodes = tuple(
        Node(name, "conv2d", names[i - 1 : i] if i else (), (1,), "float32", size, 1)
        for i, (name, size) in enumerate(zip(names, sizes, strict=True))
    )
    dag = ModelDag(nodes, (("y",),))
    car = DeviceProfile("chain", "car", 1, {"in": 0.0, "x": 6.0, "y": 4.0}, "now")
    edge = DeviceProfile("chain", "edge", 1, dict.fromkeys(names, 0.0), "now")
    link = Hop(8.0)  # a byte a second
    costs = CutCosts.of(dag, 1, car, edge, AsIs(), Situation(car_and_edge(), (link,), 1.0))
    found = heavy_search(dag, 1, costs, step=0.05, max_cuts=100_000)
    assert not found.capped
    assert found.split.period_s == pytest.approx(10.0)
    table = CandidateTable.build(dag, car, edge, exit_quality=[0.9])
    best = table.decide(Situation(car_and_edge(), (link,), 1e6, "throughput"))
    assert (best.boundary, best.period_s) == (("x",), pytest.approx(6.0))


def test_an_unusable_link_leaves_the_car_alone() -> None:
    dag, car, edge, _ = chain_of_design()
    costs = CutCosts.of(dag, 1, car, edge, AsIs(), Situation(car_and_edge(), (Hop(0.0),), 1.0))
    assert fastest_split(dag, 1, costs).boundary == ()
    assert heavy_search(dag, 1, costs).split.boundary == ()
