"""A policy of somebody else that breaks while the manager runs."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from test_partition_manager import World

import dapdee_ros.msg as msg
from dapdee_ros.nodes import qos

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

MOODY = '''
from dapdee_ros.planning.plan import Crossing, Plan, Stage
from dapdee_ros.planning.policies.device_only import DeviceOnly


class Moody(DeviceOnly):
    """All on the car; raises above 10 Mbit/s, plans nonsense above 20."""

    def plan(self, situation):
        mbit = situation.link.rate_bps / 1e6
        if mbit > 20:
            return Plan(99, (Stage("car"), Stage("edge")), (Crossing(("nowhere",)),))
        if mbit > 10:
            raise RuntimeError("too fast for me")
        return super().plan(situation)
'''


def test_the_manager_keeps_the_last_good_plan_and_says_so(ros: RosWorld, tmp_path: Path) -> None:
    (tmp_path / "moody.py").write_text(MOODY)
    ros.env["PYTHONPATH"] = os.pathsep.join([str(tmp_path), ros.env.get("PYTHONPATH", "")])
    world = World(ros, policy="moody:Moody")

    def is_said(words: str) -> bool:
        return words in world.program.output()

    world.profile("car", 0.5)
    world.profile("edge", 0.01)
    good = world.next_plan()
    assert (good.boundary, good.policy) == ([], "moody:Moody")

    for mbit, words in (
        (12.0, "no new plan: policy Moody failed: RuntimeError: too fast for me"),
        (22.0, "no new plan: policy Moody returned a plan that cannot run"),
    ):
        world.link(mbit)
        ros.spin_until(partial(is_said, words), 10.0, words)
        world.link(mbit)
        ros.spin_for(0.3)
        assert world.program.output().count(words) == 1, "said once, not for every message"
        assert len(world.plans) == 1, "the head keeps what it has"

    # Another one takes over: plans go on.
    world.link(5.0)
    assert world.set("policy", "edge-only").successful
    other = world.next_plan()
    assert (other.boundary, other.policy) == (["image"], "edge-only")
    assert world.program.stop() == 0


SLOW = '''
import time

from dapdee_ros.planning.policies.device_only import DeviceOnly


class Slow(DeviceOnly):
    """All on the car, after a second and a half of computing."""

    def plan(self, situation):
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            pass
        return super().plan(situation)
'''


def test_a_slow_policy_does_not_pass_for_a_slow_link(ros: RosWorld, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    ros.env["PYTHONPATH"] = os.pathsep.join([str(tmp_path), ros.env.get("PYTHONPATH", "")])
    links: list[msg.LinkQuality] = ros.collect(msg.LinkQuality, "link_quality", qos.STATE)
    plans: list[msg.PartitionPlan] = ros.collect(msg.PartitionPlan, "plan", qos.LATCHED)
    ros.start("edge", {"threads": 1})
    ros.start("head", {"threads": 1})
    manager = ros.start("manager", {}, "-p", "partition_manager:policy:=slow:Slow")
    ros.spin_until(lambda: plans, 60.0, "a plan")
    ros.spin_until(lambda: links and links[-1].connected, 60.0, "the edge")
    links.clear()
    end_s = time.monotonic() + 6.0
    ros.spin_until(lambda: time.monotonic() > end_s)
    # A look at the link is due every second, and every one has a plan worked out.
    assert len(links) >= 5
    assert all(link.connected for link in links)
    assert max(link.rtt_s for link in links) < 0.2
    assert manager.stop() == 0


ENDING = """
import sys

from dapdee_ros.planning.policies.device_only import DeviceOnly


class Ending(DeviceOnly):
    def plan(self, situation):
        sys.exit(0)
"""


def test_nobody_on_the_network_has_the_manager_import_what_they_like(
    ros: RosWorld, tmp_path: Path
) -> None:
    trace = tmp_path / "imported"
    (tmp_path / "mine.py").write_text(
        "from dapdee_ros.planning.policies.device_only import DeviceOnly as Mine\n"
    )
    (tmp_path / "planted.py").write_text(
        f"open({str(trace)!r}, 'w').close()\n"
        "from dapdee_ros.planning.policies.device_only import DeviceOnly\n"
    )
    ros.env["PYTHONPATH"] = os.pathsep.join([str(tmp_path), ros.env.get("PYTHONPATH", "")])
    world = World(ros, policy="mine:Mine")
    early = world.set("policy", "planted:DeviceOnly")
    assert not early.successful, "refused before there is anything to plan, too"
    world.profile("car", 0.5)
    world.profile("edge", 0.01)
    assert world.next_plan().policy == "mine:Mine"
    for path in ("sys:exit", "planted:DeviceOnly", "planted:DeviceOnly+any"):
        result = world.set("policy", path)
        assert not result.successful
        assert "at the start" in result.reason
    assert not trace.exists()
    # Built-in ones, and back to what it was started with.
    world.link(20.0)
    for name in ("edge-only", "mine:Mine"):
        assert world.set("policy", name).successful
        assert world.next_plan().policy == name
    assert world.program.stop() == 0


def test_a_policy_that_wants_to_end_the_process_does_not(ros: RosWorld, tmp_path: Path) -> None:
    (tmp_path / "ending.py").write_text(ENDING)
    ros.env["PYTHONPATH"] = os.pathsep.join([str(tmp_path), ros.env.get("PYTHONPATH", "")])
    world = World(ros, policy="ending:Ending")
    world.profile("car", 0.5)
    world.profile("edge", 0.01)
    words = "policy Ending failed: SystemExit"
    ros.spin_until(lambda: words in world.program.output(), 10.0, words)
    # There is no good plan yet, so the car works alone.
    alone = world.next_plan()
    assert alone.boundary == []
    assert words in alone.reason
    world.link(5.0)
    assert world.set("policy", "edge-only").successful
    other = world.next_plan()
    assert (other.boundary, other.policy) == (["image"], "edge-only")
    assert world.program.stop() == 0
