"""Run the car's side on this machine: camera, head, and the manager with its monitors.

The same processes as `ros2 launch dapdee_ros car.launch.py`, for machines without the ros2 command.
On the other machine run `dapdee edge` with the same model, namespace and ROS domain.
"""

from __future__ import annotations

import argparse

from dapdee_ros.cli.roles import (
    add_arguments,
    add_side_arguments,
    read_arguments,
    run_until_told,
    side_processes,
)
from dapdee_ros.process_table import CAR_ARGUMENTS, car_side
from dapdee_ros.processes import start_all

SUMMARY = "run the car's side on this machine: camera, head, manager"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    # Unlike the launch file this command is for two machines.
    add_arguments(parser, CAR_ARGUMENTS, {"edge": "false"})
    add_side_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run until Ctrl-C."""
    values = read_arguments(args, CAR_ARGUMENTS)
    processes = side_processes(args, "car", values)
    start_all(processes, car_side(values))
    return run_until_told(processes, args.seconds)
