"""How many images of a camera driver that knows nothing of this package does the head answer?

A plain rclpy publisher in a process of its own, without any Fast DDS profile, sends rgb8 images at
10 Hz; a real head takes them. Prints a table of sizes and reliabilities: how many were answered,
how many the head took and dropped (superseded by a newer one), how many never reached it, and how
many the driver published more than half a period late, with the median time of one publish.

    python bench/cameras.py [--frames 200] [--sizes 640x480,1280x720,1920x1080]
                            [--reliabilities reliable,best_effort]
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
from dapdee_ros.nodes import qos
from dapdee_ros.processes import Processes

DRIVER = """
import array, json, statistics, sys, time
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
late, took_s = 0, []
for number in range(-before, int(frames)):
    message.header.stamp.sec = max(0, number + 1)
    begun_s = time.monotonic()
    images.publish(message)
    if number >= 0:
        late += begun_s > due_s + 0.05
        took_s.append(time.monotonic() - begun_s)
    due_s += 0.1
    time.sleep(max(0.0, due_s - time.monotonic()))
time.sleep(1.0)
print(json.dumps({"late": late, "publish_s": statistics.median(took_s)}))
"""


class Tally:
    """The outcomes of a driver's numbered frames, by the head's results and ledger.

    Attributes:
        answered: the numbers of the frames that were.
    """

    def __init__(self) -> None:
        self.answered: set[int] = set()
        self._drops = self._drops_before = 0

    def take_result(self, result: msg.InferenceResult) -> None:
        """Count an answer; frames before the first numbered one have no number."""
        number = result.header.stamp.sec
        if number and not self.answered:
            self._drops_before = self._drops
        if number:
            self.answered.add(number)

    def take_ledger(self, ledger: msg.FrameLedger) -> None:
        """Follow the drops. The head publishes its ledger often (``LEDGER``) for that."""
        self._drops = ledger.drops

    @property
    def dropped(self) -> int:
        """Frames since the first numbered answer that reached the head and were dropped there."""
        return self._drops - self._drops_before if self.answered else 0

    @property
    def came(self) -> int:
        """How many of the numbered frames reached the head."""
        return len(self.answered) + self.dropped


LEDGER = {"ledger_period_s": 0.1}


def measure(size: tuple[int, int], reliability: str, frames: int) -> dict[str, Any]:
    """What became of so many frames: answered, dropped, not_arrived, late, publish_s."""
    node = Node("bench_cameras")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    tally = Tally()
    node.create_subscription(msg.InferenceResult, "inference", tally.take_result, qos.RESULT)
    node.create_subscription(msg.FrameLedger, "ledger", tally.take_ledger, qos.LATCHED)
    environment = dict(os.environ)
    for name in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"):
        environment.pop(name, None)
    with tempfile.TemporaryDirectory() as folder:
        processes = Processes(Path(folder), environment)
        processes.start("head", {"model": "roadsigns", "threads": 1, **LEDGER})
        driver: subprocess.Popen[str] | None = None
        try:
            started_s = time.monotonic()
            while not node.get_publishers_info_by_topic("inference"):
                executor.spin_once(timeout_sec=0.1)
                if time.monotonic() > started_s + 60:
                    raise RuntimeError("the head did not start within 60 s")
            arguments = [str(size[0]), str(size[1]), reliability, "3", str(frames)]
            driver = subprocess.Popen(
                [sys.executable, "-c", DRIVER, *arguments],
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
            )
            while driver.poll() is None:
                executor.spin_once(timeout_sec=0.1)
            end_s = time.monotonic() + 1.0
            while time.monotonic() < end_s:
                executor.spin_once(timeout_sec=0.1)
            printed = driver.stdout.read() if driver.stdout else ""
        finally:
            if driver is not None and driver.poll() is None:
                driver.kill()
                driver.wait()
            processes.stop(within_s=8.0)
    executor.shutdown()
    node.destroy_node()
    return {
        "answered": len(tally.answered),
        "dropped": tally.dropped,
        "not_arrived": max(0, frames - tally.came),
        **json.loads(printed),
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--sizes", default="640x480,1280x720,1920x1080")
    parser.add_argument("--reliabilities", default="reliable,best_effort")
    args = parser.parse_args()
    rclpy.init()
    rows: list[dict[str, Any]] = []
    print("| size | publisher | answered | dropped | not arrived | published late | publish (ms) |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for text in args.sizes.split(","):
        width, height = (int(side) for side in text.split("x"))
        for reliability in args.reliabilities.split(","):
            row = measure((width, height), reliability, args.frames)
            print(
                f"| {text} | {reliability} | {row['answered']} of {args.frames} | {row['dropped']} "
                f"| {row['not_arrived']} | {row['late']} | {1e3 * row['publish_s']:.1f} |",
                flush=True,
            )
            rows.append({"size": text, "publisher": reliability, **row})
    rclpy.try_shutdown()
    print(json.dumps({"bench": "cameras", "frames": args.frames, "rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
