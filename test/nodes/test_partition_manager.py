"""The manager's decisions over DDS: its input, and what it publishes to the head."""

from __future__ import annotations

import math
import signal
import time
from array import array
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue, SetParametersResult
from rcl_interfaces.srv import SetParameters

import dapdee_ros.msg as msg
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.nodes import qos
from dapdee_ros.report.run_log import RunLog

if TYPE_CHECKING:
    from ros_world import Program, RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

CARD = read_card(find_model("roadsigns"))
START_S = 30.0


class World:
    """The manager and all that it listens to."""

    def __init__(self, ros: RosWorld, **parameters: object) -> None:
        self.ros = ros
        self.program: Program = ros.start(
            "partition_manager", {"deadline_s": 1.0, "min_dwell_s": 0.0, **parameters}
        )
        self.plans: list[msg.PartitionPlan] = ros.collect(msg.PartitionPlan, "plan", qos.LATCHED)
        self.seen = 0
        self.node = ros.node("told")
        self.links = self.node.create_publisher(msg.LinkQuality, "link_quality", qos.STATE)
        self.profiles = {
            side: self.node.create_publisher(msg.DeviceProfile, f"{side}/profile", qos.LATCHED)
            for side in ("car", "edge")
        }
        self.setter = self.node.create_client(SetParameters, "/partition_manager/set_parameters")
        ros.spin_until(lambda: self.links.get_subscription_count(), START_S, "the manager")
        ros.spin_until(self.setter.service_is_ready, START_S)

    def profile(self, side: str, seconds: float, model_id: str = CARD.model_id) -> None:
        names = [node.name for node in CARD.dag.nodes]
        each = seconds / (len(names) - 1)
        self.profiles[side].publish(
            msg.DeviceProfile(
                model_id=model_id,
                device=side,
                threads=1,
                node_names=names,
                node_seconds=array("d", [0.0] + [each] * (len(names) - 1)),
                created="2026-01-01T00:00:00",
            )
        )

    @property
    def model_id(self) -> str:
        return CARD.model_id

    def profile_names(self) -> list[str]:
        return [node.name for node in CARD.dag.nodes]

    def link(self, mbit: float, rtt_s: float = 0.01, connected: bool = True) -> None:
        self.links.publish(
            msg.LinkQuality(
                uplink_bps=1e6 * mbit,
                rtt_s=rtt_s,
                connected=connected,
                age_s=0.0,
                uplink_spread=0.1,
                measurements=1,
            )
        )

    def next_plan(self) -> msg.PartitionPlan:
        """The first plan that this was not asked for before."""
        self.ros.spin_until(lambda: len(self.plans) > self.seen, 10.0, "another plan")
        self.seen += 1
        return self.plans[self.seen - 1]

    def set(self, name: str, value: object) -> SetParametersResult:
        kinds = {
            bool: (ParameterType.PARAMETER_BOOL, "bool_value"),
            float: (ParameterType.PARAMETER_DOUBLE, "double_value"),
            str: (ParameterType.PARAMETER_STRING, "string_value"),
        }
        kind, field = kinds[type(value)]
        parameter = Parameter(name=name, value=ParameterValue(type=kind, **{field: value}))
        request = SetParameters.Request(parameters=[parameter])
        (result,) = self.ros.call(self.setter, request).results
        return result


def test_the_plan_follows_the_link(ros: RosWorld) -> None:
    world = World(ros, gates=False)
    world.profile("car", 0.5)
    world.profile("edge", 0.01)
    alone = world.next_plan()
    assert (alone.epoch, alone.boundary, alone.codec) == (1, [], "")
    assert "no link" in alone.reason
    assert alone.model_id == CARD.model_id

    told_s = time.monotonic()
    world.link(20.0)
    fast = world.next_plan()
    assert time.monotonic() - told_s < 0.5
    assert fast.boundary == [CARD.dag.input]
    # On such a link the image as it is: coding it on this car would take longer than it saves.
    assert fast.codec == "f32"
    whole_bytes = CARD.dag.by_name[CARD.dag.input].output_bytes
    assert list(fast.sites) == ["car", "edge"]
    assert list(fast.predicted_hop_bytes) == pytest.approx([whole_bytes], abs=1)
    expected_s = 0.01 + 8 * whole_bytes / 20e6
    assert list(fast.predicted_hop_s) == pytest.approx([expected_s])
    assert fast.predicted_latency_s < alone.predicted_latency_s

    told_s = time.monotonic()
    world.link(20.0, connected=False)
    assert world.next_plan().boundary == []
    assert time.monotonic() - told_s < 0.5
    assert [plan.epoch for plan in world.plans] == [1, 2, 3]

    # A little better is not worth a change, and nothing new is said.
    world.link(20.0)
    world.next_plan()
    world.link(20.5)
    ros.spin_for(0.5)
    assert len(world.plans) == 4


def test_what_frames_wait_is_foreseen_and_recorded(ros: RosWorld, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    recorder = ros.start("run_recorder", {"path": str(path)})
    world = World(ros, gates=False, pinned_plan="exit=1")
    said: list[msg.PartitionPlan] = ros.collect(msg.PartitionPlan, "plan_forecast", qos.STATE)
    results = world.node.create_publisher(msg.InferenceResult, "inference", qos.RESULT)
    ros.spin_until(lambda: results.get_subscription_count() == 2, START_S, "both listen")
    world.profile("car", 0.5)
    world.profile("edge", 0.01)
    told = world.next_plan()

    def foreseen() -> bool:
        # Every frame waits for a second in the mailbox, beside what it is priced with.
        results.publish(
            msg.InferenceResult(
                plan_epoch=told.epoch,
                exit=1,
                place=msg.InferenceResult.PLACE_CAR,
                head_s=told.predicted_latency_s,
                latency_s=told.predicted_latency_s + 1.0,
            )
        )
        ros.spin_for(0.05)
        return bool(said)

    ros.spin_until(foreseen, START_S, "a forecast")
    assert (said[0].epoch, said[0].exit, said[0].boundary) == (told.epoch, told.exit, told.boundary)
    took_s = told.predicted_latency_s + 1.0
    assert said[0].predicted_latency_s == pytest.approx(took_s)
    assert len(world.plans) == 1  # the plan itself stays as it was told
    assert recorder.stop(with_signal=signal.SIGTERM) == 0
    log = RunLog.load(path)
    assert [p.epoch for p in log.plans] == [told.epoch]
    assert log.forecasts[0].predicted_latency_s == pytest.approx(took_s)


def test_what_had_to_wait_is_decided_without_news(ros: RosWorld) -> None:
    world = World(ros, gates=False, min_dwell_s=3.0)
    world.profile("car", 0.5)
    world.profile("edge", 0.01)
    alone = world.next_plan()
    world.link(20.0)
    sends = world.next_plan()
    # It saves nearly all of the latency, so it waits for a fifth of the dwell.
    told_s = [p.header.stamp.sec + 1e-9 * p.header.stamp.nanosec for p in (alone, sends)]
    assert 0.5 < told_s[1] - told_s[0] < 1.5
    assert (alone.boundary, sends.boundary) == ([], [CARD.dag.input])


def test_wishes_that_take_effect_at_once(ros: RosWorld) -> None:
    world = World(ros, gates=False)
    world.profile("car", 0.5)
    world.profile("edge", 0.01)
    world.next_plan()
    world.link(20.0)
    assert world.next_plan().boundary == [CARD.dag.input]

    assert world.set("keep_raw_on_car", True).successful
    assert CARD.dag.input not in world.next_plan().boundary
    assert world.set("policy", "device-only").successful
    only = world.next_plan()
    assert (only.boundary, only.policy) == ([], "device-only")
    assert world.set("policy", "exact").successful
    world.next_plan()
    assert world.set("pinned_plan", "exit=1").successful
    pinned = world.next_plan()
    assert (pinned.exit, pinned.boundary, pinned.policy) == (1, [], "pinned")

    for name, value, words in (
        ("policy", "no-such-policy", "no-such-policy"),
        ("pinned_plan", "exit=one", "exit=one"),
        ("pinned_plan", "exit=99", "exit 99"),
        ("pinned_plan", "exit=5 boundary=nowhere", "nowhere"),
        ("mode", "fast", "latency"),
    ):
        result = world.set(name, value)
        assert not result.successful
        assert words in result.reason


def test_no_policy_and_no_pinned_plan_breaks_a_hard_condition(ros: RosWorld) -> None:
    world = World(ros, gates=False, policy="edge-only")
    world.profile("car", 0.5)
    world.profile("edge", 0.01)
    world.link(20.0)
    ros.spin_until(lambda: world.plans and world.plans[-1].boundary, 10.0, "the policy's plan")

    assert world.set("keep_raw_on_car", True).successful
    # The policy's plan may have been published once more just before.
    ros.spin_until(lambda: world.plans[-1].boundary == [], 10.0, "a plan that keeps the image")
    instead, world.seen = world.plans[-1], len(world.plans)
    assert "the plan in force cannot be kept" in instead.reason or "parameter" in instead.reason
    assert "EdgeOnly breaks a hard condition: keep_raw_on_car" in instead.reason
    assert "EdgeOnly breaks a hard condition: keep_raw_on_car" in world.program.output()
    world.link(25.0)
    ros.spin_for(0.3)
    assert len(world.plans) == world.seen

    sends = f"exit=4 boundary={CARD.dag.input} codec=f32"
    refused = world.set("pinned_plan", sends)
    assert not refused.successful
    assert "the pinned plan breaks a hard condition: keep_raw_on_car" in refused.reason
    assert world.set("keep_raw_on_car", False).successful
    assert world.set("pinned_plan", sends).successful
    ros.spin_until(lambda: world.plans[-1].policy == "pinned", 10.0, "the pinned plan")
    assert world.plans[-1].boundary == [CARD.dag.input]
    # With that plan pinned, the condition itself is what is refused.
    again = world.set("keep_raw_on_car", True)
    assert not again.successful
    assert "keep_raw_on_car" in again.reason
    shallow = world.set("pinned_plan", "exit=1 boundary=image codec=f32")
    assert shallow.successful
    floor = world.set("quality_floor", CARD.exit_quality[-1] - 0.01)
    assert not floor.successful
    assert "quality_floor" in floor.reason


def test_of_periods_that_count_as_equal_the_lowest_latency_is_taken(ros: RosWorld) -> None:
    world = World(ros, gates=False, mode="throughput")
    world.profile("car", 0.1)
    world.profile("edge", 0.1)
    alone = world.next_plan()
    world.link(20.0)
    shared = world.next_plan()
    assert shared.boundary
    assert shared.predicted_latency_s > alone.predicted_latency_s
    assert world.set("period_tolerance", 1.0).successful
    assert world.next_plan().boundary == []


def test_what_makes_no_sense_is_refused_and_changes_nothing(ros: RosWorld) -> None:
    world = World(ros)
    world.profile("car", 0.5, model_id="another")
    ros.spin_until(lambda: "profile of the car is not used" in world.program.output())
    world.profile("car", 0.5)
    world.profile("edge", math.nan)
    ros.spin_until(lambda: "profile of the edge is not used" in world.program.output())
    assert not world.plans
    world.profile("edge", 0.01)
    world.next_plan()
    world.link(math.nan)
    world.link(-1.0)
    ros.spin_for(0.3)
    assert [plan.boundary for plan in world.plans] == [[]]
    assert world.program.stop() == 0
