from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from planning.random_networks import chain_of_design, random_dag, random_profile

from dapdee_ros.graph.cuts import cuts
from dapdee_ros.graph.dag import ModelDag, Node
from dapdee_ros.planning.codec_cost import AsIs, CodecCost, MeasuredCodec, TensorCost
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.errors import (
    DeadlineError,
    LinkError,
    LoadError,
    NoPlanError,
    PlanningError,
    ProfileError,
    TableError,
)
from dapdee_ros.planning.objective import LATENCY, PERIOD
from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.sites import Hop, Site, car_and_edge
from dapdee_ros.planning.situation import Situation
from dapdee_ros.planning.table import CandidateTable
from dapdee_ros.planning.table_file import load_table, save_table


def test_contraction_keeps_the_cuts_that_send_no_image() -> None:
    """A first layer of fewer values than the image and as many bytes is the cheapest to send."""
    nodes = (
        Node("image", "input", (), (1, 64, 64, 3), "uint8", 12_288, 0),
        Node("stem", "conv2d", ("image",), (1, 12, 16, 16), "float32", 12_288, 1),
        Node("body", "conv2d", ("stem",), (1, 10), "float32", 40, 1),
    )
    dag = ModelDag(nodes, (("body",),))
    assert dag.image_forms == {"image"}
    car = DeviceProfile("m", "car", 1, {"image": 0.0, "stem": 0.008, "body": 0.5}, "now")
    edge = DeviceProfile("m", "edge", 1, {"image": 0.0, "stem": 0.001, "body": 0.035}, "now")
    link = Hop(9.8304e6)
    for contract_above in (50_000, 0):
        table = CandidateTable.build(
            dag, car, edge, exit_quality=[0.9], contract_above=contract_above
        )
        kept = table.decide(
            Situation(car_and_edge(), (link,), 1.0, "latency", keep_raw_on_car=True)
        )
        # Merged into the body, the stem could not be sent: all on the car, 0.508 s.
        assert (kept.boundary, kept.latency_s) == (("stem",), pytest.approx(0.053))


@pytest.mark.parametrize("keep_raw_on_car", [False, True])
def test_contraction_loses_no_lowest_latency_up_to_its_bound(keep_raw_on_car: bool) -> None:
    rng = random.Random(81)
    contracted = kept = 0
    for _ in range(250):
        dag = of_mixed_types(rng, random_dag(rng, most_nodes=10))
        car, edge = random_profile(rng, dag, "car", 0.1), random_profile(rng, dag, "edge", 0.03)
        quality = [0.9] * len(dag.exits)
        every = CandidateTable.build(dag, car, edge, exit_quality=quality)
        fewer = CandidateTable.build(dag, car, edge, exit_quality=quality, contract_above=0)
        # What counts as the image is the same in both.
        assert fewer.dag.image_forms == dag.image_forms & set(fewer.dag.by_name)
        contracted += len(fewer.dag.nodes) < len(dag.nodes)
        link, sites = Hop(10 ** rng.uniform(5, 8)), car_and_edge(10 ** rng.uniform(-0.3, 0.7))
        if sites[1].slowdown / sites[0].slowdown > fewer.exact_up_to:
            continue
        best, found = (
            t.decide(Situation(sites, (link,), 1e6, "latency", keep_raw_on_car=keep_raw_on_car))
            for t in (every, fewer)
        )
        assert found.latency_s == pytest.approx(best.latency_s)
        assert not (keep_raw_on_car and dag.image_forms & set(found.boundary))
        kept += bool(found.boundary)
    assert contracted > 60
    assert kept > 20


def of_mixed_types(rng: random.Random, dag: ModelDag) -> ModelDag:
    """The same network with an input, and some tensors, of a byte a value."""
    few = {dag.input, *(n.name for n in dag.nodes if rng.random() < 0.15)}
    return ModelDag(
        tuple(
            replace(n, dtype="uint8", output_bytes=n.output_bytes // 4) if n.name in few else n
            for n in dag.nodes
        ),
        dag.exits,
    )


def test_design_chain_takes_10_4_seconds() -> None:
    dag, car, edge, rate = chain_of_design()
    table = CandidateTable.build(dag, car, edge, exit_quality=[0.9])
    plan = table.decide(Situation(car_and_edge(), (Hop(rate),), 100.0, "latency"))
    assert plan.latency_s == pytest.approx(10.4)
    assert plan.boundary == ("y",)


def subsets(names: list[str]) -> Iterator[frozenset[str]]:
    for size in range(len(names) + 1):
        yield from (frozenset(c) for c in itertools.combinations(names, size))


def brute_force(
    dag: ModelDag,
    car: DeviceProfile,
    edge: DeviceProfile,
    quality: list[float],
    link: Hop,
    sites: tuple[Site, ...],
    deadline_s: float,
    mode: str,
    tolerance: float,
    points: Sequence[Point] = (),
) -> tuple[bool, float, float]:
    """Late, quality and objective of the best plan, from the definitions alone."""
    options = []
    for number, outputs in enumerate(dag.exits):
        part = {*outputs}
        for node in reversed(dag.nodes):
            if node.name in part:
                part |= set(node.inputs)
        others = [n.name for n in dag.nodes[1:] if n.name in part]
        for chosen in subsets(others):
            head = chosen | {dag.nodes[0].name}
            if any(not set(dag.by_name[v].inputs) <= head for v in head):
                continue
            tail = part - head
            t_d = sites[0].slowdown * sum(car.node_seconds[v] for v in head)
            t_e = sites[1].slowdown * sum(edge.node_seconds[v] for v in tail)
            sent = {u for v in tail for u in dag.by_name[v].inputs} & head
            sent |= {*outputs} & head if tail else set()
            sizes = sum(dag.by_name[u].output_bytes for u in sent)
            ways = [(float(sizes), 0.0, 0.0, 0.0)]
            ways += [
                (of.coded_bytes, of.encode_s, of.decode_s, of.losses[number + 1])
                for of in points
                if tail and sent == {*of.boundary} and number + 1 in of.losses
            ]
            for coded_bytes, encode_s, decode_s, loss in ways:
                air = 8 * coded_bytes / link.rate_bps
                on_car = t_d + sites[0].slowdown * encode_s
                on_edge = t_e + sites[1].slowdown * decode_s
                latency = on_car + on_edge + (link.rtt_s + air if tail else 0.0)
                objective = latency if mode == "latency" else max(on_car, air, on_edge)
                options.append((latency, max(0.0, quality[number] - loss), objective))
    in_time = [o for o in options if o[0] <= deadline_s]
    if not in_time:
        fastest = min(o[0] for o in options)
        return True, max(o[1] for o in options if o[0] <= fastest * (1 + 1e-12)), fastest
    best = max(o[1] for o in in_time)
    level = [o for o in in_time if o[1] >= best - tolerance - 1e-12]
    lowest = min(o[2] for o in level)
    ties = [o for o in level if o[2] <= lowest * (1 + 1e-12)]
    quickest = min(o[0] for o in ties)
    return False, max(o[1] for o in ties if o[0] <= quickest * (1 + 1e-12)), lowest


class Point(NamedTuple):
    """A bottleneck's operating point: it codes exactly one boundary, as a whole."""

    boundary: tuple[str, ...]
    coded_bytes: float
    encode_s: float
    decode_s: float
    losses: dict[int, float]


def random_points(rng: random.Random, dag: ModelDag) -> list[Point]:
    """Points of a few bottlenecks, at boundaries of one tensor or several."""
    points = []
    for _ in range(3):
        number = rng.randint(1, len(dag.exits))
        part = [n.name for n in dag.nodes if n.name in dag.exit_part(number)]
        head = dag.ancestors([dag.input, *rng.sample(part, rng.randint(1, min(3, len(part))))])
        boundary = dag.boundary(head & {*part}, number)
        exits = [
            n
            for n in range(1, len(dag.exits) + 1)
            if boundary and dag.boundary(dag.ancestors(boundary), n) == boundary
        ]
        if not exits or boundary == (dag.input,):
            continue
        size = sum(dag.by_name[name].output_bytes for name in boundary)
        encode_s, decode_s = rng.uniform(0, 0.02), rng.uniform(0, 0.005)
        for share, loss in ((100, 0.03), (30, 0.01), (8, 0.0)):
            losses = dict.fromkeys(exits, loss)
            points.append(Point(boundary, size / share, encode_s, decode_s, losses))
    return points


def codec_of(number: int, point: Point) -> MeasuredCodec:
    """A point as the planner sees it: each tensor has its part of what the boundary costs."""
    count = len(point.boundary)
    part = TensorCost(point.coded_bytes / count, point.encode_s / count, point.decode_s / count)
    losses = {(n, point.boundary): loss for n, loss in point.losses.items()}
    return MeasuredCodec(f"b@{number}", dict.fromkeys(point.boundary, part), losses)


def test_decide_equals_brute_force_with_bottlenecks_among_the_codecs() -> None:
    rng = random.Random(18)
    chosen = several = 0
    for _ in range(250):
        dag = random_dag(rng)
        car, edge = random_profile(rng, dag, "car", 0.1), random_profile(rng, dag, "edge", 0.03)
        quality = [rng.choice((0.7, 0.8, 0.805, 0.9)) for _ in dag.exits]
        tolerance = rng.choice((0.0, 0.01))
        points = random_points(rng, dag)
        codecs: list[CodecCost] = [
            AsIs(),
            *(codec_of(n, point) for n, point in enumerate(points, start=1)),
        ]
        table = CandidateTable.build(dag, car, edge, exit_quality=quality, codecs=codecs)
        for _ in range(4):
            link, sites, deadline_s = random_situation(rng)
            for mode in ("latency", "throughput"):
                late, best, objective = brute_force(
                    dag, car, edge, quality, link, sites, deadline_s, mode, tolerance, points
                )
                plan = table.decide(
                    Situation(sites, (link,), deadline_s, mode, quality_tolerance=tolerance)
                )
                assert plan.late == late
                found = plan.latency_s if late else plan.objective_s
                assert found == pytest.approx(objective, rel=1e-9)
                assert plan.quality == pytest.approx(best)
                if plan.codec != "f32" and plan.boundary:
                    point = points[int(plan.codec.removeprefix("b@")) - 1]
                    assert plan.boundary == point.boundary
                    assert plan.boundary_bytes == pytest.approx(point.coded_bytes)
                    chosen += 1
                    several += len(point.boundary) > 1
    assert chosen > 200, chosen
    assert several > 20, several


def random_situation(rng: random.Random) -> tuple[Hop, tuple[Site, ...], float]:
    link = Hop(10 ** rng.uniform(4.5, 8), rng.choice((0.0, rng.uniform(0, 0.2))))
    sites = car_and_edge(10 ** rng.uniform(-0.2, 1), 10 ** rng.uniform(-0.2, 1))
    return link, sites, 10 ** rng.uniform(-2, 1)


def test_decide_equals_brute_force_on_500_random_networks() -> None:
    rng = random.Random(4)
    met = {False: 0, True: 0}
    for _ in range(500):
        dag = random_dag(rng)
        car, edge = random_profile(rng, dag, "car", 0.1), random_profile(rng, dag, "edge", 0.03)
        quality = [rng.choice((0.7, 0.8, 0.805, 0.9)) for _ in dag.exits]
        tolerance = rng.choice((0.0, 0.01))
        table = CandidateTable.build(dag, car, edge, exit_quality=quality)
        link, sites, deadline_s = random_situation(rng)
        for mode in ("latency", "throughput"):
            late, best, objective = brute_force(
                dag, car, edge, quality, link, sites, deadline_s, mode, tolerance
            )
            plan = table.decide(
                Situation(sites, (link,), deadline_s, mode, quality_tolerance=tolerance)
            )
            assert plan.late == late
            found = plan.latency_s if late else plan.objective_s
            assert found == pytest.approx(objective, rel=1e-9)
            assert plan.quality == pytest.approx(best)
            met[late] += 1
    assert min(met.values()) > 50, "both outcomes must be exercised"


def test_zero_bandwidth_and_no_connection_leave_only_the_car() -> None:
    dag, car, edge, _ = chain_of_design()
    table = CandidateTable.build(dag, car, edge, exit_quality=[0.9])
    for link in (Hop(0.0), Hop(1e12, connected=False)):
        plan = table.decide(Situation(car_and_edge(), (link,), 100.0, "throughput"))
        assert plan.device_only
        assert plan.latency_s == pytest.approx(20.1)
        assert "no link" in plan.reason


def test_keeping_the_raw_input_on_the_car(tmp_path: Path) -> None:
    dag, _, edge, _ = chain_of_design()
    slow = DeviceProfile("chain", "slow", 1, {"in": 0, "x": 50, "y": 50, "z": 50}, "now")
    table = CandidateTable.build(dag, slow, edge, exit_quality=[0.9])
    fast_link = Hop(1e9)
    assert table.decide(Situation(car_and_edge(), (fast_link,), 200, "latency")).boundary == ("in",)
    kept = table.decide(
        Situation(car_and_edge(), (fast_link,), 200, "latency", keep_raw_on_car=True)
    )
    # x is larger than the input: it may hold all of it.
    assert kept.boundary == ("y",)
    save_table(table, tmp_path / "table.json")
    read = load_table(tmp_path / "table.json")
    assert (
        read.decide(Situation(car_and_edge(), (fast_link,), 200, "latency", keep_raw_on_car=True))
        == kept
    )


def test_what_holds_the_input_makes_nothing_superfluous_that_does_not() -> None:
    sizes = {"image": 10, "wide": 20, "narrow": 8, "exit": 2}
    names = list(sizes)
    nodes = tuple(
        Node(name, "op", tuple(names[max(0, i - 1) : i]), (values,), "float32", 4 * values, 1)
        for i, (name, values) in enumerate(sizes.items())
    )
    # The first two take no time, so that the wide tensor is better than the narrow one in bytes
    # and no worse in anything else.
    car, edge = (
        DeviceProfile("m", side, 1, {"image": 0, "wide": 0, "narrow": 0, "exit": s}, "now")
        for side, s in (("car", 9.0), ("edge", 0.1))
    )
    small = MeasuredCodec("small", {"wide": TensorCost(5)}, default_loss=0.0)
    table = CandidateTable.build(
        ModelDag(nodes, (("exit",),)), car, edge, exit_quality=[0.9], codecs=[AsIs(), small]
    )
    link = Hop(1e3)
    assert table.decide(Situation(car_and_edge(), (link,), 200, "latency")).boundary == ("wide",)
    kept = table.decide(Situation(car_and_edge(), (link,), 200, "latency", keep_raw_on_car=True))
    assert kept.boundary == ("narrow",)


def test_pinned_plan_is_priced_like_the_chosen_one() -> None:
    dag, car, edge, rate = chain_of_design()
    table = CandidateTable.build(dag, car, edge, exit_quality=[0.9])
    link, sites = Hop(rate, 0.5), car_and_edge(2, 3)
    best = table.decide(Situation(sites, (link,), 100.0, "latency"))
    pinned = table.price(1, best.boundary, "f32", Situation(sites, (link,), 100.0, "latency"))
    assert pinned.latency_s == pytest.approx(best.latency_s)
    assert pinned.period_s == pytest.approx(best.period_s)
    assert table.price(1, ("x",), "f32", Situation(sites, (link,), 1.0, "latency")).late
    with pytest.raises(TableError, match="codec 'zip'"):
        table.price(1, ("x",), "zip", Situation(sites, (link,), 1.0))
    with pytest.raises(ValueError, match="not a boundary"):
        table.price(1, ("in", "x"), "f32", Situation(sites, (link,), 1.0))


def test_mode_auto_goes_by_load_score_and_priority() -> None:
    dag, car, edge, rate = chain_of_design()
    table = CandidateTable.build(dag, car, edge, exit_quality=[0.9])
    light = Situation(car_and_edge(), (Hop(rate),), 99.0, load_score=0.39)
    assert table.decide(light).objective == LATENCY
    heavy = replace(light, load_score=0.4)
    assert table.decide(heavy).objective == PERIOD
    assert table.decide(replace(heavy, priority=True)).objective == LATENCY


def test_risk_judges_the_deadline_at_a_slower_link() -> None:
    dag, car, edge, rate = chain_of_design()
    table = CandidateTable.build(dag, car, edge, exit_quality=[0.9])
    link = Hop(rate, relative_spread=0.5)
    assert not table.decide(Situation(car_and_edge(), (link,), 10.5, "latency")).late
    careful = table.decide(Situation(car_and_edge(), (link,), 10.5, "latency", risk=0.05))
    assert careful.late
    # 0.2 s of transfer become 0.2 * exp(1.645 * 0.5) = 0.455 s.
    assert not table.decide(Situation(car_and_edge(), (link,), 10.7, "latency", risk=0.05)).late


def test_save_and_load_keep_every_decision(tmp_path: Path) -> None:
    rng = random.Random(7)
    dag = random_dag(rng)
    while len(dag.exits) < 3 or len(cuts(dag, 3)) < 20:
        dag = random_dag(rng)
    car, edge = random_profile(rng, dag, "car", 0.1), random_profile(rng, dag, "edge", 0.03)
    quality = [0.7 + 0.1 * i for i in range(len(dag.exits))]
    table = CandidateTable.build(dag, car, edge, exit_quality=quality)
    save_table(table, tmp_path / "table.json")
    again = load_table(tmp_path / "table.json", "random")
    for _ in range(50):
        link, sites, deadline_s = random_situation(rng)
        plan: Plan = table.decide(Situation(sites, (link,), deadline_s, "throughput"))
        assert again.decide(Situation(sites, (link,), deadline_s, "throughput")) == plan
        asked = Situation(sites, (link,), deadline_s)
        args = (plan.exit_number, plan.boundary, plan.codec, asked)
        assert again.price(*args) == table.price(*args)
    every = [cut for number in (1, 2, 3) for cut in cuts(dag, number)]
    assert len(every) > len(table), "also plans that are no candidates"
    for cut in every:
        args = (cut.exit_number, cut.boundary, "f32", asked)
        assert again.price(*args) == table.price(*args)
    with pytest.raises(TableError, match="table of model random"):
        load_table(tmp_path / "table.json", "other")
    torn = (tmp_path / "table.json").read_text()[:-40]
    (tmp_path / "torn.json").write_text(torn)
    with pytest.raises(TableError, match="cannot read"):
        load_table(tmp_path / "torn.json")


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ((math.nan, 0.0), LinkError),
        ((-1.0, 0.0), LinkError),
        ((math.inf, 0.0), LinkError),
        ((1e6, -0.1), LinkError),
        ((1e6, math.nan), LinkError),
    ],
)
def test_impossible_links(values: tuple[float, float], error: type[Exception]) -> None:
    with pytest.raises(error, match="expected a finite number"):
        Hop(*values)


def test_impossible_requests() -> None:
    dag, car, edge, rate = chain_of_design()
    table = CandidateTable.build(dag, car, edge, exit_quality=[0.9])
    link, sites = Hop(rate), car_and_edge()
    for deadline_s in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(DeadlineError, match="deadline_s"):
            table.decide(Situation(sites, (link,), deadline_s))
    for most_period_s in (0.0, -1.0, math.nan):
        with pytest.raises(DeadlineError, match="most_period_s"):
            table.decide(Situation(sites, (link,), 1.0, most_period_s=most_period_s))
    with pytest.raises(PlanningError, match="mode is 'fast'"):
        table.decide(Situation(sites, (link,), 1.0, "fast"))
    with pytest.raises(PlanningError, match="risk"):
        table.decide(Situation(sites, (link,), 1.0, risk=0.9))
    with pytest.raises(NoPlanError, match=r"reaches 0\.9"):
        table.decide(Situation(sites, (link,), 1.0, quality_floor=0.95))
    with pytest.raises(LoadError, match="car_slowdown"):
        car_and_edge(0.0)
    other = DeviceProfile("other", "car", 1, dict(car.node_seconds), "now")
    with pytest.raises(ProfileError, match="model here is other"):
        CandidateTable.build(dag, other, edge, exit_quality=[0.9])
