"""Record topics of a live run into a rosbag2, without rosbag2 itself.

Writes every message in its serialised form, including other packages' types, until Ctrl-C or
--seconds. `ros2 bag play`, Foxglove and `dapdee replay` read the result.

    dapdee record                                  everything
    dapdee record image_raw link_quality truth     what a replay can use
    dapdee record --namespace car1 --seconds 60 --out monday
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dapdee_ros.errors import CommandError

if TYPE_CHECKING:
    from dapdee_ros.nodes.bag_recorder import Recording

SUMMARY = "record topics of a live run into a bag"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("topics", nargs="*", metavar="TOPIC", help="topics (default: all of the namespace)")
    add("--namespace", default="/", help="the car's namespace (default /: everything)")
    add("--out", type=Path, help="the bag's folder (default: bag-<time>, here)")
    add("--storage", choices=("mcap", "sqlite3"), default="mcap", help="file format (default mcap)")
    add("--compress", action="store_true", help="compress with zstd (mcap)")
    add("--seconds", type=float, default=0.0, help="end after this long; 0: at Ctrl-C (default)")
    add("--domain", type=int, help="ROS domain id (default: the environment's)")
    add("--use-sim-time", action="store_true", help="stamp messages with the time of /clock")
    add("--json", action="store_true", help="print what was recorded as one JSON line")


def run(args: argparse.Namespace) -> int:
    """Record, and print a summary."""
    import os

    from dapdee_ros.cli.roles import require_ros

    require_ros()
    if args.seconds < 0:
        raise CommandError(f"--seconds is {args.seconds}; expected 0 or more")
    if args.domain is not None:
        os.environ["ROS_DOMAIN_ID"] = str(args.domain)
    from dapdee_ros.bags.errors import BagError
    from dapdee_ros.nodes.bag_recorder import RecordingSettings, record

    path = args.out or Path(f"bag-{datetime.now():%Y%m%d-%H%M%S}")
    settings = RecordingSettings(
        path,
        args.topics,
        args.namespace,
        args.storage,
        args.compress,
        args.seconds,
        args.use_sim_time,
    )
    try:
        recording, failure = record(settings)
    except BagError as error:
        raise CommandError(str(error)) from error
    if recording is not None:
        _show(recording, path, args.json)
    if failure:
        raise CommandError(failure)
    return 0 if recording is not None and any(t.count for t in recording.topics) else 1


def _show(recording: Recording, path: Path, as_json: bool) -> None:
    messages = sum(topic.count for topic in recording.topics)
    if as_json:
        print(json.dumps({"path": str(path), "messages": messages, **asdict(recording)}))
        return
    width = max((len(topic.name) for topic in recording.topics), default=0)
    for topic in recording.topics:
        lost = f"  ({topic.lost} lost in transit)" if topic.lost else ""
        print(f"{topic.name:<{width}}  {topic.count:>7}  {topic.kind}{lost}")
    for complaint in recording.complaints:
        print(f"not recorded: {complaint}")
    for topic_name in recording.missing:
        print(f"never seen: {topic_name}")
    if messages:
        print(f"{messages} messages in {recording.seconds:.1f} s: {path}")
    else:
        print("no message received: no bag was written")
