"""The edge server: finishes what a car's head began.

ros2 launch dapdee_ros edge.launch.py namespace:=car1
"""

from launch import LaunchDescription

from dapdee_ros import launch_description as parts


def generate_launch_description() -> LaunchDescription:
    """Everything that runs on the edge server."""
    arguments = parts.Arguments()
    common = parts.common_arguments(arguments)
    threads = arguments.add("threads", "0", "Inference threads; 0: half of the cores.")
    behind = arguments.add(
        "emulated_link",
        "false",
        "Listen behind the link emulator that the car's launch file started.",
        choices=("true", "false"),
    )
    return LaunchDescription(
        [
            *arguments.declared,
            *parts.edge_processes(common, threads, parts.is_true(behind)),
        ]
    )
