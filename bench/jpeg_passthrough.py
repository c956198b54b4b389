"""What does a frame of a JPEG camera cost the car: passed on, or decoded and coded again?

A real head and a real edge server, a camera that publishes the same JPEG on image_raw/compressed,
and three plans in turn, several rounds of each: the file passed on as it came (codec camera), the
network's input coded as a JPEG again (jpeg), and sent as it is (f32). Per frame the processor time
of the head's process, all threads, less what an idle head takes. The boxes or classes of all three
are compared, too: what is passed on must give the answers of a car that decodes.

    python bench/jpeg_passthrough.py [--model roadsigns] [--sizes 640x480,1280x720] [--seconds 5]
                                     [--rounds 2] [--rate-hz 10]

The last line is JSON; ratios are of medians over the rounds of one run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import UInt32

import dapdee_ros.msg as msg
from dapdee_ros.exits.card import ModelCard, find_model, read_card
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.process import prepare_dds
from dapdee_ros.processes import Processes

CODECS = {"camera": "passed on", "jpeg": "decoded and coded again", "f32": "decoded, sent as it is"}
START_S, SETTLE_S = 90.0, 1.5


class Bench:
    """A camera, a manager that does as it is told, and a tally of results."""

    def __init__(self, card: ModelCard, rate_hz: float) -> None:
        self._card = card
        self.node = Node("bench_jpeg_passthrough")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._images = self.node.create_publisher(CompressedImage, "image_raw/compressed", 1)
        self._plans = self.node.create_publisher(msg.PartitionPlan, "plan", qos.LATCHED)
        self._alive = self.node.create_publisher(UInt32, "plan_epoch", qos.STATE)
        self.node.create_subscription(
            msg.InferenceResult, "inference", self._take_result, qos.RESULT
        )
        self.node.create_timer(1 / rate_hz, self._publish)
        self.node.create_timer(0.5, lambda: self._alive.publish(UInt32(data=self._epoch)))
        self.file: bytes = b""
        self.results: list[msg.InferenceResult] = []
        self._epoch = 0

    def _publish(self) -> None:
        if self.file:
            self._images.publish(CompressedImage(format="jpeg", data=self.file))

    def _take_result(self, result: msg.InferenceResult) -> None:
        self.results.append(result)

    def plan(self, codec: str) -> None:
        """Have the input sent by this codec."""
        self._epoch += 1
        self._plans.publish(
            msg.PartitionPlan(
                car_id="car",
                epoch=self._epoch,
                model_id=self._card.model_id,
                exit=len(self._card.dag.exits),
                boundary=[self._card.dag.input],
                codec=codec,
                deadline_s=2.0,
                max_in_flight=4,
            )
        )

    def spin(self, seconds: float) -> None:
        """Publish and listen for so long."""
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left_s)

    def wait_for(self, codec: str) -> None:
        """Until the edge answers frames sent by this codec.

        Raises:
            RuntimeError: if that does not happen.
        """
        end_s = time.monotonic() + START_S
        self.results.clear()
        while not any(r.place == r.PLACE_EDGE and r.codec == codec for r in self.results):
            self.spin(0.1)
            if time.monotonic() > end_s:
                raise RuntimeError(f"no frame was answered that was sent as {codec}")
        self.spin(SETTLE_S)

    def close(self) -> None:
        """End."""
        self._executor.shutdown()
        self.node.destroy_node()


def photo(height: int, width: int) -> bytes:
    """A JPEG as a camera makes it: an image with structure and noise."""
    rng = np.random.default_rng(5)
    small = rng.integers(0, 256, (height // 40, width // 40, 3)).astype(np.uint8)
    image = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    noisy = np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()


def cpu_s(process: psutil.Process) -> float:
    """Processor seconds of a process so far."""
    times = process.cpu_times()
    return times.user + times.system


def head_process() -> psutil.Process:
    """The head that was started here."""
    children = psutil.Process().children(recursive=True)
    return next(p for p in children if any(word.endswith("/head") for word in p.cmdline()))


def measured(
    bench: Bench, head: psutil.Process, codec: str, seconds: float, idle: float
) -> dict[str, Any]:
    """Processor seconds per frame, less an idle head's share ``idle``; bytes, and the answer."""
    bench.plan(codec)
    bench.wait_for(codec)
    bench.results.clear()
    before_s = cpu_s(head)
    bench.spin(seconds)
    spent_s = cpu_s(head) - before_s - idle * seconds
    sent = [r for r in bench.results if r.codec == codec and r.place == r.PLACE_EDGE]
    if len(sent) < 0.8 * len(bench.results) or not sent:
        raise RuntimeError(f"of {len(bench.results)} results only {len(sent)} were sent as {codec}")
    last = sent[-1]
    answer = (last.class_id, list(last.boxes), list(last.box_classes), list(last.top_classes))
    return {
        "cpu_s": spent_s / len(bench.results),
        "head_s": statistics.median(r.head_s for r in sent),
        "bytes": last.sent_bytes,
        "answer": answer,
    }


def compare(
    bench: Bench, head: psutil.Process, size: tuple[int, int], seconds: float, rounds: int
) -> dict[str, Any]:
    """All codecs in turn, for one size of images."""
    bench.file = photo(*size)
    bench.plan("camera")
    bench.wait_for("camera")
    bench.file = b""
    bench.spin(SETTLE_S)
    before_s = cpu_s(head)
    bench.spin(seconds)
    idle = (cpu_s(head) - before_s) / seconds
    bench.file = photo(*size)
    taken: dict[str, list[dict[str, Any]]] = {codec: [] for codec in CODECS}
    for _ in range(rounds):
        for codec in CODECS:
            taken[codec].append(measured(bench, head, codec, seconds, idle))
    figures: dict[str, Any] = {"idle_cpu_ratio": round(idle, 4), "file_bytes": len(bench.file)}
    for codec, runs in taken.items():
        figures[codec] = {
            "cpu_ms": round(1e3 * statistics.median(r["cpu_s"] for r in runs), 2),
            "head_ms": round(1e3 * statistics.median(r["head_s"] for r in runs), 2),
            "bytes": runs[-1]["bytes"],
        }
    figures["cpu_ratio_to_jpeg"] = round(figures["camera"]["cpu_ms"] / figures["jpeg"]["cpu_ms"], 3)
    figures["same_answer_as_decoded"] = taken["camera"][-1]["answer"] == taken["f32"][-1]["answer"]
    return figures


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", default="roadsigns")
    parser.add_argument("--sizes", default="640x480,1280x720")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rate-hz", type=float, default=10.0)
    args = parser.parse_args()
    os.environ["ROS_DOMAIN_ID"] = str(random.SystemRandom().randint(1, 101))
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    prepare_dds()
    rclpy.init()
    card = read_card(find_model(args.model))
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        processes = Processes(Path(folder), dict(os.environ))
        options = {"model": args.model, "threads": 1}
        bench = Bench(card, args.rate_hz)
        try:
            processes.start("edge", options)
            processes.start("head", options)
            head = head_process()
            print("| image | sent | car's CPU (ms) | of it in the frame's way (ms) | bytes |")
            print("| --- | --- | --- | --- | --- |")
            for text in args.sizes.split(","):
                width, height = (int(side) for side in text.split("x"))
                row = compare(bench, head, (height, width), args.seconds, args.rounds)
                rows[text] = row
                for codec, name in CODECS.items():
                    of = row[codec]
                    print(f"| {text} | {name} | {of['cpu_ms']} | {of['head_ms']} | {of['bytes']} |")
        finally:
            bench.close()
            processes.stop(within_s=8.0)
            rclpy.try_shutdown()
    print(json.dumps({"bench": "jpeg_passthrough", "model": card.name, "sizes": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
