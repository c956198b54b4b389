from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest
from planning.random_networks import random_dag, random_profile

from dapdee_ros.graph.dag import ModelDag, Node
from dapdee_ros.planning.codec_cost import AsIs, CodecCost, GateOption, MeasuredCodec, TensorCost
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.errors import TableError
from dapdee_ros.planning.pricing import price_plan
from dapdee_ros.planning.sites import Hop, Site, car_and_edge
from dapdee_ros.planning.situation import Situation
from dapdee_ros.planning.table import CandidateTable


def trunk_with_early_exit() -> tuple[ModelDag, DeviceProfile, DeviceProfile]:
    """image -> a -> b -> late, and early on a: car seconds 1, 2, 4, 0.5; edge a tenth of it."""
    reads = {"image": (), "a": ("image",), "early": ("a",), "b": ("a",), "late": ("b",)}
    sizes = {"image": 100, "a": 400, "early": 4, "b": 40, "late": 4}
    seconds = {"image": 0.0, "a": 1.0, "early": 0.5, "b": 2.0, "late": 4.0}
    dag = ModelDag(
        tuple(Node(n, "op", r, (1,), "float32", sizes[n], 1) for n, r in reads.items()),
        (("early",), ("late",)),
    )
    car = DeviceProfile("two", "car", 1, seconds, "now")
    edge = DeviceProfile("two", "edge", 1, {n: s / 10 for n, s in seconds.items()}, "now")
    return dag, car, edge


GATE = GateOption(gate=1, exit_number=2, threshold=0.8, share=0.6, quality=0.89)


def test_a_gate_is_paid_by_every_frame_and_saves_its_share_of_the_rest() -> None:
    dag, car, edge = trunk_with_early_exit()
    table = CandidateTable.build(dag, car, edge, exit_quality=[0.7, 0.9], gates=[GATE])
    link, sites = Hop(rate_bps=800.0, rtt_s=0.1), car_and_edge(2.0, 3.0)
    plan = table.price(2, ["b"], "f32", Situation(sites, (link,), 99.0, "latency"), gate=1)
    # A frame that goes on: car 2 * (1 + 0.5 + 2), 40 bytes at 100 bytes/s, edge 3 * 0.4.
    assert plan.head_s == pytest.approx(7.0)
    assert plan.transfer_s == pytest.approx(0.5)
    assert plan.edge_s == pytest.approx(1.2)
    assert plan.latency_s == pytest.approx(8.7)
    # In the mean: car 2 * (1.5 + 0.4 * 2), and 0.4 of transfer and edge.
    assert plan.expected_latency_s == pytest.approx(4.6 + 0.4 * (0.5 + 1.2))
    assert plan.period_s == pytest.approx(4.6)
    assert plan.quality == pytest.approx(0.89)
    # The deadline is judged without the gate.
    assert table.price(2, ["b"], "f32", Situation(sites, (link,), 8.6), gate=1).late
    with pytest.raises(TableError, match="not inside this head"):
        table.price(2, ["image"], "f32", Situation(sites, (link,), 99.0), gate=1)


def test_a_gate_on_the_car_alone_ends_frames_before_the_rest_runs() -> None:
    dag, car, edge = trunk_with_early_exit()
    table = CandidateTable.build(dag, car, edge, exit_quality=[0.7, 0.9], gates=[GATE])
    plan = table.decide(
        Situation(
            car_and_edge(), (Hop(0.0),), 99.0, "latency", quality_tolerance=0.02, quality_floor=0.8
        )
    )
    assert (plan.gate, plan.exit_number, plan.device_only) == (1, 2, True)
    assert plan.latency_s == pytest.approx(7.5)
    assert plan.expected_latency_s == pytest.approx(1.5 + 0.4 * 6)
    without = table.decide(Situation(car_and_edge(), (Hop(0.0),), 99.0, "latency", gates=False))
    assert (without.gate, without.latency_s) == (None, 7.0)
    # The gate's branch makes a frame that goes on take 7.5 s: too long, however fast the mean.
    tight = table.decide(
        Situation(
            car_and_edge(), (Hop(0.0),), 7.2, "latency", quality_tolerance=0.02, quality_floor=0.8
        )
    )
    assert (tight.gate, tight.late) == (None, False)


def test_a_codec_trades_time_and_quality_for_bytes() -> None:
    dag, car, edge = trunk_with_early_exit()
    half = MeasuredCodec(
        "half",
        {n: TensorCost(dag.by_name[n].output_bytes / 2, 0.01, 0.02) for n in ("a", "b")},
        {(2, ("a",)): 0.03},
        default_loss=0.01,
    )
    table = CandidateTable.build(dag, car, edge, exit_quality=[0.7, 0.9], codecs=[AsIs(), half])
    link, sites = Hop(800.0), car_and_edge(2.0, 3.0)
    plan = table.price(2, ["a"], "half", Situation(sites, (link,), 99.0))
    assert plan.boundary_bytes == 200
    assert plan.head_s == pytest.approx(2 * 1.01)
    assert plan.transfer_s == pytest.approx(2.0)
    assert plan.edge_s == pytest.approx(3 * (0.6 + 0.02))
    assert plan.quality == pytest.approx(0.87)
    assert table.price(2, ["b"], "half", Situation(sites, (link,), 99.0)).quality == pytest.approx(
        0.89
    )
    with pytest.raises(TableError, match="not measured"):
        table.price(2, ["image"], "half", Situation(sites, (link,), 99.0))


def random_codecs(rng: random.Random, dag: ModelDag) -> list[CodecCost]:
    some = [node for node in dag.nodes if rng.random() < 0.8]
    return [
        AsIs(),
        MeasuredCodec(
            "small",
            {n.name: TensorCost(n.output_bytes / 4, rng.choice((0, 1e-3)), 1e-4) for n in some},
            default_loss=rng.choice((0.0, 0.01)),
        ),
    ]


def random_table(rng: random.Random, prune: bool) -> tuple[CandidateTable, CandidateTable]:
    """A table with codecs and gates, as it is and pruned or not."""
    dag = random_dag(rng, most_nodes=11)
    car, edge = random_profile(rng, dag, "car", 0.1), random_profile(rng, dag, "edge", 0.03)
    exits = range(1, len(dag.exits) + 1)
    build = {
        "exit_quality": [rng.choice((0.7, 0.8, 0.9)) for _ in exits],
        "codecs": random_codecs(rng, dag),
        "gates": [
            GateOption(k, n, 0.9, rng.uniform(0.1, 0.9), rng.choice((0.75, 0.8, 0.9)))
            for n in exits
            for k in range(1, n)
        ],
    }
    return (
        CandidateTable.build(dag, car, edge, **build),  # type: ignore[arg-type]
        CandidateTable.build(dag, car, edge, **build, prune=prune),  # type: ignore[arg-type]
    )


def random_wishes(rng: random.Random) -> tuple[Hop, tuple[Site, ...], float, dict[str, Any]]:
    link = Hop(
        rng.choice((0.0, 10 ** rng.uniform(4.5, 8))),
        rng.uniform(0, 0.1),
        relative_spread=rng.uniform(0, 0.5),
    )
    sites = car_and_edge(10 ** rng.uniform(-0.2, 1), 10 ** rng.uniform(-0.2, 1))
    wishes = {
        "mode": rng.choice(("latency", "throughput")),
        "quality_tolerance": rng.choice((0.0, 0.05)),
        "keep_raw_on_car": rng.random() < 0.3,
        "gates": rng.random() < 0.7,
        "risk": rng.choice((0.5, 0.1)),
    }
    return link, sites, 10 ** rng.uniform(-2, 1), wishes


def test_decide_follows_its_rule_with_gates_codecs_and_risk() -> None:
    rng = random.Random(12)
    found_late = 0
    for _ in range(60):
        table, _ = random_table(rng, prune=True)
        raw = table.dag.image_forms
        for _ in range(10):
            link, sites, deadline_s, wishes = random_wishes(rng)
            quantile = {0.5: 0.0, 0.1: -1.2815515655446004}[wishes["risk"]]
            careful = replace(
                link, rate_bps=link.rate_bps * math.exp(quantile * link.relative_spread)
            )
            allowed = []
            for row in range(len(table)):
                plan = table.plan_at(row, Situation(sites, (link,), 1.0, wishes["mode"]))
                if (
                    (plan.device_only or link.rate_bps > 0)
                    and not (wishes["keep_raw_on_car"] and raw & set(plan.boundary))
                    and (wishes["gates"] or plan.gate is None)
                ):
                    judged_s = table.plan_at(
                        row, Situation(sites, (careful,), 1.0, wishes["mode"])
                    ).latency_s
                    allowed.append((judged_s, plan))
            chosen = table.decide(Situation(sites, (link,), deadline_s, **wishes))
            in_time = [plan for judged_s, plan in allowed if judged_s <= deadline_s]
            found_late += not in_time
            assert chosen.late == (not in_time)
            if not in_time:
                fastest = min(allowed, key=lambda pair: pair[0])
                assert chosen.latency_s == pytest.approx(fastest[1].latency_s)
                continue
            ungated = [plan for plan in in_time if plan.gate is None]
            best = max(plan.quality for plan in ungated or in_time)
            level = [p for p in in_time if p.quality >= best - wishes["quality_tolerance"] - 1e-9]
            assert chosen.key in [plan.key for plan in level]
            assert chosen.objective_s == pytest.approx(min(plan.objective_s for plan in level))
            plain = table.decide(
                Situation(sites, (link,), deadline_s, **{**wishes, "gates": False})
            )
            if not plain.late:
                # A gate is only used where it pays.
                assert chosen.objective_s <= plain.objective_s * (1 + 1e-9)
                assert chosen.quality >= plain.quality - wishes["quality_tolerance"] - 1e-9
    assert 50 < found_late < 550


def test_among_periods_that_count_as_equal_work_decides_where_the_car_limits_else_latency() -> None:
    rng = random.Random(14)
    equal, quicker, spared = 1.05, 0, 0
    for _ in range(100):
        few, every = random_table(rng, prune=False)
        raw = every.dag.image_forms
        for _ in range(10):
            link, sites, deadline_s, wishes = random_wishes(rng)
            wishes |= {"mode": "throughput", "risk": 0.5}
            asked = Situation(sites, (link,), deadline_s, **wishes)
            tolerant = replace(asked, period_tolerance=equal - 1)
            shortest, chosen = every.decide(asked), every.decide(tolerant)
            pruned = few.decide(tolerant)
            assert pruned.latency_s == pytest.approx(chosen.latency_s, rel=1e-12)
            assert chosen.late == shortest.late
            if chosen.late:
                continue
            quicker += chosen.expected_latency_s < 0.999 * shortest.expected_latency_s
            assert chosen.period_s <= equal * shortest.period_s * (1 + 1e-12)
            assert chosen.quality >= shortest.quality - wishes["quality_tolerance"] - 1e-9
            if wishes["gates"]:
                continue
            in_time = [
                plan
                for plan in (every.plan_at(row, asked) for row in range(len(every)))
                if plan.gate is None
                and (plan.device_only or link.usable)
                and not (wishes["keep_raw_on_car"] and raw & set(plan.boundary))
                and plan.latency_s <= deadline_s
            ]
            least_quality = max(p.quality for p in in_time) - wishes["quality_tolerance"] - 1e-9
            level = [plan for plan in in_time if plan.quality >= least_quality]
            least_s = min(plan.period_s for plan in level)
            near = [plan for plan in level if plan.period_s <= equal * least_s]
            car_s = min(plan.head_s for plan in near)
            assert chosen.key in [plan.key for plan in near]
            if equal * car_s >= least_s:
                assert chosen.head_s == pytest.approx(car_s, rel=1e-9)
                near = [plan for plan in near if plan.head_s <= car_s * (1 + 1e-9)]
                spared += chosen.head_s < 0.9999 * max(plan.head_s for plan in level)
            assert chosen.latency_s == pytest.approx(min(p.latency_s for p in near), rel=1e-9)
    assert quicker > 20
    assert spared > 20


def test_a_busy_car_is_not_given_more_work_to_save_latency() -> None:
    # Coding takes the car 0.1 ms more of 10, and saves 3.8 ms of a link that has time to spare.
    dag = ModelDag(
        (
            Node("image", "input", (), (100_000,), "float32", 400_000, 0),
            Node("head", "op", ("image",), (1000,), "float32", 4_000, 1),
            Node("logits", "op", ("head",), (10,), "float32", 40, 1),
        ),
        (("logits",),),
    )
    profiles = [
        DeviceProfile("m", side, 1, {"image": 0.0, "head": head_s, "logits": 0.03}, "now")
        for side, head_s in (("car", 0.01), ("edge", 0.005))
    ]
    small = MeasuredCodec("small", {"head": TensorCost(200.0, 0.0001)}, default_loss=0.0)
    table = CandidateTable.build(dag, *profiles, exit_quality=[0.9], codecs=[AsIs(), small])
    asked = Situation(car_and_edge(1.0, 0.01), (Hop(8e6, 0.001),), 1.0, "throughput")
    for period_tolerance in (0.0, 0.02):
        plan = table.decide(replace(asked, period_tolerance=period_tolerance))
        assert (plan.boundary, plan.codec) == (("head",), "f32")
    # Where the edge server limits both, the car has time to spare.
    slow_edge = replace(asked, sites=car_and_edge(1.0, 1.0), period_tolerance=0.02)
    assert table.decide(slow_edge).codec == "small"


def test_dropping_dominated_candidates_changes_no_decision_in_10_000_situations() -> None:
    rng = random.Random(10)
    dropped = 0
    for _ in range(100):
        few, every = random_table(rng, prune=False)
        dropped += len(every) - len(few)
        for _ in range(100):
            link, sites, deadline_s, wishes = random_wishes(rng)
            chosen = few.decide(Situation(sites, (link,), deadline_s, **wishes))
            best = every.decide(Situation(sites, (link,), deadline_s, **wishes))
            assert chosen.late == best.late
            if chosen.late:
                assert chosen.latency_s == pytest.approx(best.latency_s, rel=1e-12)
            else:
                assert chosen.objective_s == pytest.approx(best.objective_s, rel=1e-12)
            assert chosen.quality >= best.quality
    assert dropped > 1000


def test_ranked_plans_follow_the_rule_of_decide() -> None:
    dag, car, edge = trunk_with_early_exit()
    table = CandidateTable.build(dag, car, edge, exit_quality=[0.7, 0.9])
    link, sites = Hop(8000.0), car_and_edge()
    plans = table.ranked(99, Situation(sites, (link,), 2.0, "latency"))
    assert plans[0] == table.decide(Situation(sites, (link,), 2.0, "latency"))
    assert len(plans) == len(table)
    assert len({plan.key for plan in plans}) == len(plans)
    in_time = [p for p in plans if not p.late]
    assert plans[: len(in_time)] == in_time
    assert in_time == sorted(in_time, key=lambda p: (-p.quality, p.latency_s))
    assert {p.exit_number for p in in_time} == {1, 2}


def test_a_candidate_has_the_same_price_as_any_plan() -> None:
    dag, car, edge = trunk_with_early_exit()
    table = CandidateTable.build(dag, car, edge, exit_quality=[0.7, 0.9], gates=[GATE])
    link, sites = Hop(8000.0, 0.1), car_and_edge(2.0, 3.0)
    for plan in table.ranked(99, Situation(sites, (link,), 3.0, "throughput")):
        situation = Situation(sites, (link,), 3.0, "throughput")
        where = (plan.exit_number, plan.boundary, plan.codec, situation)
        gate = {"gate": plan.gate, "gate_threshold": plan.gate_threshold, "reason": plan.reason}
        assert table.price(*where, **gate) == plan  # type: ignore[arg-type]
        anew = price_plan(table.basis, *where, **gate)  # type: ignore[arg-type]
        assert anew.late == plan.late
        assert anew.expected_latency_s == pytest.approx(plan.expected_latency_s)


def test_what_does_not_fit_the_model_is_refused() -> None:
    dag, car, edge = trunk_with_early_exit()
    for quality in ([0.9], [0.9, 1.2], [0.9, float("nan")]):
        with pytest.raises(TableError, match="exit qualities"):
            CandidateTable.build(dag, car, edge, exit_quality=quality)
    with pytest.raises(TableError, match="share a name"):
        CandidateTable.build(dag, car, edge, exit_quality=[0.7, 0.9], codecs=[AsIs(), AsIs()])
    with pytest.raises(TableError, match="before a later exit"):
        CandidateTable.build(dag, car, edge, exit_quality=[0.7, 0.9], gates=[GATE._replace(gate=2)])
