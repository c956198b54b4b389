"""A policy of somebody else that breaks while the manager runs."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from test_partition_manager import World

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

MOODY = '''
from dapdee_ros.partition.plan import Plan
from dapdee_ros.partition.policies.device_only import DeviceOnly


class Moody(DeviceOnly):
    """All on the car; raises above 10 Mbit/s, plans nonsense above 20."""

    def plan(self, situation):
        mbit = situation.link.uplink_bps / 1e6
        if mbit > 20:
            return Plan(99, ("nowhere",))
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
