"""What `dapdee car` does about processes that die: real ones, killed."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here: run 'make setup' and 'source tools/env.sh'")
pytest.importorskip("dapdee_ros.msg", reason="the messages are not built: run 'make setup'")

import psutil
from rcl_interfaces.srv import GetParameters
from ros_world import Program, RosWorld

import dapdee_ros.msg as msg
from dapdee_ros.nodes import qos
from dapdee_ros.processes import Processes

pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]

START_S = 60.0
BACK_S = 25.0
"""Alone on a desktop's two cores it is 2 to 3 s; here other programs may run beside."""


class Dapdee(Program):
    """A dapdee command in a process of its own, and the nodes that it started."""

    def __init__(self, ros: RosWorld, folder: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "dapdee_ros.cli.main", *arguments]
        super().__init__(command, ros.env, folder / f"dapdee_{arguments[0]}.txt")

    def pid_of(self, executable: str) -> int | None:
        """The process that runs an executable of the package, if there is one now."""
        for child in psutil.Process(self.pid).children():
            try:
                if any(Path(word).name == executable for word in child.cmdline()[:3]):
                    return child.pid
            except psutil.NoSuchProcess:
                continue
        return None

    def kill_one(self, executable: str) -> None:
        pid = self.pid_of(executable)
        assert pid is not None, f"{executable} does not run\n{self.output()}"
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("namespace", ["", "/car1"])
def test_parameters_reach_the_nodes_of_a_car_in_a_namespace(
    ros: RosWorld, tmp_path: Path, namespace: str
) -> None:
    plans = ros.node("asks")
    remaps = {"__ns": namespace} if namespace else {}
    processes = Processes(tmp_path, {**ros.env, "DAPDEE_LINK_KEY": "none"}, remaps=remaps)
    try:
        processes.start("manager", {"deadline_s": 0.123}, names=("partition_manager",))
        service = f"{namespace}/partition_manager/get_parameters"
        client = plans.create_client(GetParameters, service)
        (value,) = ros.call(client, GetParameters.Request(names=["deadline_s"]), START_S).values
        assert value.double_value == 0.123
    finally:
        processes.stop(within_s=8.0)


SLOW_CAR = ("--threads", "1", "--deadline-s", "1", "--emulated-slowdown", "20")


def test_what_is_killed_drives_again(ros: RosWorld, tmp_path: Path) -> None:
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    car = Dapdee(ros, tmp_path, "car", "--edge", "true", *SLOW_CAR)
    back_s: dict[str, float] = {}

    def from_edge_since(count: int, other_than: int | None = None) -> bool:
        new = [r for r in results[count:] if r.place == r.PLACE_EDGE]
        return any(r.session != other_than for r in new)

    def none_from_edge_since(count: int) -> bool:
        return any(r.place != r.PLACE_EDGE for r in results[count:])

    try:
        ros.spin_until(partial(from_edge_since, 0), START_S, "an answer of the edge")
        ros.spin_for(1.0)
        for killed in ("head", "edge", "manager", "camera", "head"):
            old = results[-1].session if killed == "head" else None
            car.kill_one(killed)
            killed_s = time.monotonic()
            if killed == "edge":
                # Until the car knows, and what was under way is answered by the car.
                ros.spin_until(partial(none_from_edge_since, len(results)), 5.0)
            back = partial(from_edge_since, len(results), old)
            ros.spin_until(back, BACK_S, f"{killed} is back\n{car.output()}")
            back_s[killed] = time.monotonic() - killed_s
            said = f"{killed} was ended by signal 9 and is restarted"
            ros.spin_until(lambda said=said: said in car.output(), 5.0, said)  # type: ignore[misc]
        print(f"back after {back_s} s")
        assert car.stop(20.0, signal.SIGTERM) == 0, car.output()
        assert not psutil.pid_exists(car.pid) or not psutil.Process(car.pid).children()
    finally:
        car.kill()


def test_a_killed_command_leaves_no_nodes(ros: RosWorld, tmp_path: Path) -> None:
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    car = Dapdee(ros, tmp_path, "car", "--edge", "true", *SLOW_CAR)
    nodes: list[psutil.Process] = []
    try:
        ros.spin_until(lambda: bool(results), START_S, "a result")
        nodes = psutil.Process(car.pid).children(recursive=True)
        assert len(nodes) >= 5
        os.kill(car.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(nodes, timeout=30.0)
        assert not alive, [node.cmdline() for node in alive]
    finally:
        car.kill()
        for node in nodes:
            with contextlib.suppress(psutil.NoSuchProcess):
                node.kill()


def test_a_process_that_fails_for_good_ends_the_rest(ros: RosWorld, tmp_path: Path) -> None:
    car = Dapdee(ros, tmp_path, "car", "--link", "9000g", *SLOW_CAR)
    try:
        status = car.wait(60.0)
    finally:
        car.kill()
    assert status != 0
    said = car.output()
    assert "link_emulator ended with status 2: it cannot run with these parameters" in said
    assert "9000g" in said.partition("Its log ends:")[2]
    assert "Traceback" not in said
