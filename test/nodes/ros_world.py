"""A small ROS world for one test: a domain of its own, nodes, and processes that surely end."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import rclpy
from rclpy.client import Client
from rclpy.node import Node

from dapdee_ros.nodes.executor import LeanExecutor

ROOT = Path(__file__).resolve().parents[2]
# The small classifier and its frames, unless a test says otherwise: it starts and runs fastest.
_SMALL_MODEL = {"model": "roadsigns"}
USUAL_PARAMETERS: dict[str, dict[str, Any]] = {
    "camera": {"source": "roadsigns"},
    **dict.fromkeys(("head", "edge", "manager", "partition_manager", "run_recorder"), _SMALL_MODEL),
}
HIGHEST_DOMAIN = 101  # domains above it would use ports that Linux gives to other connections


class DomainLease:
    """A ROS domain that no other test on this machine uses, until it is closed."""

    _leased = 0

    def __init__(self) -> None:
        # Another one each time, so that no test hears the last words of the one before it.
        first = os.getpid() + DomainLease._leased
        DomainLease._leased += 1
        folder = Path(tempfile.gettempdir())
        for step in range(HIGHEST_DOMAIN):
            # Domain 0 is where real robots are.
            domain_id = 1 + (first + step) % HIGHEST_DOMAIN
            lock = (folder / f"dapdee_ros_test_domain_{domain_id}.lock").open("a")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.close()
                continue
            self.domain_id, self._lock = domain_id, lock
            return
        raise RuntimeError(f"all {HIGHEST_DOMAIN} ROS domains are in use by tests")

    def close(self) -> None:
        self._lock.close()


class Program:
    """A node's executable, started; what it printed is kept in a file."""

    def __init__(self, command: list[str], env: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as output:
            # A session of its own, so that whatever it starts can be ended with it.
            self.process = subprocess.Popen(
                command,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def output(self) -> str:
        """What it has printed so far, both streams."""
        return self.log.read_text(errors="replace")

    def wait(self, timeout_s: float = 10.0) -> int:
        """Its exit status; fails the test if it does not end in time."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            # Its faulthandler then says where its threads are.
            self.process.send_signal(signal.SIGABRT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5.0)
            raise AssertionError(
                f"{self.process.args!r} did not end within {timeout_s} s; it printed:\n"
                + self.output()
            ) from None

    def stop(self, timeout_s: float = 10.0, with_signal: signal.Signals = signal.SIGINT) -> int:
        """Ask it to end as Ctrl-C does, and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        return self.wait(timeout_s)

    def kill(self) -> None:
        """End it and what it started, whatever state it is in."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)

    def memory_bytes(self) -> int:
        """Its resident memory (VmRSS)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"process {self.pid} has ended:\n{self.output()}")


class RosWorld:
    """What a test sees of ROS: rclpy's default context on a domain of the test's own.

    Attributes:
        domain_id: that domain.
        env: environment for processes that shall be in it.
        executor: spins the test's nodes.
    """

    def __init__(self, domain_id: int, folder: Path) -> None:
        self.domain_id = domain_id
        self._folder = folder
        self.env = {**os.environ, "PYTHONUNBUFFERED": "1"}
        # Nodes in the test's own process take theirs from here.
        usual = [f"{node}:model:={_SMALL_MODEL['model']}" for node in ("head", "partition_manager")]
        arguments = [word for parameter in usual for word in ("-p", parameter)]
        rclpy.init(args=["--ros-args", *arguments], domain_id=domain_id)
        self.context = rclpy.get_default_context()
        self.executor = LeanExecutor()
        self._nodes: list[Node] = []
        self._programs: list[Program] = []

    def add(self, node: Node) -> Any:
        """Spin this node with the others, and destroy it after the test."""
        self._nodes.append(node)
        self.executor.add_node(node)
        return node

    def node(self, name: str = "test", **options: Any) -> Node:
        """A new node."""
        return self.add(Node(name, **options))

    def collect(self, message_type: type, topic: str, qos: Any, node: Node | None = None) -> list:
        """Subscribe, and return the list to which messages are appended as they come."""
        received: list = []
        node = node or self.node(f"collect_{len(self._nodes)}")
        node.create_subscription(message_type, topic, received.append, qos)
        return received

    def spin_until(
        self, condition: Callable[[], Any], timeout_s: float = 10.0, what: str = ""
    ) -> Any:
        """Spin until the condition is true and return its value; fail the test after timeout_s."""
        end = time.monotonic() + timeout_s
        while not (value := condition()):
            if time.monotonic() > end:
                printed = "".join(
                    f"\n--- {program.log.name}\n{program.output()}" for program in self._programs
                )
                raise AssertionError(f"not within {timeout_s} s: {what or condition}{printed}")
            self.executor.spin_once(timeout_sec=0.02)
        return value

    def call(self, client: Client, request: Any, timeout_s: float = 10.0) -> Any:
        """Ask a service until it answers.

        A server that has not met its client's reader yet takes the request and drops the answer.
        """
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            future = client.call_async(request)
            again = min(end, time.monotonic() + 2.5)
            while not future.done() and time.monotonic() < again:
                self.executor.spin_once(timeout_sec=0.02)
            if future.done():
                return future.result()
        raise AssertionError(f"{client.srv_name} did not answer within {timeout_s} s")

    def meet(self, heard: list[Any], timeout_s: float = 60.0) -> None:
        """Wait for a node's first message, so that its next ones on other topics are heard too.

        Nodes start faster than they are matched with whoever listens.
        """
        self.spin_until(lambda: heard, timeout_s, "a first message")
        self.spin_for(0.3)

    def spin_for(self, duration_s: float) -> None:
        """Spin for so long: only to show that something does not happen."""
        end = time.monotonic() + duration_s
        while (left := end - time.monotonic()) > 0:
            self.executor.spin_once(timeout_sec=left)

    def start(
        self,
        executable: str,
        parameters: Mapping[str, Any] | None = None,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        usual: bool = True,
    ) -> Program:
        """Start one of ``scripts/``.

        Args:
            executable: its name.
            parameters: node parameters by name, beside or instead of ``USUAL_PARAMETERS``.
            arguments: further arguments after ``--ros-args`` (``-r``, ``name:=other``, ...).
            env: further environment variables.
            usual: False leaves ``USUAL_PARAMETERS`` out: all others are as the node has them.
        """
        given = {**(USUAL_PARAMETERS.get(executable, {}) if usual else {}), **(parameters or {})}
        command = [sys.executable, str(ROOT / "scripts" / executable), "--ros-args"]
        for name, value in given.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            if isinstance(value, str):
                text = "'" + value.replace("'", "''") + "'"
            command += ["-p", f"{name}:={text}"]
        command += arguments
        log = self._folder / f"{len(self._programs)}_{executable}.txt"
        program = Program(command, {**self.env, **(env or {})}, log)
        self._programs.append(program)
        return program

    def close(self) -> None:
        """End all processes and nodes."""
        try:
            for program in self._programs:
                program.kill()
        finally:
            for node in reversed(self._nodes):
                node.destroy_node()
            self.executor.shutdown(timeout_sec=1.0)
            rclpy.try_shutdown()
