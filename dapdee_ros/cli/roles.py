"""The processes of each side, as in the launch files, without ``ros2 launch``."""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from dapdee_ros.engines.slow_engine import MOST_SLOWDOWN
from dapdee_ros.errors import CommandError
from dapdee_ros.files import make_folder, own_files
from dapdee_ros.planning.errors import PlanningError
from dapdee_ros.planning.pinned import parse_pinned
from dapdee_ros.process_table import DEFAULT_MODEL, Argument, ArgumentError, link_environment
from dapdee_ros.processes import Processes
from dapdee_ros.sealing.configured import KEY_VARIABLE, sealed_link
from dapdee_ros.sealing.key_file import KeyFileError, id_text, load_ring

WATCH_PERIOD_S = 0.05
"""Seconds between checks for dead processes."""


def require_ros() -> None:
    """Raise CommandError if nodes cannot be run here."""
    if (
        importlib.util.find_spec("rclpy") is None
        or importlib.util.find_spec("dapdee_ros.msg") is None
    ):
        raise CommandError(
            "this runs ROS 2 nodes, but rclpy or the built messages are not on the path: run "
            "`make setup`, then `source tools/env.sh` (or source your ROS workspace)"
        )


def check_model(name: str) -> None:
    """Raise CommandError if there is no such model, or its folder is invalid."""
    from dapdee_ros.exits.card import ModelFolderError, find_model, read_card

    try:
        read_card(find_model(name))
    except ModelFolderError as error:
        raise CommandError(str(error)) from error


def add_arguments(
    parser: argparse.ArgumentParser,
    arguments: Sequence[Argument],
    defaults: Mapping[str, str] | None = None,
) -> None:
    """Declare arguments of the process table as options of a command.

    Args:
        parser: the command's parser.
        arguments: the arguments.
        defaults: defaults that differ from the table's.
    """
    for argument in arguments:
        default = (defaults or {}).get(argument.name, argument.default)
        shown = f" (default {default})" if default else ""
        parser.add_argument(
            f"--{argument.name.replace('_', '-')}",
            default=default,
            metavar=argument.name.rpartition("_")[2].upper(),
            help=(argument.description + shown).replace("%", "%%"),
        )


def read_arguments(args: argparse.Namespace, arguments: Sequence[Argument]) -> dict[str, Any]:
    """The values of the table's arguments; None if left to the parameter files.

    Raises:
        CommandError: if one is invalid.
    """
    try:
        values = {a.name: a.read(getattr(args, a.name)) for a in arguments}
        parse_pinned(values.get("pinned_plan") or "")
    except (ArgumentError, PlanningError) as error:
        raise CommandError(str(error)) from error
    if "model" in values:
        check_model(values["model"] or DEFAULT_MODEL)
    for name in ("rate_hz", "deadline_s"):
        if values.get(name) is not None and not 0 < values[name] < math.inf:
            raise CommandError(f"{name} must be a finite number greater than 0")
    slowdown = values.get("emulated_slowdown")
    if slowdown is not None and not 1 <= slowdown <= MOST_SLOWDOWN:
        raise CommandError(f"emulated_slowdown must be between 1 and {MOST_SLOWDOWN:g}")
    return values


def add_side_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that ``dapdee car`` and ``dapdee edge`` share besides the table's."""
    parser.add_argument("--namespace", default="", help="the car's namespace, on both sides")
    parser.add_argument("--domain", type=int, help="ROS domain id (default: the environment's)")
    parser.add_argument(
        "--seconds", type=float, default=0.0, help="stop after this long; 0: at Ctrl-C (default)"
    )


def with_link(environment: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, str]:
    """The environment of a side's processes, with the settings that seal its link.

    Args:
        environment: theirs so far, with ``ROS_DOMAIN_ID``.
        values: parsed values of the side's arguments.

    Raises:
        CommandError: if the requested key cannot be used.
    """
    whole = {**environment, **link_environment(values)}
    try:
        link = sealed_link(whole)
        if link is None:
            return whole
        ring = load_ring(link.key_file)
    except KeyFileError as error:
        raise CommandError(str(error)) from error
    ids = ", ".join(map(id_text, ring.key_ids))
    print(f"link sealed with {ring.name} ({ids})", file=sys.stderr)
    return {**whole, KEY_VARIABLE: str(link.key_file)}


def side_processes(args: argparse.Namespace, side: str, values: Mapping[str, Any]) -> Processes:
    """One side's processes, with their output also on the terminal."""
    require_ros()
    folder = own_files() / "log" / f"{datetime.now():%Y%m%d-%H%M%S}-{side}"
    make_folder(folder)
    environment = dict(os.environ)
    if args.domain is not None:
        environment["ROS_DOMAIN_ID"] = str(args.domain)
    environment = with_link(environment, values)
    remaps = {"__ns": f"/{args.namespace.strip('/')}"} if args.namespace else {}
    return Processes(folder, environment, remaps=remaps, echo=sys.stdout)


def run_until_told(processes: Processes, seconds: float) -> int:
    """Monitor the processes until Ctrl-C, SIGTERM, the time is over, or all have ended normally.

    What dies is restarted.

    Raises:
        CommandError: if a process has failed for good.
    """
    end_s = time.monotonic() + seconds if seconds else float("inf")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while time.monotonic() < end_s and not processes.idle:
            processes.supervise()
            time.sleep(WATCH_PERIOD_S)
    except KeyboardInterrupt:
        pass
    finally:
        processes.stop(["camera"], within_s=5.0)
        processes.stop(within_s=8.0)
    return 0


def new_run_folder(asked: Path | None) -> Path:
    """Create the folder for a run's results."""
    folder = asked or Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}"
    return make_folder(folder)
