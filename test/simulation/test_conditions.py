"""Hard conditions in simulated runs: what a policy wants does not count where it breaks one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from simulation.small_world import GATE, curves, problem, scenario

from dapdee_ros.simulation.run import simulate
from dapdee_ros.simulation.scenario import Scenario


def small(**wishes: object) -> Scenario:
    base = scenario(problem=problem((GATE,)), curves=curves())
    return replace(base, planning=replace(base.planning, **wishes))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["edge-only", "neurosurgeon", "dads", "dapdee", "edgent", "eddi"])
def test_no_policy_sends_the_image_that_stays_on_the_car(name: str) -> None:
    free = simulate(small(), name)
    assert any("image" in plan.boundary for plan in free.log.plans)
    kept = simulate(small(keep_raw_on_car=True), name)
    assert kept.log.plans
    assert not any("image" in plan.boundary for plan in kept.log.plans)
    assert any("keep_raw_on_car" in complaint for complaint in kept.complaints)
    assert len(kept.outcomes) == len(free.outcomes)


def test_no_policy_answers_below_the_quality_floor() -> None:
    # Over the slow link and under the tight deadline only the shallow exit is in time.
    tight = small(quality_floor=0.9)
    tight = replace(tight, planning=replace(tight.planning, deadline_s=0.05))
    for name in ("edgent", "eddi", "dapdee"):
        run = simulate(replace(tight, link=scenario("0.5mbit").link), name)
        assert {plan.exit_number for plan in run.log.plans} == {2}
        assert any("quality_floor" in complaint for complaint in run.complaints)


def test_no_policy_uses_a_gate_where_gates_are_off() -> None:
    wishes = {"quality_tolerance": 0.05}
    assert 1 in {o.result.exit_number for o in simulate(small(**wishes), "branchynet").outcomes}
    run = simulate(small(gates=False, **wishes), "branchynet")
    assert {o.result.exit_number for o in run.outcomes} == {2}
    assert any("gates" in complaint for complaint in run.complaints)
