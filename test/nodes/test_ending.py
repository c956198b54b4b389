"""How a process of nodes ends: every way with its status, and none without a word."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ros_world import Program, RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

NODE = """
import sys, threading, time
from rclpy.node import Node
from std_msgs.msg import Empty
from dapdee_ros.nodes.ending import StopProcess
from dapdee_ros.nodes.process import run_nodes
from dapdee_ros.nodes.timers import every
from dapdee_ros.runtime.outbox import Outbox

class Odd(Exception):
    pass

class Worse(BaseException):
    pass

class Ends(Node):
    def __init__(self):
        super().__init__("ends")
        self.way = sys.argv[1]
        if self.way == "start":
            self.leave()
        every(self, 0.2, self.tick)

    def leave(self):
        {leave}

    def tick(self):
        print("ticks", flush=True)
        if self.way == "callback":
            self.leave()
        elif self.way == "thread":
            threading.Thread(target=self.leave, name="worker", daemon=True).start()
        elif self.way == "outbox":
            Outbox(lambda item: self.leave(), 1).put(1)

    def diagnose(self, now_s):
        if self.way == "diagnose":
            self.leave()
        return {{}}

    def destroy_node(self):
        super().destroy_node()
        if self.way == "destroy":
            self.leave()

sys.exit(run_nodes(lambda: [Ends()], [sys.argv[0]]))
"""
LEAVES = {
    "sys.exit()": ("SystemExit", 1),
    "sys.exit(0)": ("SystemExit", 1),
    "sys.exit('why')": ("SystemExit", 1),
    "sys.exit(7)": ("SystemExit", 7),
    "raise KeyboardInterrupt": ("KeyboardInterrupt", 1),
    "raise Odd": ("Odd", 1),
    "raise Worse": ("Worse", 1),
}
WAYS = ("callback", "thread", "outbox", "diagnose", "start", "destroy")


def started(ros: RosWorld, tmp_path: Path, leave: str, way: str) -> subprocess.Popen[str]:
    program = tmp_path / "ends.py"
    program.write_text(NODE.format(leave=leave))
    return subprocess.Popen(
        [sys.executable, str(program), way],
        env=ros.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("leave", LEAVES)
def test_nothing_that_leaves_from_inside_ends_with_0(
    ros: RosWorld, tmp_path: Path, leave: str
) -> None:
    error, status = LEAVES[leave]
    ways = [
        way
        for way in WAYS
        # A send that fails is logged and counted; the next may succeed. Ctrl-C at the start is one.
        if (way, leave) not in {("outbox", "raise Odd"), ("start", "raise KeyboardInterrupt")}
    ]
    running = {way: started(ros, tmp_path, leave, way) for way in ways}
    if "destroy" in running:
        assert running["destroy"].stdout is not None
        assert running["destroy"].stdout.readline() == "ticks\n"
        running["destroy"].send_signal(signal.SIGINT)
    for way, process in running.items():
        try:
            output, _ = process.communicate(timeout=40)
        finally:
            process.kill()
        said = f"{way} ended with {process.returncode}: {output}"
        assert error in output, said
        assert process.returncode == status, said


@pytest.mark.parametrize(
    ("leave", "status"), [("raise StopProcess", 0), ("raise StopProcess(3)", 3)]
)
def test_an_end_in_order_has_the_status_that_was_given(
    ros: RosWorld, tmp_path: Path, leave: str, status: int
) -> None:
    process = started(ros, tmp_path, leave, "callback")
    output, _ = process.communicate(timeout=40)
    assert process.returncode == status, output
    assert output == "ticks\n"


@pytest.mark.parametrize("way", ["callback", "thread", "start"])
def test_a_crash_of_native_code_says_where_it_was(ros: RosWorld, tmp_path: Path, way: str) -> None:
    crash = "import ctypes; ctypes.string_at(0)"
    process = started(ros, tmp_path, crash, way)
    output, _ = process.communicate(timeout=40)
    assert process.returncode == -signal.SIGSEGV, output
    assert "Segmentation fault" in output
    assert "in leave" in output


def ended(ros: RosWorld, folder: Path, leave: str) -> tuple[int, str]:
    """Status and output of a process whose node does this at its end, watched impatiently."""
    program = folder / "ends.py"
    program.write_text(
        "import dapdee_ros.nodes.ending as ending\nending._HELD_S = 1.0\n"
        + NODE.format(leave=leave)
    )
    process = subprocess.Popen(
        [sys.executable, str(program), "destroy"],
        env=ros.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ticks\n"
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    return process.returncode, output


def test_a_middleware_that_never_lets_go_does_not_keep_the_process(
    ros: RosWorld, tmp_path: Path
) -> None:
    # As Fast DDS does it now and then: with Python's lock held, so that no thread of Python runs.
    status, output = ended(ros, tmp_path, "import ctypes; ctypes.PyDLL(None).sleep(60)")
    assert status == 1
    assert "in leave" in output  # where it hung


def test_last_work_that_takes_long_is_completed(ros: RosWorld, tmp_path: Path) -> None:
    status, output = ended(ros, tmp_path, "time.sleep(3.0); print('done', flush=True)")
    assert status == 0, output
    assert output.endswith("done\n")


def said_to_expect_a_driver(camera: Program) -> bool:
    return "another driver" in camera.output()


def test_an_interrupt_at_any_moment_of_the_start_ends_in_order(ros: RosWorld) -> None:
    for after_s in (0.0, 0.02, 0.05, 0.1, 0.2):
        camera = ros.start("camera", {"source": "none"})
        ros.spin_until(partial(said_to_expect_a_driver, camera), 30.0)
        time.sleep(after_s)
        assert camera.stop() == 0, camera.output()
        assert "Traceback" not in camera.output()
        assert "terminate" not in camera.output()
