"""What runs on which side: the same processes as in the launch files, without ``ros2 launch``."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from dapdee_ros.cli.errors import CommandError
from dapdee_ros.cli.processes import Processes
from dapdee_ros.runtime.own_profile import ros_home

RELAYED = ("head_tensor", "edge_result", "probe", "probe_echo")
"""Topics that cross the link, and that the emulator therefore relays."""


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
    """Raise CommandError if there is no such model, or its folder is not in order."""
    from dapdee_ros.exits.card import ModelFolderError, find_model, read_card

    try:
        read_card(find_model(name))
    except ModelFolderError as error:
        raise CommandError(str(error)) from error


def far_remaps(behind_emulator: bool) -> dict[str, str]:
    """How the edge's topics are renamed if it stands behind the link emulator."""
    return {topic: f"emulated/{topic}" for topic in RELAYED} if behind_emulator else {}


def start_edge(
    processes: Processes, model: str, threads: int, remaps: dict[str, str] | None = None
) -> None:
    """Start the edge's processes."""
    remaps = remaps or {}
    processes.start("edge", {"model": model, "threads": threads}, remaps)
    processes.start("load_monitor", {"machine": "edge"}, {**remaps, "__node": "edge_load_monitor"})


def start_car(
    processes: Processes,
    model: str,
    threads: int,
    deadline_s: float,
    camera: dict[str, Any],
    emulated_slowdown: float = 1.0,
    pinned_plan: str = "",
) -> None:
    """Start the car's processes."""
    processes.start(
        "head",
        {
            "model": model,
            "threads": threads,
            "deadline_s": deadline_s,
            "emulated_slowdown": emulated_slowdown,
        },
    )
    planning = {"model": model, "deadline_s": deadline_s, "pinned_plan": pinned_plan}
    processes.start("manager", planning, names=("partition_manager",))
    processes.start("camera", {key: value for key, value in camera.items() if value != ""})


def add_camera_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare where frames come from and what is asked of them."""
    parser.add_argument(
        "--source",
        default="roadsigns",
        choices=("roadsigns", "device", "video", "images", "none"),
        help="camera: rendered scenes, a V4L2 device, a video file, a folder of images, or none "
        "if another driver publishes image_raw (default roadsigns)",
    )
    parser.add_argument(
        "--path", default="", help="device, video file or image folder of that source"
    )
    parser.add_argument("--rate-hz", type=float, default=10.0, help="frames a second (default 10)")
    parser.add_argument(
        "--deadline-s", type=float, default=0.3, help="seconds from image to result (default 0.3)"
    )


def check_camera_arguments(args: argparse.Namespace) -> None:
    """Raise CommandError where they make no sense."""
    if not args.rate_hz > 0 or not args.deadline_s > 0:
        raise CommandError("--rate-hz and --deadline-s must be greater than 0")


def add_side_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what ``dapdee car`` and ``dapdee edge`` share."""
    parser.add_argument("--model", default="roadsigns", help="model name or folder (roadsigns)")
    parser.add_argument(
        "--threads", type=int, default=0, help="inference threads; 0: half of the cores (default)"
    )
    parser.add_argument("--namespace", default="", help="the car's namespace, on both sides")
    parser.add_argument("--domain", type=int, help="ROS domain id (default: the environment's)")
    parser.add_argument(
        "--seconds", type=float, default=0.0, help="stop after so long; 0: at Ctrl-C (default)"
    )


def side_processes(args: argparse.Namespace, side: str) -> Processes:
    """A place for one side's processes, with their output on the terminal as well."""
    require_ros()
    check_model(args.model)
    folder = ros_home() / "dapdee" / "log" / f"{datetime.now():%Y%m%d-%H%M%S}-{side}"
    folder.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ)
    if args.domain is not None:
        environment["ROS_DOMAIN_ID"] = str(args.domain)
    remaps = {"__ns": f"/{args.namespace.strip('/')}"} if args.namespace else {}
    return Processes(folder, environment, remaps=remaps, echo=sys.stdout)


def run_until_told(processes: Processes, seconds: float) -> int:
    """Watch the processes until Ctrl-C or the time is over; a process that ends is an error."""
    end_s = time.monotonic() + seconds if seconds else float("inf")
    try:
        while time.monotonic() < end_s:
            processes.check()
            time.sleep(0.2)
    except KeyboardInterrupt:
        pass
    finally:
        processes.stop(["camera"], within_s=5.0)
        processes.stop(within_s=8.0)
    return 0


def new_run_folder(asked: Path | None) -> Path:
    """The folder for a run's results, made."""
    folder = asked or Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
