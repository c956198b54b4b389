"""What a live manager did is what its core does under the simulator's driver.

A real manager, over real DDS, lives through links that come and go, results, settings and a policy
that takes its time. Every event of its core is recorded with its time, and handed to the driver of
the simulator, which has to come to the same actions.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from rclpy.parameter import Parameter

import dapdee_ros.msg as msg
from dapdee_ros.core.manager import ManagerCore
from dapdee_ros.core.manager_events import (
    Action,
    AnswerFound,
    Ask,
    Complain,
    Event,
    Foretell,
    FramesCounted,
    LinkEstimated,
    LoadMeasured,
    ProblemChanged,
    Question,
    ResultCame,
    SayAlive,
    SettingsChanged,
    TellPlan,
    TimePassed,
    WakeAt,
)
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.nodes import partition_manager as manager_node
from dapdee_ros.nodes import qos
from dapdee_ros.simulation.agenda import Agenda
from dapdee_ros.simulation.manager import SimulatedManager

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

CARD = read_card(find_model("roadsigns"))
EARLY_S = 0.005  # a timer of the middleware may be early by less than this


@dataclass
class Record:
    """A core's events with their times, and its actions."""

    begun: tuple[Any, ...] = ()
    entries: list[tuple[float, Event, list[Action]]] = field(default_factory=list)

    def events(self, kind: type) -> list[tuple[float, Any]]:
        return [(now_s, event) for now_s, event, _ in self.entries if isinstance(event, kind)]

    def actions(self, kind: type) -> list[Any]:
        return [a for _, _, actions in self.entries for a in actions if isinstance(a, kind)]


def recording(record: Record) -> type[ManagerCore]:
    class Recorded(ManagerCore):
        def __init__(self, *arguments: Any) -> None:
            record.begun = arguments
            super().__init__(*arguments)

        def handle(self, now_s: float, event: Event) -> list[Action]:
            actions = super().handle(now_s, event)
            record.entries.append((now_s, event, [*actions]))
            return actions

    return Recorded


def live(ros: RosWorld, monkeypatch: pytest.MonkeyPatch) -> Record:
    """Have a manager live through all of that."""
    record = Record()
    monkeypatch.setattr(manager_node, "ManagerCore", recording(record))
    manager = ros.add(manager_node.PartitionManager())
    node = ros.node("told")
    links = node.create_publisher(msg.LinkQuality, "link_quality", qos.STATE)
    loads = node.create_publisher(msg.NodeLoad, "car/load", qos.STATE)
    results = node.create_publisher(msg.InferenceResult, "inference", qos.RESULT)
    ledgers = node.create_publisher(msg.FrameLedger, "ledger", qos.LATCHED)
    profiles = {
        side: node.create_publisher(msg.DeviceProfile, f"{side}/profile", qos.LATCHED)
        for side in ("car", "edge")
    }
    everyone = (links, loads, results, ledgers, *profiles.values())
    ros.spin_until(lambda: all(p.get_subscription_count() for p in everyone), 30.0, "the manager")

    def told(least: int) -> None:
        ros.spin_until(lambda: len(record.actions(TellPlan)) >= least, 20.0, f"plan {least}")

    def link(mbit: float, connected: bool = True) -> None:
        before = len(record.events(LinkEstimated))
        links.publish(
            msg.LinkQuality(
                uplink_bps=1e6 * mbit, rtt_s=0.01, connected=connected, uplink_spread=0.1
            )
        )
        ros.spin_until(lambda: len(record.events(LinkEstimated)) > before, 10.0, "the link")

    def frame(number: int, **values: Any) -> None:
        plan = record.actions(TellPlan)[-1]
        results.publish(
            msg.InferenceResult(
                frame_number=number,
                plan_epoch=plan.epoch,
                exit=plan.plan.exit_number,
                **{"latency_s": 0.1, "head_s": 0.05, "car_slowdown": 1.5, **values},
            )
        )

    def change(name: str, value: Any) -> None:
        (done,) = manager.set_parameters([Parameter(name, value=value)])
        assert done.successful, done.reason

    names = [n.name for n in CARD.dag.nodes]
    for side, seconds in (("car", 0.5), ("edge", 0.01)):
        each = [0.0] + [seconds / (len(names) - 1)] * (len(names) - 1)
        profiles[side].publish(
            msg.DeviceProfile(
                model_id=CARD.model_id, device=side, threads=1, node_names=names,
                node_seconds=array("d", each), created="2026-01-01T00:00:00",
            )
        )  # fmt: skip
    told(1)
    link(20.0)
    told(2)
    for number in range(10):
        frame(number, place=msg.InferenceResult.PLACE_EDGE, transfer_s=0.04, edge_slowdown=2.0)
        ledgers.publish(msg.FrameLedger(session=1, accepted=number))
        loads.publish(
            msg.NodeLoad(cpu_ratio=0.1 * number, memory_ratio=0.3, battery_ratio=math.nan)
        )
        link(20.0 - number)
    change("deadline_s", 0.25)
    link(0.0, connected=False)
    link(0.3)
    change("quality_floor", 1.0)  # nothing reaches that
    change("quality_floor", 0.0)
    change("policy", "dads")
    for mbit in (5.0, 6.0, 7.0, 0.5, 30.0):
        link(mbit)
    ros.spin_until(lambda: record.events(AnswerFound), 20.0, "an answer of dads")
    ros.spin_for(1.5)
    change("policy", "exact")
    change("pinned_plan", "exit=1")
    link(10.0)
    ros.spin_for(1.2)
    return record


class ScriptedManager(SimulatedManager):
    """The simulator's driver; answers come, and it is woken up, when that was recorded."""

    def __init__(self, agenda: Agenda, core: ManagerCore, record: Record) -> None:
        super().__init__(
            agenda, core, tell=lambda _: None, foretell=lambda _: None, say_alive=lambda: None
        )
        self._answers = record.events(AnswerFound)
        self._woken = [now_s for now_s, _ in record.events(TimePassed)]

    def _answer(self, question: Question) -> None:
        # Of those that wait the latest wins, so not every one has an answer of its own.
        for now_s, event in self._answers:
            if now_s > self._agenda.now_s and event.question.situation == question.situation:
                self._agenda.at(now_s, self.handle, event)
                return

    def _wakes_at(self, at_s: float) -> float:
        earliest_s = max(at_s - EARLY_S, self._agenda.now_s)
        return next((now_s for now_s in self._woken if now_s > earliest_s), math.inf)


def test_a_live_manager_and_the_simulators_driver_do_the_same(
    ros: RosWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = live(ros, monkeypatch)
    assert {type(event) for _, event, _ in record.entries} >= {
        LinkEstimated, LoadMeasured, ResultCame, FramesCounted, ProblemChanged, SettingsChanged,
        AnswerFound, TimePassed,
    }  # fmt: skip
    for kind in (Ask, TellPlan, Foretell, SayAlive, Complain, WakeAt):
        assert record.actions(kind), kind.__name__
    agenda, played = Agenda(), Record()
    monkeypatch.undo()
    manager = ScriptedManager(agenda, recording(played)(*record.begun), record)
    for now_s, event, _ in record.entries:
        if not isinstance(event, (AnswerFound, TimePassed)):
            agenda.at(now_s, manager.handle, event)
    agenda.run(record.entries[-1][0])
    for step, (was, is_) in enumerate(zip(record.entries, played.entries, strict=False)):
        assert (was[0], type(was[1])) == (is_[0], type(is_[1])), f"event {step}"
        # As text, in which one NaN is another.
        assert repr(was[2]) == repr(is_[2]), f"after event {step}, {type(was[1]).__name__}"
    assert len(record.entries) == len(played.entries)
