"""The manager with two edge servers: which one a plan names, and when that changes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from simulation.small_world import PLANNING, problem, profile

from dapdee_ros.core.frames import Place, Server
from dapdee_ros.core.manager import ManagerCore
from dapdee_ros.core.manager_events import (
    Action,
    AnswerFound,
    Ask,
    Complain,
    DrainSet,
    LinkEstimated,
    ProblemChanged,
    ResultCame,
    SettingsChanged,
    TellPlan,
)
from dapdee_ros.core.planning_settings import PlanningSettings
from dapdee_ros.planning.plan import Crossing, Plan, Stage
from dapdee_ros.planning.policy import Policy, Problem, Situation, make_policy

CAR = profile("car", 1.0)
Kind = TypeVar("Kind")


def with_edge(factor: float) -> Problem:
    return replace(problem(), profiles=(CAR, profile("edge", factor)))


def link(server: str, mbit: float = 8.0, rtt_s: float = 0.01) -> LinkEstimated:
    return LinkEstimated(1e6 * mbit, rtt_s, 0.1, True, server)


def dead(server: str) -> LinkEstimated:
    return LinkEstimated(math.nan, math.nan, math.inf, False, server)


def planned(server: str, factor: float = 0.1) -> ProblemChanged:
    both = with_edge(factor)
    return ProblemChanged(both, make_policy("exact", both), "a profile came", server)


def the(kind: type[Kind], actions: list[Action]) -> Kind:
    (found,) = (action for action in actions if isinstance(action, kind))
    return found


def told(actions: list[Action]) -> TellPlan | None:
    return next((a for a in actions if isinstance(a, TellPlan)), None)


def core(planning: PlanningSettings = PLANNING, factors: tuple[float, float] = (0.1, 0.1)) -> Any:
    """A manager that knows both servers, with equal links to them."""
    manager = ManagerCore(planning, problem(), 0.0, ("edge1", "edge2"))
    for server, factor in zip(("edge1", "edge2"), factors, strict=True):
        manager.handle(0.0, planned(server, factor))
        manager.handle(0.0, link(server))
    return manager


def test_the_first_profile_is_planned_with_before_the_second_comes() -> None:
    manager = ManagerCore(PLANNING, problem(), 0.0, ("edge1", "edge2"))
    manager.handle(0.0, link("edge2"))
    first = the(TellPlan, manager.handle(0.1, planned("edge2")))
    assert (first.plan.server, first.spares) == ("edge2", ())


def test_of_equal_servers_the_favourite_is_used_and_the_other_stands_by() -> None:
    manager = core()
    assert manager.told.plan.server == "edge1"
    (spare,) = manager.told.spares
    plan = manager.told.plan
    assert spare.name == "edge2"
    assert spare.remote_s == pytest.approx(plan.transfer_s + plan.edge_s)
    assert spare.transfer_s == pytest.approx(plan.transfer_s)


def test_the_faster_server_is_used_and_a_little_faster_one_is_not_worth_a_change() -> None:
    assert core(factors=(0.1, 0.01)).told.plan.server == "edge2"
    slow = replace(PLANNING, plan_margin=0.1)
    assert core(slow, (0.1, 0.09)).told.plan.server == "edge1"


def test_a_car_returns_to_its_favourite_once_that_is_as_good_and_stays() -> None:
    manager = core(replace(PLANNING, plan_margin=0.1))
    assert the(TellPlan, manager.handle(1.0, dead("edge1"))).plan.server == "edge2"
    stands_by = the(TellPlan, manager.handle(2.0, link("edge1", 6.0)))
    assert stands_by.plan.server == "edge2"
    back = the(TellPlan, manager.handle(3.0, link("edge1", 7.9)))  # as good, but for noise
    assert (back.plan.server, "favourite" in back.why) == ("edge1", True)
    assert told(manager.handle(4.0, link("edge2", 8.1))) is None


def test_a_better_link_moves_the_car_and_a_dead_one_at_once() -> None:
    manager = core()
    moved = the(TellPlan, manager.handle(1.0, link("edge2", 80.0, 0.001)))
    assert (moved.plan.server, moved.uplink_bps) == ("edge2", 80e6)
    back = the(TellPlan, manager.handle(2.0, dead("edge2")))
    assert (back.plan.server, back.spares) == ("edge1", ())
    assert "cannot be kept" in back.why
    alone = the(TellPlan, manager.handle(3.0, dead("edge1")))
    assert alone.plan.device_only
    assert the(TellPlan, manager.handle(4.0, link("edge2"))).plan.server == "edge2"


def test_the_head_hears_of_a_spare_that_goes_and_comes_back() -> None:
    manager = core()
    gone = the(TellPlan, manager.handle(1.0, dead("edge2")))
    assert (gone.plan.server, gone.spares) == ("edge1", ())
    assert told(manager.handle(1.1, dead("edge2"))) is None
    again = the(TellPlan, manager.handle(2.0, link("edge2")))
    assert [spare.name for spare in again.spares] == ["edge2"]
    assert told(manager.handle(2.1, link("edge2", 7.0))) is None
    slow = the(TellPlan, manager.handle(3.0, link("edge2", 2.0)))
    assert (slow.plan.server, len(slow.spares)) == ("edge1", 1)
    # One that could not be in time is of no use.
    assert the(TellPlan, manager.handle(4.0, link("edge2", 0.2))).spares == ()


def test_a_draining_server_loses_its_cars_at_once_and_gets_them_back() -> None:
    manager = core()
    moved = the(TellPlan, manager.handle(1.0, DrainSet("edge1", True)))
    assert (moved.plan.server, moved.spares) == ("edge2", ())
    assert "edge1 is being drained" in moved.why
    assert told(manager.handle(1.1, link("edge1", 80.0))) is None  # however good its link
    assert told(manager.handle(1.2, DrainSet("edge1", True))) is None
    both = the(TellPlan, manager.handle(2.0, DrainSet("edge1", False)))
    assert both.plan.server == "edge1"


def test_each_server_is_known_by_its_own_frames() -> None:
    manager = core()

    def result(server: str, edge_slowdown: float) -> ResultCame:
        epoch = manager.told.epoch
        return ResultCame(
            epoch, Place.EDGE, 2, 0.05, 0.001, 0.022, math.nan, edge_slowdown, 0.2, 12_000,
            server=server,
        )  # fmt: skip

    known = manager.situation(0.0, manager.servers.by_name["edge2"]).sites[1].overhead
    for n in range(20):
        manager.handle(0.1 * n, result("edge1", 9.0))
    edge1, edge2 = (
        manager.situation(2.0, server).sites[1] for server in manager.servers.by_name.values()
    )
    assert (edge1.id, edge2.id) == ("edge1", "edge2")
    assert edge1.slowdown > 5 and edge2.slowdown == 1.0
    assert edge1.overhead.frame_s > 0.01 and edge2.overhead == known
    assert the(TellPlan, manager.handle(2.0, link("edge1"))).plan.server == "edge2"


def test_a_frame_that_another_server_finished_says_nothing_of_the_plan() -> None:
    manager = core()
    before = manager.servers.by_name["edge2"].overheads.of("edge", 1.0)
    came = ResultCame(
        manager.told.epoch, Place.EDGE, 2, 0.29, 0.01, 0.02, math.nan, 1.0, 0.2, 12_000,
        server="edge2",
    )  # fmt: skip
    manager.handle(1.0, came)
    assert manager.servers.by_name["edge2"].overheads.of("edge", 1.0) == before


def test_what_comes_from_a_server_that_nobody_named_is_ignored() -> None:
    manager = core()
    assert not manager.handle(1.0, link("edge3"))


class Failing(Policy):
    """Plans for nobody."""

    def plan(self, situation: Situation) -> Plan:
        raise RuntimeError("broken")


def test_a_policy_that_fails_for_one_server_leaves_the_other() -> None:
    manager = core()
    slower = with_edge(0.5)
    actions = manager.handle(1.0, ProblemChanged(slower, Failing(), "another profile", "edge1"))
    question = the(Ask, actions).question
    actions = manager.handle(1.1, AnswerFound(question, question.answer()))
    assert not [a for a in actions if isinstance(a, Complain)]
    assert the(TellPlan, actions).plan.server == "edge2"


class Unaware(Policy):
    """Takes its time, and calls every server edge."""

    def plan(self, situation: Situation) -> Plan:
        stages = (Stage("car", 0.0), Stage("edge", 0.01))
        return Plan(2, stages, (Crossing(("image",), "f32", 12_000, 0.01),), latency_s=0.02,
                    expected_latency_s=0.02, period_s=0.02, quality=0.95)  # fmt: skip


def test_a_policy_need_not_know_what_servers_are_called() -> None:
    manager = core()
    slow = with_edge(0.1)
    actions = manager.handle(1.0, ProblemChanged(slow, Unaware(), "another profile", "edge1"))
    question = the(Ask, actions).question
    assert not question.is_quick
    found = question.answer()
    assert found.plan is not None and found.plan.server in ("edge1", "edge2")
    # Of an answer to what is not asked any more nothing follows.
    manager.handle(1.1, planned("edge2", 0.01))
    assert told(manager.handle(1.2, AnswerFound(question, found))) is None


def test_a_policy_that_is_set_plans_for_every_server() -> None:
    manager = core()
    alone = {name: make_policy("device-only", p) for name, p in manager.servers.problems.items()}
    changed = SettingsChanged(replace(PLANNING, policy="device-only"), alone)
    question = the(Ask, manager.handle(1.0, changed)).question
    answered = AnswerFound(question, question.answer())
    assert the(TellPlan, manager.handle(1.1, answered)).plan.device_only


def test_terms_that_are_set_are_told_with_the_spares() -> None:
    manager = core()
    new = the(TellPlan, manager.handle(1.0, SettingsChanged(replace(PLANNING, deadline_s=0.25))))
    assert new.deadline_s == 0.25
    assert [type(spare) for spare in new.spares] == [Server]
