"""What does a callback cost, on rclpy's executor and on ours?

A node with as many publishers, subscriptions, timers and services as the head has receives images
and ticks. The same messages run on each executor in turns; seconds are of the receiving thread's
processor. Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import threading
import time
from statistics import median

import rclpy
from rclpy.executors import Executor, ShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import UInt32

from dapdee_ros.nodes import qos
from dapdee_ros.nodes.executor import LeanExecutor
from dapdee_ros.nodes.process import prepare_dds
from dapdee_ros.nodes.timers import every

EXECUTORS: dict[str, type[Executor]] = {"rclpy": SingleThreadedExecutor, "ours": LeanExecutor}


def processor_s(
    kind: type[Executor], size: int, rate_hz: float, seconds: float
) -> dict[str, float]:
    """Processor seconds of the callbacks' thread, and what it received."""
    node, source = Node("receiver"), Node("source")
    got = {"images": 0, "ticks": 0}

    def count(name: str) -> None:
        got[name] += 1

    node.create_subscription(Image, "image_raw", lambda _: count("images"), qos.IMAGE)
    for n in range(8):
        node.create_publisher(UInt32, f"out{n}", 1)
        node.create_subscription(UInt32, f"in{n}", lambda _: None, 1)
    for _ in range(3):
        every(node, 0.5, lambda: count("ticks"))
    images = source.create_publisher(Image, "image_raw", qos.IMAGE)
    executor = kind()
    executor.add_node(node)
    took_s = [0.0]

    def spin() -> None:
        with contextlib.suppress(ShutdownException):
            executor.spin()
        took_s[0] = time.thread_time()

    thread = threading.Thread(target=spin)
    thread.start()
    image = Image(height=size, width=size, encoding="rgb8", step=3 * size)
    image.data = bytes(3 * size * size)
    until_s = time.monotonic() + 1.0 + seconds
    time.sleep(1.0)
    while time.monotonic() < until_s:
        images.publish(image)
        time.sleep(1 / rate_hz)
    executor.shutdown()
    thread.join()
    node.destroy_node()
    source.destroy_node()
    return {"seconds": took_s[0], **got}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=64, help="pixels of an image's edge")
    parser.add_argument("--rate-hz", type=float, default=60.0)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    prepare_dds(large_messages=True)
    rclpy.init()
    costs: dict[str, list[float]] = {name: [] for name in EXECUTORS}
    for _ in range(args.repeats):
        for name, kind in EXECUTORS.items():
            found = processor_s(kind, args.size, args.rate_hz, args.seconds)
            costs[name].append(found["seconds"] / (found["images"] + found["ticks"]))
            print(name, found, flush=True)
    us = {name: round(1e6 * median(values)) for name, values in costs.items()}
    print(json.dumps({"us_per_callback": us, "ratio": round(us["ours"] / us["rclpy"], 3)}))
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
