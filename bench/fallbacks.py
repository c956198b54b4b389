"""Do frames that the edge does not answer come in time on a machine that has other things to do?

A real head follows a plan that sends every frame, and no edge is there. Beside it, busy loops keep
every core at work. Prints how many results came after the deadline, and by how much.

    python bench/fallbacks.py [--frames 300] [--deadline-s 0.3] [--busy 2]
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
from statistics import median

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import Header

import dapdee_ros.msg as msg
from dapdee_ros.datasets.roadsigns import RoadSigns
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.images import rgb_to_image
from dapdee_ros.processes import Processes

PERIOD_S = 0.1
WARM_UP = 20
"""Frames before those that count, half of them without other load."""


def measure(frames: int, deadline_s: float, busy: int) -> dict[str, float | int]:
    """Run it and return the figures."""
    card = read_card(find_model("roadsigns"))
    rclpy.init()
    node = Node("bench_fallbacks")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    results: dict[int, msg.InferenceResult] = {}

    def take(result: msg.InferenceResult) -> None:
        results[result.header.stamp.sec] = result

    node.create_subscription(msg.InferenceResult, "inference", take, qos.RESULT)
    images = node.create_publisher(Image, "image_raw", qos.IMAGE)
    plans = node.create_publisher(msg.PartitionPlan, "plan", qos.LATCHED)
    plans.publish(
        msg.PartitionPlan(
            epoch=1,
            model_id=card.model_id,
            exit=len(card.dag.exits),
            boundary=[card.dag.input],
            codec="f32",
            deadline_s=deadline_s,
            max_in_flight=16,
            sites=["car", "edge"],
            predicted_site_s=[0.0, 0.01],
            predicted_hop_s=[0.02],
        )
    )
    scenes = RoadSigns(seed=0, size=(128, 128))
    loops: list[subprocess.Popen[bytes]] = []

    def show(first: int, count: int) -> None:
        due_s = time.monotonic()
        for number in range(first, first + count):
            header = Header()
            header.stamp.sec = number
            images.publish(rgb_to_image(scenes.frame(number).image, header.stamp, "camera"))
            due_s += PERIOD_S
            while (left_s := due_s - time.monotonic()) > 0:
                executor.spin_once(timeout_sec=left_s)

    with tempfile.TemporaryDirectory() as folder:
        processes = Processes(Path(folder), os.environ)
        processes.start("head", {"model": "roadsigns", "threads": 1, "plan_timeout_s": 3600.0})
        try:
            started_s = time.monotonic()
            while 0 not in results and time.monotonic() < started_s + 60:
                show(0, 1)
            show(1, WARM_UP // 2)
            loops += [
                subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)
            ]
            show(1 + WARM_UP // 2, WARM_UP - WARM_UP // 2)
            show(WARM_UP + 1, frames)
            end_s = time.monotonic() + 2.0
            while time.monotonic() < end_s:
                executor.spin_once(timeout_sec=0.1)
        finally:
            for loop in loops:
                loop.kill()
                loop.wait()
            processes.stop(within_s=8.0)
    node.destroy_node()
    rclpy.try_shutdown()
    counted = [r for number, r in results.items() if number > WARM_UP]
    fallbacks = [r for r in counted if r.place == r.PLACE_CAR_FALLBACK and r.plan_epoch]
    latencies_s = sorted(r.latency_s for r in fallbacks)
    late_s = [s - deadline_s for s in latencies_s if s > deadline_s]
    return {
        "frames": frames,
        "fallbacks": len(fallbacks),
        "late": len(late_s),
        "late_share": len(late_s) / max(1, len(fallbacks)),
        "median_late_s": median(late_s) if late_s else 0.0,
        "worst_late_s": max(late_s, default=0.0),
        "median_latency_s": median(latencies_s) if latencies_s else 0.0,
        "median_exit": median(r.exit for r in fallbacks) if fallbacks else 0,
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--deadline-s", type=float, default=0.3)
    parser.add_argument("--busy", type=int, default=os.cpu_count() or 1, help="busy loops")
    args = parser.parse_args()
    found = measure(args.frames, args.deadline_s, args.busy)
    print(
        f"{found['fallbacks']} fallbacks beside {args.busy} busy loops, {found['late']} late "
        f"({found['late_share']:.1%}), by {1e3 * found['median_late_s']:.1f} ms in the median and "
        f"{1e3 * found['worst_late_s']:.1f} ms at worst"
    )
    print(json.dumps({"bench": "fallbacks", "busy": args.busy, **found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
