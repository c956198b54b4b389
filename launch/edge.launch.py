"""The edge server: finishes what a car's head began.

ros2 launch dapdee_ros edge.launch.py namespace:=car1
"""

from launch import LaunchDescription

from dapdee_ros.launch_description import describe
from dapdee_ros.process_table import EDGE_ARGUMENTS, edge_side


def generate_launch_description() -> LaunchDescription:
    """Everything that runs on the edge server."""
    return describe(EDGE_ARGUMENTS, edge_side)
