"""Publishes the state of a process's nodes on ``/diagnostics``, once a second.

ROS's own diagnostic_updater does the same with one publisher per node. Here all nodes of a process
share one publisher, one timer and one message, since every message costs CPU time on the car.
"""

from __future__ import annotations

import platform
import resource
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from dapdee_ros.estimation.health import Health, Level, Value
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.timers import every
from dapdee_ros.nodes.topics import publish_on

TOPIC = "/diagnostics"
"""Absolute, by the convention of ROS: one topic for the whole robot."""

_PERIOD_S = 1.0
_PAGE_BYTES = resource.getpagesize()
_LEVELS = {level: bytes([level]) for level in Level}


@runtime_checkable
class Diagnosed(Protocol):
    """A node that can report the health of its parts."""

    def diagnose(self, now_s: float) -> Mapping[str, Health]:
        """The health of each task.

        Args:
            now_s: ``time.monotonic()``.
        """


class Reporter:
    """Publishes the health of this process's nodes and of the process itself."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        """Start reporting.

        Args:
            nodes: this process's nodes; the first one publishes for all.
        """
        self._nodes = nodes
        self._host = platform.node()
        self._cpu = (time.monotonic(), time.process_time())
        self._publisher = publish_on(nodes[0], DiagnosticArray, TOPIC, qos.DIAGNOSTICS)
        self._statuses: dict[str, DiagnosticStatus] = {}
        every(nodes[0], _PERIOD_S, self._report)

    def _report(self) -> None:
        now_s = time.monotonic()
        # Also without subscribers: counters over the last seconds have to be sampled.
        said = {
            f"{node.get_fully_qualified_name()}: {task}": health
            for node in self._nodes
            if isinstance(node, Diagnosed)
            for task, health in node.diagnose(now_s).items()
        }
        said[f"{self._nodes[0].get_fully_qualified_name()}: process"] = self._process(now_s)
        if not self._publisher.get_subscription_count():
            return
        message = DiagnosticArray(status=[self._status(n, h) for n, h in said.items()])
        message.header.stamp = self._nodes[0].get_clock().now().to_msg()
        self._publisher.publish(message)

    def _process(self, now_s: float) -> Health:
        used_s = time.process_time()
        (before_s, used_before_s), self._cpu = self._cpu, (now_s, used_s)
        cores = (used_s - used_before_s) / max(now_s - before_s, 1e-3)
        memory_bytes = resident_bytes()
        values: dict[str, Value] = {"cpu_cores": cores, "memory_bytes": memory_bytes}
        message = f"{memory_bytes / 1e6:.0f} MB, {cores:.1%} of a core"
        return Health(Level.OK, message, values)

    def _status(self, name: str, health: Health) -> DiagnosticStatus:
        # Reuses the same objects: creating messages is most of the cost.
        status = self._statuses.get(name)
        if status is None:
            status = DiagnosticStatus(name=name, hardware_id=self._host)
            self._statuses[name] = status
        status.level = _LEVELS[health.level]
        status.message = health.message
        pairs = status.values
        if [pair.key for pair in pairs] != list(health.values):
            status.values = pairs = [KeyValue(key=key) for key in health.values]
        for pair, value in zip(pairs, health.values.values(), strict=True):
            pair.value = f"{value:.4g}" if isinstance(value, float) else str(value)
        return status


def resident_bytes(process: int | str = "self") -> int:
    """Resident memory of a process in bytes; 0 if the system does not report it."""
    try:
        pages = Path(f"/proc/{process}/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * _PAGE_BYTES
