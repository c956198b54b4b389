"""The small process on the car: partition manager, link monitor and load monitor together."""

from __future__ import annotations

from dapdee_ros.nodes.link_monitor import LinkMonitor
from dapdee_ros.nodes.load_monitor import LoadMonitor
from dapdee_ros.nodes.partition_manager import PartitionManager
from dapdee_ros.nodes.process import run_nodes


def main() -> int:
    """Run the three nodes on one thread until the process is told to stop."""
    return run_nodes(lambda: [PartitionManager(), LinkMonitor(), LoadMonitor("car")])
