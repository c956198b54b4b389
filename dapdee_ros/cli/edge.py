"""Run the edge server's side on this machine: it finishes the frames that a car's head started.

The same processes as `ros2 launch dapdee_ros edge.launch.py`, for machines without the ros2
command.
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
from dapdee_ros.process_table import EDGE_ARGUMENTS, edge_side
from dapdee_ros.processes import start_all

SUMMARY = "run the edge server's side on this machine"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_arguments(parser, EDGE_ARGUMENTS)
    add_side_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run until Ctrl-C."""
    values = read_arguments(args, EDGE_ARGUMENTS)
    processes = side_processes(args, "edge", values)
    start_all(processes, edge_side(values))
    return run_until_told(processes, args.seconds)
