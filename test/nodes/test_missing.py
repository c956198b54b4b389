"""Who is dead is seen: on /diagnostics, and in the exit status of what can never work."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from sensor_msgs.msg import Image

import dapdee_ros.msg as msg
from dapdee_ros.nodes import qos

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(180)]

START_S = 60.0
KNOWN_S = 2.0
BUSY_S = 2.0
"""Added where other programs may have the processor meanwhile."""


class Board:
    """The latest status of every task."""

    def __init__(self, ros: RosWorld) -> None:
        self.statuses: dict[str, DiagnosticStatus] = {}
        ros.node("board").create_subscription(
            DiagnosticArray, "/diagnostics", self._take, qos.DIAGNOSTICS
        )

    def _take(self, array: DiagnosticArray) -> None:
        self.statuses.update({status.name: status for status in array.status})

    def at(self, level: int, *names: str) -> bool:
        found = [self.statuses.get(name) for name in names]
        return all(status is not None and status.level == bytes([level]) for status in found)


def test_a_killed_head_and_a_killed_edge_are_reported(ros: RosWorld) -> None:
    board = Board(ros)
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    head = ros.start("head", {"threads": 1, "deadline_s": 1.0, "emulated_slowdown": 20.0})
    edge = ros.start("edge", {"threads": 1})
    ros.start("manager", {}, "-p", "partition_manager:deadline_s:=1.0")
    ros.start("camera", {"rate_hz": 10.0})
    watching = ("/partition_manager: head", "/camera: head")
    everything = (*watching, "/partition_manager: edge", "/head: images")
    ros.spin_until(partial(board.at, 0, *everything), START_S, "all is well")
    ros.spin_until(lambda: any(r.place == r.PLACE_EDGE for r in results), START_S)
    ros.spin_for(2.0)
    edge.kill()
    killed_s = time.monotonic()
    ros.spin_until(partial(board.at, 2, "/partition_manager: edge"), KNOWN_S + BUSY_S)
    print(f"edge missed after {time.monotonic() - killed_s:.2f} s")
    assert "dapdee edge" in board.statuses["/partition_manager: edge"].message
    assert board.at(0, *watching)
    head.kill()
    killed_s = time.monotonic()
    ros.spin_until(partial(board.at, 2, *watching), KNOWN_S + BUSY_S)
    print(f"head missed after {time.monotonic() - killed_s:.2f} s")
    for name in watching:
        assert "ros2 run dapdee_ros head" in board.statuses[name].message


def test_two_that_publish_images_are_named(ros: RosWorld) -> None:
    board = Board(ros)
    ros.start("head", {"threads": 1})
    ros.start("camera", {"rate_hz": 5.0})
    ros.spin_until(partial(board.at, 0, "/head: images"), START_S)
    ros.node("driver").create_publisher(Image, "image_raw", qos.IMAGE)
    ros.spin_until(partial(board.at, 1, "/head: images"), START_S)
    said = board.statuses["/head: images"].message
    assert "/camera" in said and "/driver" in said and "source:=none" in said


@pytest.mark.parametrize(
    ("executable", "parameters", "words"),
    [
        ("manager", ("partition_manager:policy:=foo",), "policy 'foo' is unknown"),
        ("manager", ("partition_manager:policy:=none.such:Thing",), "cannot be loaded"),
        ("head", ("max_in_flight:=100",), "max_in_flight"),
        ("head", ("accuracy_floor:=0.9",), "accuracy_floor is now called quality_floor"),
        ("manager", ("accuracy_tolerance:=0.1",), "accuracy_tolerance is now called"),
        ("link_emulator", ("link:=9000g",), "9000g"),
    ],
)
def test_what_can_never_work_ends_at_the_start(
    ros: RosWorld, executable: str, parameters: tuple[str, ...], words: str
) -> None:
    arguments = [word for parameter in parameters for word in ("-p", parameter)]
    program = ros.start(executable, {}, *arguments)
    assert program.wait(START_S) == 2
    assert words in program.output()
    assert "Traceback" not in program.output()


def test_unknown_names_in_a_parameter_file_are_warned_of(ros: RosWorld, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(
        "/**/camera:\n  ros__parameters:\n    rate_hs: 5.0\n"
        "/**:\n  ros__parameters:\n    deadline_s: 0.5\n    zzz: 1\n"
    )
    camera = ros.start("camera", {"source": "none"}, "--params-file", str(own))
    manager = ros.start("manager", {}, "--params-file", str(own))
    ros.spin_until(lambda: "zzz" in camera.output() and "zzz" in manager.output(), START_S)
    assert "parameter rate_hs is unknown here and has no effect: did you mean" in camera.output()
    # Others of this package take it, so for all nodes it may be said.
    assert "deadline_s is unknown" not in camera.output() + manager.output()
    assert camera.stop() == manager.stop() == 0
