"""The processes of car and edge, where PyTorch is not installed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.without_torch import WithoutTorch

import dapdee_ros.msg as msg
from dapdee_ros.nodes import qos

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]

START_S = 60.0
PLAN = "exit=5 boundary=backbone.stage2.neck.2 codec=u8"


def test_frames_are_answered_on_both_sides_and_nobody_imports_torch(
    ros: RosWorld, tmp_path: Path
) -> None:
    without = WithoutTorch(tmp_path / "without")
    # Nothing is kept from before, so that measuring the machine is part of it.
    env = {**without.env, "ROS_HOME": str(tmp_path / "home")}
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    links = ros.collect(msg.LinkQuality, "link_quality", qos.STATE)
    pinned = f"partition_manager:pinned_plan:='{PLAN}'"
    deadline = "partition_manager:deadline_s:=2.0"
    programs = [ros.start("manager", {}, "-p", pinned, "-p", deadline, env=env)]
    ros.meet(links)
    programs.append(ros.start("head", {"threads": 1}, env=env))
    programs.append(ros.start("camera", {"rate_hz": 10.0}, env=env))
    ros.spin_until(lambda: results, START_S, "answers of the car alone")
    assert results[0].place == msg.InferenceResult.PLACE_CAR
    programs.append(ros.start("edge", {"threads": 1}, env=env))
    ros.spin_until(
        lambda: any(r.place == msg.InferenceResult.PLACE_EDGE for r in results),
        START_S,
        "answers of the edge",
    )
    assert without.asked() == ""
    for program in programs:
        assert "libtorch" not in Path(f"/proc/{program.pid}/maps").read_text()
        assert program.stop() == 0


def test_the_torch_engine_says_how_to_get_it(ros: RosWorld, tmp_path: Path) -> None:
    without = WithoutTorch(tmp_path / "without")
    head = ros.start("head", {"engine": "torch"}, env=without.env)
    assert head.wait(START_S) == 1
    assert "the engine 'torch' needs PyTorch, which is not installed: pip install" in head.output()
