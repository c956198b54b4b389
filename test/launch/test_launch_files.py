"""The launch files, where ``launch`` is installed, and the system that ``ros2 launch`` starts."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import psutil
import pytest

try:
    from launch.launch_description_sources import PythonLaunchDescriptionSource
    from launch.launch_service import LaunchService
    from launch_ros.actions import Node
except ImportError as error:
    pytest.skip(
        f"launch and launch_ros, which come with a ROS 2 installation, are missing ({error})",
        allow_module_level=True,
    )

from ros_world import ROOT, Program

import dapdee_ros.msg as msg
from dapdee_ros.nodes import qos
from dapdee_ros.process_table import CAR_ARGUMENTS, EDGE_ARGUMENTS

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(180)]

FILES = {"car": CAR_ARGUMENTS, "edge": EDGE_ARGUMENTS}
START_S = 90.0
END_S = 25.0


def nodes(name: str, **arguments: str) -> list[Any]:
    """The nodes that a launch file would start."""
    context = LaunchService(argv=[]).context
    source = PythonLaunchDescriptionSource(str(ROOT / "launch" / f"{name}.launch.py"))
    description = source.get_launch_description(context)
    context.launch_configurations.update(arguments)
    found = [item for entity in description.entities for item in entity.visit(context) or []]
    assert all(isinstance(item, Node) for item in found)
    return found


@pytest.mark.parametrize("name", FILES)
def test_every_launch_argument_is_described(name: str) -> None:
    context = LaunchService(argv=[]).context
    source = PythonLaunchDescriptionSource(str(ROOT / "launch" / f"{name}.launch.py"))
    arguments = source.get_launch_description(context).get_launch_arguments()
    assert {a.name for a in FILES[name]} < {a.name for a in arguments}
    mute = [a.name for a in arguments if a.description in ("", "no description given")]
    assert not mute
    assert all(a.default_value is not None for a in arguments)


def test_the_launch_files_start_what_the_table_says() -> None:
    def started(name: str, **arguments: str) -> set[str]:
        return {node.node_executable for node in nodes(name, **arguments)}

    assert started("edge") == {"edge", "load_monitor"}
    assert started("car") == {"camera", "head", "manager", "edge", "load_monitor"}
    assert started("car", edge="false", link="drive", viewer="true") == {
        "camera",
        "head",
        "manager",
        "link_emulator",
        "viewer",
    }


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ({"deadline_s": "soon"}, "deadline_s is 'soon', expected a number"),
        ({"params_file": "/none.yaml"}, "there is no file /none.yaml"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(argument: dict[str, str], words: str) -> None:
    with pytest.raises(RuntimeError, match=words):
        nodes("car", **argument)


RUN_LAUNCH = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
arguments = [tuple(word.split(":=", 1)) for word in sys.argv[2:]]
service = LaunchService(argv=sys.argv[2:], noninteractive=True)
source = PythonLaunchDescriptionSource(sys.argv[1])
include = IncludeLaunchDescription(source, launch_arguments=arguments)
service.include_launch_description(LaunchDescription([include]))
sys.exit(service.run())
"""


def launched(ros: RosWorld, folder: Path, name: str, *arguments: str) -> Program:
    """As ``ros2 launch``, which is not needed for it."""
    command = [sys.executable, "-c", RUN_LAUNCH, str(ROOT / "launch" / f"{name}.launch.py")]
    env = {**ros.env, "PYTHONUNBUFFERED": "1"}
    return Program([*command, *arguments], env, folder / "launch.txt")


def has_changed(results: list[msg.InferenceResult], session: int) -> bool:
    return results[-1].session != session


def test_what_is_killed_is_started_again(ros: RosWorld, tmp_path: Path) -> None:
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    program = launched(ros, tmp_path, "car", "threads:=1", "deadline_s:=2")
    try:
        ros.spin_until(lambda: len(results) >= 10, START_S, "ten results")
        for _ in range(2):
            session = results[-1].session
            for child in psutil.Process(program.pid).children(True):
                if any(word.endswith("/head") for word in child.cmdline()[:3]):
                    child.kill()
            another = partial(has_changed, results, session)
            ros.spin_until(another, START_S, "another head")
        os.killpg(program.pid, signal.SIGINT)
        assert program.wait(END_S) == 0, program.output()
    finally:
        program.kill()
    said = program.output()
    assert "head was ended by signal 9 and is restarted in 0.1 s" in said
    assert "head was ended by signal 9 and is restarted in 0.2 s" in said


def test_launch_fails_where_a_process_fails_for_good(ros: RosWorld, tmp_path: Path) -> None:
    program = launched(ros, tmp_path, "car", "threads:=1", "link:=9000g")
    try:
        status = program.wait(START_S)
    finally:
        program.kill()
    assert status == 1, program.output()
    assert "link_emulator ended with status 2: it cannot run with these param" in program.output()


def test_a_camera_at_its_end_ends_nothing_else(ros: RosWorld, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    (tmp_path / "signs").mkdir()
    cv2.imwrite(str(tmp_path / "signs" / "one.png"), np.zeros((64, 64, 3), np.uint8))
    own.write_text("/**/camera:\n  ros__parameters:\n    exit_at_end: true\n    loop: false\n")
    program = launched(
        ros,
        tmp_path,
        "car",
        *("edge:=false", "threads:=1", "source:=images", f"path:={tmp_path / 'signs'}"),
        f"params_file:={own}",
    )
    try:
        ros.spin_until(lambda: "camera ended normally" in program.output(), START_S, "its end")
        ros.spin_for(1.0)
        assert program.process.poll() is None
        os.killpg(program.pid, signal.SIGINT)
        assert program.wait(END_S) == 0, program.output()
    finally:
        program.kill()


@pytest.mark.skipif(not shutil.which("ros2"), reason="there is no ros2 command here")
def test_ros2_launch_gives_results_and_leaves_nothing(ros: RosWorld, tmp_path: Any) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("/**/camera:\n  ros__parameters:\n    rate_hz: 5.0\n    frame_id: own\n")
    results = ros.collect(msg.InferenceResult, "car1/inference", qos.RESULT)
    plans = ros.collect(msg.PartitionPlan, "car1/plan", qos.LATCHED)
    links = ros.collect(msg.LinkQuality, "car1/link_truth", qos.STATE)
    ledgers = ros.collect(msg.FrameLedger, "car1/ledger", qos.LATCHED)
    arguments = [
        "edge:=true",
        "link:=drive",
        "namespace:=car1",
        "threads:=1",
        "deadline_s:=2",
        f"params_file:={own}",
    ]
    program = Program(
        ["ros2", "launch", "dapdee_ros", "car.launch.py", *arguments],
        {**ros.env, "PYTHONUNBUFFERED": "1"},
        tmp_path / "launch.txt",
    )
    try:
        ros.spin_until(
            lambda: len(results) >= 10 and plans and links, START_S, "ten results and a plan"
        )
        family = [psutil.Process(program.pid), *psutil.Process(program.pid).children(True)]
        assert len(family) == 7, program.output()
        assert plans[-1].deadline_s == pytest.approx(2)  # the argument
        assert results[-1].header.frame_id == "own"  # the file
        # As the terminal does at Ctrl-C.
        os.killpg(program.pid, signal.SIGINT)
        program.wait(END_S)
        ros.spin_for(0.3)
    finally:
        program.kill()
    _, left = psutil.wait_procs(family, timeout=0.1)
    assert not left, program.output()
    assert "process has died" not in program.output()
    assert "Traceback" not in program.output()
    assert ledgers[-1].accepted == ledgers[-1].results + ledgers[-1].drops
    assert ledgers[-1].in_flight == 0
