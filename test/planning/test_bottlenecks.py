"""Points of bottlenecks as the planner sees them: rows at their boundary, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dapdee_ros.codecs import CodecError
from dapdee_ros.codecs.bottleneck.file import Bottleneck, Point, timed_as
from dapdee_ros.codecs.bottleneck.range_coder import TOTAL, SymbolModel
from dapdee_ros.engines.slow_engine import slowed_down
from dapdee_ros.exits.bottlenecks import ModelBottleneck
from dapdee_ros.exits.card import ModelCard, find_model, read_card
from dapdee_ros.exits.codec_losses import Change, CodecLosses, CodedTensor
from dapdee_ros.planning.conditions import Condition, HardConditions
from dapdee_ros.planning.device_profile import CodecTime, DeviceProfile
from dapdee_ros.planning.from_card import measures_of, problem_of
from dapdee_ros.planning.policy import Situation, ask, make_policy
from dapdee_ros.planning.problem import Problem
from dapdee_ros.planning.sites import Hop, car_and_edge
from dapdee_ros.planning.table_file import load_table, save_table

POOL = "backbone.stage1.pool"
PAIR = ("backbone.stage2.widen.2", "backbone.stage2.blocks.0.first.2")
BYTES = (150.0, 500.0, 1500.0)
LOSSES = (0.05, 0.01, 0.0)


def bottleneck(name: str, boundary: tuple[str, ...], exits: range) -> ModelBottleneck:
    sure = SymbolModel([np.array([TOTAL], np.int64)])
    point = Point(1, 1.0, np.zeros(1, np.int64), sure)
    file = Bottleneck(
        name, 4 * f"{len(boundary)}234", Path(f"{name}.onnx"), "any", boundary, (1, 1, 8, 8),
        3 * (point,),
    )  # fmt: skip
    tensors = {
        codec: {"+".join(boundary): CodedTensor(size, 0.02, 0.03, _changes(exits, loss))}
        for codec, size, loss in zip(file.codecs, BYTES, LOSSES, strict=True)
    }
    quantiles = {
        codec: tuple(size * part for part in (0.8, 0.9, 1.0, 1.1, 1.3))
        for codec, size in zip(file.codecs, BYTES, strict=True)
    }
    return ModelBottleneck(file, CodecLosses(1000, tensors), quantiles)


def _changes(exits: range, loss: float) -> dict[int, Change]:
    return {number: Change(loss, 0.001) for number in exits}


@pytest.fixture(scope="module")
def card() -> ModelCard:
    card = read_card(find_model("roadsigns"))
    made = (bottleneck("early", (POOL,), range(1, 6)), bottleneck("pair", PAIR, range(2, 6)))
    return replace(card, bottlenecks=made)


def profile(card: ModelCard, name: str, node_s: float, **codecs: CodecTime) -> DeviceProfile:
    seconds = {node.name: node_s for node in card.dag.nodes}
    return DeviceProfile(card.model_id, name, 1, seconds, "now", codecs=codecs)


def problem(card: ModelCard, *codecs: str, announced: bool = False) -> Problem:
    car, edge = profile(card, "car", 1e-3), profile(card, "edge", 1e-5)
    return problem_of(card, car, edge, codecs or ("all",), announced=announced)


def test_a_point_is_priced_at_its_boundary_and_nowhere_else(card: ModelCard) -> None:
    asked = problem(card, "bottlenecks")
    assert [c.name for c in asked.codecs] == [
        *card.bottlenecks[0].file.codecs,
        *card.bottlenecks[1].file.codecs,
    ]
    table = asked.table
    c = table.candidates
    sent = c.codecs >= 0
    names = np.array([node.name for node in table.dag.nodes])
    assert sent.any()
    for row in np.flatnonzero(sent):
        codec = asked.codecs[c.codecs[row]].name
        boundary = tuple(names[c.boundaries[row]])
        assert boundary == ((POOL,) if codec.startswith("early") else PAIR)
        worst = c.worst[1, row]
        assert worst == pytest.approx(BYTES[int(codec[-1]) - 1])
    situation = Situation(car_and_edge(), (Hop(3e5, 0.01),), 1.0)
    for codec, boundary in (("early@2", (POOL,)), ("pair@2", PAIR)):
        plan = table.price(5, boundary, codec, situation)
        assert plan.boundary_bytes == pytest.approx(500)
        assert plan.quality == pytest.approx(asked.exit_quality[4] - 0.01)
        head = card.dag.ancestors(boundary)
        total_s = 1e-3 * len(card.dag.nodes)
        # The input costs as much as any node here.
        assert plan.head_s == pytest.approx(1e-3 * len(head) + 0.02 * total_s)


def test_measured_times_count_instead_of_shares_and_a_slowdown_multiplies_them(
    card: ModelCard,
) -> None:
    file = card.bottlenecks[0].file
    times = {timed_as(codec, file.id): CodecTime(0.004, 0.0, 0.002, 0.0) for codec in file.codecs}
    car, edge = profile(card, "car", 1e-3, **times), profile(card, "edge", 1e-5, **times)
    for factor in (1.0, 7.0):
        asked = problem_of(card, slowed_down(car, factor), edge, ["bottlenecks"])
        coded = asked.basis.codec("early@1").tensor(card.dag.by_name[POOL])
        assert coded is not None
        assert coded.encode_s == pytest.approx(0.004 * factor)
        assert coded.decode_s == pytest.approx(0.002)


def test_a_side_that_does_not_announce_a_bottleneck_gets_no_plan_with_it(card: ModelCard) -> None:
    early, pair = (of.file for of in card.bottlenecks)

    def times_of(*files: Bottleneck) -> dict[str, CodecTime]:
        return {
            timed_as(codec, file.id): CodecTime(1e-3, 0, 1e-3, 0)
            for file in files
            for codec in file.codecs
        }

    other = replace(early, id="f" * 16)
    for on_edge, expected in (
        ((early, pair), {*early.codecs, *pair.codecs}),
        ((pair,), {*pair.codecs}),
        ((other, pair), {*pair.codecs}),
        ((), set()),
    ):
        car = profile(card, "car", 1e-3, **times_of(early, pair))
        edge = profile(card, "edge", 1e-5, **times_of(*on_edge))
        found = problem_of(card, car, edge, ["f32", "bottlenecks"], announced=True)
        assert {codec.name for codec in found.codecs} == {"f32", *expected}
        plan = ask(
            make_policy("exact", found),
            Situation(car_and_edge(), (Hop(1e5, 0.01),), 1.0),
            found,
        )
        assert plan.codec in {"none", "f32", *expected}


def test_a_slower_link_takes_a_coarser_point(card: ModelCard) -> None:
    # Shallow exits are no way out here.
    quality = (0.1, 0.2, 0.3, 0.4, 0.98)
    asked = replace(problem(card, "bottlenecks"), gates=(), exit_quality=quality)
    policy = make_policy("exact", asked)
    points = []
    for rate_bps in np.geomspace(3e6, 3e4, 15):
        situation = Situation(car_and_edge(), (Hop(float(rate_bps), 0.005),), 0.05)
        plan = ask(policy, situation, asked)
        if plan.codec.startswith("early"):
            points.append(int(plan.codec[-1]))
            assert plan.quality == pytest.approx(
                asked.exit_quality[plan.exit_number - 1] - LOSSES[points[-1] - 1]
            )
    assert set(points) == {1, 2, 3}, points
    assert points == sorted(points, reverse=True)


def test_hard_conditions_know_points(card: ModelCard) -> None:
    measured = measures_of(card)
    conditions = HardConditions(quality_floor=0.9)
    assert not conditions.breaches(measured, 5, (POOL,), "early@3")
    assert not conditions.breaches(measured, 5, PAIR[::-1], "pair@3")
    (unmeasured, *_) = conditions.breaches(measured, 5, PAIR[:1], "pair@3")
    assert unmeasured.condition is Condition.CODECS
    only = HardConditions(codecs=frozenset({"f32"}))
    (refused,) = only.breaches(measured, 5, (POOL,), "early@3")
    assert refused.condition is Condition.CODECS


def test_a_table_of_points_is_saved_and_read_with_their_distribution(
    card: ModelCard, tmp_path: Path
) -> None:
    asked = problem(card, "f32", "bottlenecks")
    save_table(asked.table, tmp_path / "table.json")
    back = load_table(tmp_path / "table.json", card.model_id)
    codec = back.basis.codec("early@2")
    assert getattr(codec, "byte_quantiles", None) == pytest.approx((400, 450, 500, 550, 650))
    # A point that loses the same at all exits still codes no boundary but its own.
    assert back.basis.codec("pair@1").quality_loss(5, PAIR[:1]) is None
    for rate_bps in (1e5, 1e6, 1e7):
        situation = Situation(car_and_edge(), (Hop(rate_bps, 0.01),), 0.2)
        assert back.decide(situation).key == asked.table.decide(situation).key


@pytest.mark.parametrize("policy", ["neurosurgeon", "dads", "edgent", "eddi", "dapdee", "exact"])
def test_every_policy_plans_with_points(card: ModelCard, policy: str) -> None:
    asked = problem(card, "f32", "jpeg", "bottlenecks")
    made = make_policy(f"{policy}+any", asked)
    for rate_bps in (1e4, 1e5, 1e6, 1e7):
        plan = ask(made, Situation(car_and_edge(), (Hop(rate_bps, 0.01),), 0.2), asked)
        if "@" in plan.codec:
            assert plan.boundary == asked.points[plan.codec]
            loss = asked.basis.codec(plan.codec).quality_loss(plan.exit_number, plan.boundary)
            assert loss is not None


def test_names_of_other_models_points_are_refused(card: ModelCard) -> None:
    with pytest.raises(CodecError, match="no bottleneck's point 'late@1'; it has early@1"):
        problem(card, "late@1")
    assert problem(card, "early@2").points == {"early@2": (POOL,)}
