from dataclasses import replace
from pathlib import Path

import pytest

from dapdee_ros.codecs import CodecError
from dapdee_ros.exits.card import ModelCard, read_card
from dapdee_ros.exits.codec_losses import Change, CodecLosses, CodedTensor
from dapdee_ros.exits.gates import Calibration
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.from_card import problem_of
from dapdee_ros.planning.policy import Situation, ask, make_policy
from dapdee_ros.planning.sites import Hop, car_and_edge
from dapdee_ros.planning.table import CandidateTable
from dapdee_ros.planning.wire_codecs import wire_codecs

RELU = "backbone.stage2.neck.2"
POOL = "backbone.stage2.pool"
# An activation with one reader, which contraction merges into it where nobody objects.
STEM = "backbone.stem.2"


@pytest.fixture(scope="module")
def card() -> ModelCard:
    """The road-sign model with a calibration of two codecs made up for these tests."""
    card = read_card(Path(__file__).resolve().parents[2] / "models" / "roadsigns")
    assert card.calibration is not None
    image = CodedTensor(2000.0, 0.02, 0.03, dict.fromkeys(range(1, 6), Change(0.04, 0.001)))
    of_relu = {2: Change(0, 0), 3: Change(0.03, 0.001), 5: Change(-0.002, 0)}
    relu = CodedTensor(800.5, 0.01, 0.005, of_relu)
    stem = CodedTensor(9000.0, 0.1, 0.1, dict.fromkeys(range(1, 6), Change(0.02, 0.001)))
    u8z = {STEM: stem, RELU: relu, POOL: relu}
    codecs = CodecLosses(1000, {"jpeg": {"image": image}, "u8z": u8z})
    return replace(card, calibration=replace(card.calibration, codecs=codecs))


def test_measured_sizes_times_and_losses_reach_the_planner(card: ModelCard) -> None:
    f32, u8z = wire_codecs(card.dag, ["f32", "u8z"], card.calibration, car_s=2.0, edge_s=0.1)
    relu = card.dag.by_name[RELU]
    assert f32.tensor(relu) == (relu.output_bytes, 0, 0)
    assert f32.quality_loss(5, ("anything", "at all")) == 0
    assert u8z.tensor(relu) == pytest.approx((800.5, 0.02, 0.0005))
    assert u8z.tensor(card.dag.nodes[0]) is None
    assert u8z.quality_loss(3, (RELU,)) == pytest.approx(0.03)
    assert u8z.quality_loss(2, (RELU,)) == u8z.quality_loss(5, (RELU,)) == 0
    assert u8z.quality_loss(4, (RELU,)) is None
    assert u8z.quality_loss(3, (RELU, POOL)) is None


def test_what_was_not_measured_is_left_out(card: ModelCard) -> None:
    names = ["f32", "f16", "u8z", "jpeg"]
    assert [c.name for c in wire_codecs(card.dag, names, card.calibration)] == [
        "f32", "u8z", "jpeg",
    ]  # fmt: skip
    assert [c.name for c in wire_codecs(card.dag, names, None)] == ["f32"]
    with pytest.raises(CodecError, match="there is no codec 'u9'"):
        wire_codecs(card.dag, ["u9"], card.calibration)


def devices(card: ModelCard) -> list[DeviceProfile]:
    """A slow car and an edge server ten times as fast."""
    return [
        DeviceProfile(
            card.model_id, side, 1, {n.name: s for n in card.dag.nodes}, "2026-01-01T00:00:00", {}
        )
        for side, s in (("car", 0.004), ("edge", 0.0004))
    ]


@pytest.mark.parametrize("policy", ["neurosurgeon", "dads", "edgent", "eddi", "dapdee", "exact"])
def test_every_policy_plans_with_codecs_that_code_some_tensors(
    card: ModelCard, policy: str
) -> None:
    car, edge = devices(card)
    problem = problem_of(card, car, edge, ["f32", "u8z", "jpeg"])
    calibration = card.calibration
    assert calibration is not None
    chosen = set()
    for rate_bps in (2e4, 1e5, 1e6, 1e7):
        for deadline_s in (0.05, 0.15, 1.0):
            situation = Situation(car_and_edge(), (Hop(rate_bps, 0.01),), deadline_s, "latency")
            made = make_policy(f"{policy}+any", problem)
            plan = ask(made, situation, problem)
            chosen.add(plan.codec)
            if plan.boundary and plan.codec != "f32":
                loss = calibration.codecs.loss(plan.codec, plan.boundary[0], plan.exit_number)
                assert loss is not None
                if plan.gate is None:
                    plain = problem.exit_quality[plan.exit_number - 1]
                    assert plan.quality == pytest.approx(plain - loss)
    assert {"jpeg", "u8z"} <= chosen


@pytest.mark.parametrize("contract_above", [0, 10**9])
def test_candidates_are_exactly_what_was_measured(card: ModelCard, contract_above: int) -> None:
    profiles = devices(card)
    problem = problem_of(card, profiles[0], profiles[1], ["f32", "u8z", "jpeg"])
    calibration = card.calibration
    assert isinstance(calibration, Calibration)
    table = CandidateTable.build(
        card.dag, *profiles, exit_quality=problem.exit_quality, codecs=problem.codecs,
        contract_above=contract_above, prune=False,
    )  # fmt: skip
    c = table.candidates
    for number, codec in enumerate(problem.codecs):
        if codec.name == "f32":
            continue
        found = set()
        for row in range(len(c)):
            if c.codecs[row] == number:
                (name,) = (
                    node.name
                    for node, sent in zip(table.dag.nodes, c.boundaries[row], strict=True)
                    if sent
                )
                exit_number = int(c.exits[row])
                loss = calibration.codecs.loss(codec.name, name, exit_number)
                assert loss is not None
                plain = problem.exit_quality[exit_number - 1]
                assert c.quality[row] == pytest.approx(plain - loss)
                found.add((exit_number, name))
        measured = calibration.codecs.tensors[codec.name]
        assert found == {(n, name) for name, coded in measured.items() for n in coded.changes}
