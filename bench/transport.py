"""How long tensors take between two processes on one machine, and what the whole path adds.

1. Head tensors of 64 kB and 1 MB from publish to callback, beside the same bytes as a plain
   ``std_msgs/UInt8MultiArray``, taking turns in one run.
2. From publishing an image to receiving its inference, less the computing of head and tail, with
   no emulated link between them.

    python bench/transport.py [--messages 100] [--frames 100]

The last line is JSON. Times of both processes are read from one monotonic clock.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from array import array
from functools import partial
from pathlib import Path
from typing import Any

from dapdee_ros.nodes.process import prepare_dds

SIZES = {"64kB": 64_000, "1MB": 1_000_000}
ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Run both measurements and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=100, help="messages of each kind and size")
    parser.add_argument("--frames", type=int, default=100, help="frames through the whole path")
    parser.add_argument("--receiver", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    prepare_dds()
    if args.receiver:
        return receive()
    os.environ["ROS_DOMAIN_ID"] = str(random.SystemRandom().randint(1, 101))
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    figures: dict[str, Any] = {"bench": "transport"}
    figures |= transport(args.messages)
    figures |= whole_path(args.frames)
    print(json.dumps(figures))
    return 0


def receive() -> int:
    """The other process: prints for each message what it was and how long it took."""
    import rclpy
    from rclpy.executors import ExternalShutdownException
    from std_msgs.msg import UInt8MultiArray

    from dapdee_ros.msg import HeadTensor
    from dapdee_ros.nodes import qos
    from dapdee_ros.nodes.conversions import message_to_head_frame

    rclpy.init()
    node = rclpy.create_node("receiver")

    def take_tensor(message: HeadTensor) -> None:
        now = time.monotonic()
        frame = message_to_head_frame(message)
        print(json.dumps(["HeadTensor", len(frame.data), now - message.sent_s]), flush=True)

    def take_plain(message: UInt8MultiArray) -> None:
        now = time.monotonic()
        # A plain array has no field for a time; it stands in the first eight bytes.
        sent_s = array("d", bytes(message.data[:8]))[0]
        print(json.dumps(["UInt8MultiArray", len(message.data), now - sent_s]), flush=True)

    node.create_subscription(HeadTensor, "head_tensor", take_tensor, qos.tensor_qos(True, 2))
    node.create_subscription(UInt8MultiArray, "plain", take_plain, qos.tensor_qos(True, 2))
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(node)
    return 0


def transport(messages: int) -> dict[str, Any]:
    """Publish both kinds in turn, one at a time, and collect the receiver's times."""
    import numpy as np
    import rclpy
    from std_msgs.msg import Header, UInt8MultiArray

    from dapdee_ros.codecs import encode
    from dapdee_ros.core.frames import HeadFrame
    from dapdee_ros.msg import HeadTensor
    from dapdee_ros.nodes import qos
    from dapdee_ros.nodes.conversions import head_frame_to_message

    rclpy.init()
    node = rclpy.create_node("sender")
    tensors = node.create_publisher(HeadTensor, "head_tensor", qos.tensor_qos(True, 2))
    plain = node.create_publisher(UInt8MultiArray, "plain", qos.tensor_qos(True, 2))
    receiver = subprocess.Popen(
        [sys.executable, __file__, "--receiver"], stdout=subprocess.PIPE, text=True
    )
    times: dict[tuple[str, int], list[float]] = {}
    try:
        while not (tensors.get_subscription_count() and plain.get_subscription_count()):
            time.sleep(0.05)
        time.sleep(0.5)
        assert receiver.stdout is not None
        values = np.random.default_rng(0).standard_normal(max(SIZES.values()) // 4, np.float32)
        for number in range(messages + 5):
            for size in SIZES.values():
                specs, data = encode({"node": values[None, : size // 4]}, "f32")
                frame = HeadFrame(number, 1, 0.0, "0" * 64, 1, "f32", specs, data)
                message = head_frame_to_message(frame, Header())
                message.sent_s = time.monotonic()
                tensors.publish(message)
                _note(times, receiver.stdout.readline(), number)
                other = UInt8MultiArray()
                stamped = array("B", data.tobytes())
                stamped[:8] = array("B", array("d", [time.monotonic()]).tobytes())
                other.data = stamped
                plain.publish(other)
                _note(times, receiver.stdout.readline(), number)
                time.sleep(0.005)
    finally:
        receiver.terminate()
        receiver.wait()
        node.destroy_node()
        rclpy.try_shutdown()
    figures: dict[str, Any] = {}
    for label, size in SIZES.items():
        head = statistics.median(times["HeadTensor", size])
        array_s = statistics.median(times["UInt8MultiArray", size])
        figures |= {
            f"head_tensor_{label}_ms": round(1e3 * head, 3),
            f"uint8_array_{label}_ms": round(1e3 * array_s, 3),
            f"ratio_{label}": round(head / array_s, 3),
        }
        print(f"{label}: HeadTensor {1e3 * head:.2f} ms, UInt8MultiArray {1e3 * array_s:.2f} ms")
    return figures


def _note(times: dict[tuple[str, int], list[float]], line: str, number: int) -> None:
    kind, size, seconds = json.loads(line)
    if number >= 5:  # the first ones find cold caches and a discovery that has just ended
        times.setdefault((kind, size), []).append(seconds)


def whole_path(frames: int) -> dict[str, Any]:
    """Images through head and edge processes; what the path adds to their computing."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header

    import dapdee_ros.msg as msg
    from dapdee_ros.datasets.roadsigns import RoadSigns
    from dapdee_ros.exits.card import find_model, read_card
    from dapdee_ros.nodes import qos
    from dapdee_ros.nodes.conversions import message_to_profile
    from dapdee_ros.nodes.images import rgb_to_image
    from dapdee_ros.processes import Processes

    card = read_card(find_model("roadsigns"))
    exits = len(card.dag.exits)
    sink = card.dag.exit_sink(exits)
    # The cheapest tensor in the middle of the network, so that both sides compute.
    boundary = min(
        (
            n
            for n in card.dag.nodes[2:]
            if card.dag.boundary(card.dag.ancestors([n.name]), exits) == (n.name,)
        ),
        key=lambda n: n.output_bytes,
    ).name
    head_nodes = card.dag.ancestors([boundary])
    tail_nodes = card.dag.ancestors([sink]) - head_nodes
    rclpy.init()
    node = rclpy.create_node("driver")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    results: dict[int, tuple[float, msg.InferenceResult]] = {}
    profiles: dict[str, Any] = {}

    def take_result(result: msg.InferenceResult) -> None:
        results[result.header.stamp.sec] = (time.monotonic(), result)

    def take_profile(side: str, profile: msg.DeviceProfile) -> None:
        profiles[side] = message_to_profile(profile)

    node.create_subscription(msg.InferenceResult, "inference", take_result, qos.RESULT)
    for side in ("car", "edge"):
        node.create_subscription(
            msg.DeviceProfile, f"{side}/profile", partial(take_profile, side), qos.LATCHED
        )
    images = node.create_publisher(Image, "image_raw", qos.IMAGE)
    plans = node.create_publisher(msg.PartitionPlan, "plan", qos.LATCHED)
    plans.publish(
        msg.PartitionPlan(
            epoch=1,
            model_id=card.model_id,
            exit=exits,
            boundary=[boundary],
            codec="f32",
            deadline_s=5.0,
            max_in_flight=4,
        )
    )
    scenes = RoadSigns(seed=0, size=(128, 128))
    added: list[float] = []
    parts: dict[str, list[float]] = {
        name: [] for name in ("to_head", "head_wait", "head", "transfer", "edge_wait", "tail")
    }
    model = {"model": card.name}
    with tempfile.TemporaryDirectory() as folder:
        processes = Processes(Path(folder), os.environ)
        processes.start("head", {**model, "threads": 1, "plan_timeout_s": 3600.0})
        processes.start("edge", {**model, "threads": 1})
        try:
            number = 0
            while len(added) < frames:
                number += 1
                header = Header()
                header.stamp.sec = number
                image = rgb_to_image(scenes.frame(number).image, header.stamp, "camera")
                sent_s = time.monotonic()
                images.publish(image)
                while number not in results and time.monotonic() < sent_s + 0.5:
                    executor.spin_once(timeout_sec=0.1)
                processes.check()
                if number not in results or len(profiles) < 2:
                    continue
                received_s, result = results[number]
                if result.place != msg.InferenceResult.PLACE_EDGE:
                    continue
                head_s = result.car_slowdown * _sum(profiles["car"], head_nodes)
                tail_s = result.edge_slowdown * _sum(profiles["edge"], tail_nodes)
                added.append(received_s - sent_s - head_s - tail_s)
                parts["to_head"].append(received_s - sent_s - result.latency_s)
                parts["head"].append(result.head_s - head_s)
                parts["transfer"].append(result.transfer_s)
                parts["tail"].append(result.tail_s - tail_s)
                parts["edge_wait"].append(result.residence_s - result.tail_s)
                parts["head_wait"].append(
                    result.latency_s - result.head_s - result.transfer_s - result.residence_s
                )
                time.sleep(0.02)
        finally:
            processes.stop(within_s=8.0)
            node.destroy_node()
            rclpy.try_shutdown()
    median_ms = 1e3 * statistics.median(added)
    print(f"image to inference, beside computing: {median_ms:.2f} ms (cut at {boundary})")
    shares = {name: 1e3 * statistics.median(values) for name, values in parts.items()}
    print("  of it " + ", ".join(f"{name} {ms:.2f}" for name, ms in shares.items()))
    return {
        "path_added_ms": round(median_ms, 3),
        "path_added_p95_ms": round(1e3 * sorted(added)[int(0.95 * len(added))], 3),
        "boundary": boundary,
        "boundary_bytes": card.dag.by_name[boundary].output_bytes,
    }


def _sum(profile: Any, names: frozenset[str]) -> float:
    return sum(profile.node_seconds[name] for name in names)


if __name__ == "__main__":
    sys.exit(main())
