"""The small process on the car: partition manager, link monitor and load monitor together."""

from __future__ import annotations

from rclpy.node import Node

from dapdee_ros.nodes.link_monitor import LinkMonitor
from dapdee_ros.nodes.load_monitor import LoadMonitor
from dapdee_ros.nodes.partition_manager import PartitionManager
from dapdee_ros.nodes.process import run_nodes


def main() -> int:
    """Run the three nodes on one thread until the process is stopped."""
    return run_nodes(_make)


def _make() -> list[Node]:
    # One subscription serves all three: each further one would cost a copy and a callback per
    # frame.
    link = LinkMonitor(hear_results=False, relay=False)
    load = LoadMonitor("car", hear_results=False)
    return [PartitionManager((link.take_result, load.take_result), link.links), link, load]
