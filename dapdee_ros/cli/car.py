"""Run the car's side here: camera, head, and the manager with its monitors.

The same processes as `ros2 launch dapdee_ros car.launch.py`, for machines without the ros2 command.
On the other machine run `dapdee edge` with the same model, namespace and ROS domain.
"""

from __future__ import annotations

import argparse

from dapdee_ros.cli.errors import CommandError
from dapdee_ros.cli.roles import (
    add_camera_arguments,
    add_side_arguments,
    check_camera_arguments,
    run_until_told,
    side_processes,
    start_car,
)
from dapdee_ros.partition.errors import PlanningError
from dapdee_ros.partition.pinned import parse_pinned

SUMMARY = "run the car's side on this machine: camera, head, manager"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_side_arguments(parser)
    add_camera_arguments(parser)
    parser.add_argument(
        "--pinned-plan",
        default="",
        help="hold on to this plan instead of deciding, such as 'exit=4 boundary=image codec=f32'",
    )


def run(args: argparse.Namespace) -> int:
    """Run until Ctrl-C."""
    check_camera_arguments(args)
    try:
        parse_pinned(args.pinned_plan)
    except PlanningError as error:
        raise CommandError(str(error)) from error
    processes = side_processes(args, "car")
    camera = {"source": args.source, "path": args.path, "rate_hz": args.rate_hz}
    start_car(
        processes,
        args.model,
        args.threads,
        args.deadline_s,
        camera,
        pinned_plan=args.pinned_plan,
    )
    return run_until_told(processes, args.seconds)
