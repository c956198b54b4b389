"""How many images of a camera driver that knows nothing of this package does the head answer?

A plain rclpy publisher in a process of its own, without any Fast DDS profile, sends rgb8 images at
10 Hz; a real head takes them. Prints a table of sizes and reliabilities.

    python bench/cameras.py [--frames 100] [--sizes 640x480,1280x720,1920x1080]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

import dapdee_ros.msg as msg
from dapdee_ros.cli.processes import Processes
from dapdee_ros.nodes import qos

DRIVER = """
import array, sys, time
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

width, height, reliability, settle_s, frames = sys.argv[1:]
width, height = int(width), int(height)
rclpy.init()
node = rclpy.create_node("driver")
kind = ReliabilityPolicy[reliability.upper()]
images = node.create_publisher(Image, "image_raw", QoSProfile(depth=5, reliability=kind))
message = Image(width=width, height=height, step=3 * width, encoding="rgb8")
message.data = array.array("B", bytes(3 * width * height))
while not images.get_subscription_count():
    time.sleep(0.02)
# Frames before the first that counts: a head looks at who publishes, and subscribes accordingly.
before = int(10 * float(settle_s))
due_s = time.monotonic()
for number in range(-before, int(frames)):
    message.header.stamp.sec = max(0, number + 1)
    images.publish(message)
    due_s += 0.1
    time.sleep(max(0.0, due_s - time.monotonic()))
time.sleep(1.0)
"""


def answered(size: tuple[int, int], reliability: str, frames: int) -> int:
    """How many of so many frames were answered."""
    node = Node("bench_cameras")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    seen: set[int] = set()

    def take(result: msg.InferenceResult) -> None:
        if result.header.stamp.sec:
            seen.add(result.header.stamp.sec)

    subscription = node.create_subscription(msg.InferenceResult, "inference", take, qos.RESULT)
    environment = dict(os.environ)
    for name in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"):
        environment.pop(name, None)
    with tempfile.TemporaryDirectory() as folder:
        processes = Processes(Path(folder), environment)
        processes.start("head", {"threads": 1})
        driver: subprocess.Popen[bytes] | None = None
        try:
            started_s = time.monotonic()
            while not node.get_publishers_info_by_topic("inference"):
                executor.spin_once(timeout_sec=0.1)
                if time.monotonic() > started_s + 60:
                    raise RuntimeError("the head did not start within 60 s")
            arguments = [str(size[0]), str(size[1]), reliability, "3", str(frames)]
            driver = subprocess.Popen([sys.executable, "-c", DRIVER, *arguments], env=environment)
            while driver.poll() is None:
                executor.spin_once(timeout_sec=0.1)
            end_s = time.monotonic() + 1.0
            while time.monotonic() < end_s:
                executor.spin_once(timeout_sec=0.1)
        finally:
            if driver is not None and driver.poll() is None:
                driver.kill()
                driver.wait()
            processes.stop(within_s=8.0)
    node.destroy_subscription(subscription)
    node.destroy_node()
    return len(seen)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--sizes", default="640x480,1280x720,1920x1080")
    args = parser.parse_args()
    rclpy.init()
    rows: list[dict[str, Any]] = []
    print("| size | publisher | answered |\n| --- | --- | --- |")
    for text in args.sizes.split(","):
        width, height = (int(side) for side in text.split("x"))
        for reliability in ("reliable", "best_effort"):
            count = answered((width, height), reliability, args.frames)
            share = count / args.frames
            print(f"| {text} | {reliability} | {count} of {args.frames} |", flush=True)
            rows.append({"size": text, "publisher": reliability, "answered_share": share})
    rclpy.try_shutdown()
    print(json.dumps({"bench": "cameras", "frames": args.frames, "rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
