"""No plan that is followed breaks a hard condition, whichever policy made it."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from planning.random_networks import chain_of_design
from planning.test_policies import ALL, options, random_problem, random_situation

from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.exits.exposure import Attack, Exposures
from dapdee_ros.graph.dag import ModelDag
from dapdee_ros.planning.answer import answer, repriced
from dapdee_ros.planning.codec_cost import AsIs
from dapdee_ros.planning.conditions import Condition, HardConditions
from dapdee_ros.planning.errors import ConditionError, PlanningError
from dapdee_ros.planning.from_card import measures_of, problem_of, sample_profiles
from dapdee_ros.planning.pinned import parse_pinned
from dapdee_ros.planning.plan import Crossing, Plan, PlanKey, Stage
from dapdee_ros.planning.policy import Problem, Situation, ask, make_policy
from dapdee_ros.planning.sites import NO_HOP, Hop, car_and_edge
from dapdee_ros.planning.table_file import load_table, save_table

ROADSIGNS = read_card(find_model("roadsigns"))


def breaks(plan: Plan, situation: Situation, problem: Problem) -> set[str]:
    """What a plan breaks, judged by its price instead of by what was measured."""
    priced = situation.price(
        problem, plan.exit_number, plan.boundary, plan.codec, "",
        gate=plan.gate, gate_threshold=plan.gate_threshold,
    )  # fmt: skip
    broken = set()
    if situation.keep_raw_on_car and problem.dag.image_forms & set(plan.boundary):
        broken.add("keep_raw_on_car")
    if priced.quality < situation.quality_floor - 1e-9:
        broken.add("quality_floor")
    if plan.gate is not None and not situation.gates:
        broken.add("gates")
    return broken


@pytest.mark.parametrize("name", ALL)
def test_every_policys_plan_is_judged_before_it_is_used(name: str) -> None:
    rng = random.Random(100 + ALL.index(name))
    kept = refused = 0
    for _ in range(25):
        problem = random_problem(rng)
        policy = make_policy(name, problem, **options(name))
        floor = min(rng.choice([0.0, 0.75, 1.0]), max(problem.exit_quality))
        raw, gates = rng.random() < 0.5, rng.random() < 0.5
        situation = random_situation(
            rng, mode=rng.choice(["latency", "throughput"]), keep_raw_on_car=raw,
            quality_floor=floor, gates=gates, quality_tolerance=0.02,
        )  # fmt: skip
        wanted = breaks(policy.plan(situation), situation, problem)
        if wanted:
            with pytest.raises(ConditionError, match="breaks a hard condition") as caught:
                ask(policy, situation, problem)
            assert {breach.condition for breach in caught.value.breaches} == wanted
            refused += 1
        else:
            assert ask(policy, situation, problem).reason
            kept += 1
        # Whoever follows has a plan all the same, and it breaks nothing.
        found = answer(policy, situation, problem)
        assert found.plan is not None
        assert bool(found.complaint) == bool(wanted)
        assert not breaks(found.plan, situation, problem)
        if wanted:
            assert found.plan.device_only
            assert all(condition in found.complaint for condition in wanted)
            alone = problem.table.decide(
                Situation(
                    situation.sites, (NO_HOP,), situation.deadline_s,
                    situation.mode, quality_floor=floor, gates=gates, quality_tolerance=0.02,
                )
            )  # fmt: skip
            assert found.plan.objective_s == pytest.approx(alone.objective_s)
            assert found.plan.quality == pytest.approx(alone.quality)
    assert kept
    # Those that heed the conditions never have to be corrected, nor does the full network alone.
    assert bool(refused) == (name not in ("exact", "oracle", "device-only"))


class Boaster:
    """Sends the image at the shallowest exit and says that it is always right."""

    def __init__(self, problem: Problem) -> None:
        self.image = problem.dag.input

    def plan(self, situation: Situation) -> Plan:
        return Plan(
            1, (Stage("car"), Stage("edge")), (Crossing((self.image,)),), latency_s=0.0, quality=1.0
        )


def test_a_plans_own_claim_is_not_believed() -> None:
    dag, car, edge, rate = chain_of_design()
    problem = Problem(ModelDag(dag.nodes, (("x",), ("z",))), (car, edge), [0.6, 0.9])
    situation = Situation(car_and_edge(), (Hop(rate),), 100.0, quality_floor=0.8)
    with pytest.raises(ConditionError, match=r"quality_floor: its quality is 0\.6, less than 0\.8"):
        ask(Boaster(problem), situation, problem)
    assert ask(Boaster(problem), replace(situation, quality_floor=0.5), problem).quality == 0.6
    found = answer(Boaster(problem), situation, problem)
    assert found.plan is not None
    assert (found.plan.exit_number, found.plan.boundary) == (2, ())


def conditions_of(breaches: Iterable[tuple[Condition, str]]) -> list[Condition]:
    return [condition for condition, _ in breaches]


def test_a_plan_is_judged_without_profiles_or_a_link() -> None:
    measured = measures_of(ROADSIGNS)
    image, deepest = ROADSIGNS.dag.input, len(ROADSIGNS.dag.exits)
    free, raw = HardConditions(), HardConditions(keep_raw_on_car=True)
    assert not free.breaches(measured, deepest, [image], "f32")
    assert conditions_of(raw.breaches(measured, deepest, [image], "f32")) == ["keep_raw_on_car"]
    assert not raw.breaches(measured, deepest, [], "none")
    # Another form of the image is the image.
    forms = ROADSIGNS.dag.image_forms - {image}
    for form in forms:
        assert conditions_of(raw.breaches(measured, deepest, [form], "f32")) == ["keep_raw_on_car"]
    assert forms

    floor = HardConditions(quality_floor=measured.exit_quality[-1])
    assert not floor.breaches(measured, deepest, [image], "f32")
    assert conditions_of(floor.breaches(measured, 1, [image], "f32")) == ["quality_floor"]
    # What nobody measured is not taken on trust.
    for codec in ("zip", ""):
        assert conditions_of(free.breaches(measured, deepest, [image], codec)) == ["codecs"]
    assert conditions_of(floor.breaches(measured, deepest, ["nowhere"], "f32")) == [
        "codecs", "quality_floor"
    ]  # fmt: skip
    assert conditions_of(floor.breaches(measured, 99, [], "none")) == ["quality_floor"]
    only = HardConditions(codecs=frozenset(["u8"]))
    assert conditions_of(only.breaches(measured, deepest, [image], "f32")) == ["codecs"]

    option = measured.gates[0]
    gated = (measured, option.exit_number, (), "none", option.gate)
    assert not free.breaches(*gated, option.threshold)
    # A message carries the threshold with fewer digits.
    assert not free.breaches(*gated, round(option.threshold, 7))
    assert conditions_of(free.breaches(*gated, 0.123)) == ["gates"]
    assert conditions_of(HardConditions(gates=False).breaches(*gated, option.threshold)) == [
        "gates"
    ]
    with pytest.raises(PlanningError, match=r"quality_floor is 1\.5"):
        HardConditions(quality_floor=1.5)


def test_a_pinned_plan_that_breaks_a_condition_is_not_followed() -> None:
    dag, car, edge, rate = chain_of_design()
    problem = Problem(dag, (car, edge), [0.9], (AsIs(),))
    policy = make_policy("exact", problem)
    free = Situation(car_and_edge(), (Hop(rate),), 100.0)
    pinned = parse_pinned("exit=1 boundary=in codec=f32")
    held = answer(policy, free, problem, pinned=pinned)
    assert held.plan is not None
    assert (held.plan.boundary, held.complaint) == (("in",), "")
    found = answer(policy, replace(free, keep_raw_on_car=True), problem, pinned=pinned)
    assert found.plan is not None
    assert found.plan.device_only
    assert "the pinned plan breaks a hard condition: keep_raw_on_car" in found.complaint


def test_the_plan_in_force_is_kept_only_while_it_breaks_nothing() -> None:
    dag, car, edge, rate = chain_of_design()
    problem = Problem(dag, (car, edge), [0.9])
    free = Situation(car_and_edge(), (Hop(rate),), 100.0)
    plan = free.price(problem, 1, ("in",), "f32", "")
    assert repriced(plan, free, problem) is not None
    assert repriced(None, free, problem) is None
    assert repriced(plan, replace(free, keep_raw_on_car=True), problem) is None
    assert repriced(plan, replace(free, quality_floor=0.95), problem) is None
    assert repriced(plan, free.over(Hop(0.0)), problem) is None
    assert repriced(replace(plan, crossings=(Crossing(("in",), "zip"),)), free, problem) is None
    late = repriced(plan, replace(free, most_period_s=1e-3), problem)
    assert late is not None
    assert late.late


def test_a_floor_that_nothing_reaches_leaves_no_plan() -> None:
    dag, car, edge, rate = chain_of_design()
    problem = Problem(dag, (car, edge), [0.9])
    situation = Situation(car_and_edge(), (Hop(rate),), 100.0, quality_floor=0.95)
    for name in ("exact", "edge-only"):
        found = answer(make_policy(name, problem), situation, problem)
        assert found.plan is None
        assert "0.95" in found.complaint


def attacked(*found: tuple[str, str, float]) -> Exposures:
    return Exposures(tuple(Attack((name,), codec, 20.0, ssim) for name, codec, ssim in found))


def test_what_can_be_inverted_too_well_is_not_sent() -> None:
    early, late = "backbone.stage1.neck.2", "backbone.stage3.neck.2"
    found = attacked((early, "f32", 0.7), (late, "f32", 0.3), (early, "u4z", 0.4))
    measured = replace(measures_of(ROADSIGNS), exposures=found)
    deepest = len(ROADSIGNS.dag.exits)

    def broken(most: float, boundary: str, codec: str) -> list[str]:
        conditions = HardConditions(keep_raw_on_car=True, keep_raw_on_car_ssim=most)
        breaches = conditions.breaches(measured, deepest, [boundary], codec)
        return [why for condition, why in breaches if condition == "keep_raw_on_car"]

    assert "similarity of 0.7, 0.5 is allowed" in broken(0.5, early, "f32")[0]
    assert not broken(0.5, early, "u4z") and not broken(0.5, late, "f32")
    assert broken(0.35, early, "u4z") and not broken(0.35, late, "u8")
    assert not broken(0.8, early, "f32") and not broken(1.0, early, "f32")
    assert broken(1.0, ROADSIGNS.dag.input, "jpeg")
    measured = measures_of(ROADSIGNS)
    assert "nobody has tried" in broken(0.99, late, "f32")[0] and not broken(1.0, late, "f32")
    with pytest.raises(PlanningError, match="keep_raw_on_car_ssim is 2"):
        HardConditions(keep_raw_on_car_ssim=2)


def test_the_table_knows_what_can_be_inverted(tmp_path: Path) -> None:
    early, late = "backbone.stage1.neck.2", "backbone.stage3.neck.2"
    found = attacked((early, "f32", 0.7), (late, "f32", 0.3))
    car, *_, edge = sample_profiles(ROADSIGNS.model_id)
    card = replace(ROADSIGNS, exposures=found)
    problem = problem_of(card, car, edge, ["f32", "u8"])
    path = tmp_path / "table.json"
    save_table(problem.table, path)
    sent: dict[float, tuple[float, PlanKey]] = {}
    for most in (1.0, 0.7, 0.5, 0.3, 0.2):
        situation = Situation(
            car_and_edge(20.0), (Hop(1e7),), 10.0, "latency",
            keep_raw_on_car=True, keep_raw_on_car_ssim=most,
        )  # fmt: skip
        for table in (problem.table, load_table(path)):
            plan = table.decide(situation)
            situation.conditions.check(problem, plan.key, "the plan")
            exposure = found.of(card.dag, plan.boundary, plan.codec)
            assert exposure <= situation.most_exposure
            sent.setdefault(most, (exposure, plan.key))
            assert sent[most][1] == plan.key
    # The threshold matters, down to a car that finishes alone.
    assert sent[1.0][0] > 0.7 >= sent[0.7][0] > 0.5 and sent[0.5][0] == 0.3
    assert sent[0.2][1][1] == ()
