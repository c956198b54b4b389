"""What the sealed link adds on the whole way: head tensor published to edge's answer received.

Two real edge processes, one open and one sealed, and this process as the head of both; they take
turns, one frame at a time. The frames are for a model that the edge does not have: it checks and
answers them as all others but computes nothing, so what is measured is the way.

    python bench/sealing.py [--frames 300]

The last line is JSON. A frame's time is from before ``publish`` to the callback with the answer.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dapdee_ros.nodes.process import prepare_dds
from dapdee_ros.sealing.channels import Role
from dapdee_ros.sealing.configured import SealedLink
from dapdee_ros.sealing.key_file import new_ring, save_new

SIZES = {"2kB": 2_000, "200kB": 200_000}
ROOT = Path(__file__).resolve().parents[1]
_PAUSE_S = 0.01
_ANSWER_S = 5.0
_START_S = 60.0
_WARM_UP = 20


class Way:
    """One head's end of a link, and the edge at the other end."""

    def __init__(self, name: str, link: SealedLink | None) -> None:
        import rclpy

        import dapdee_ros.msg as msg
        from dapdee_ros.estimation.rejections import Rejections
        from dapdee_ros.nodes import qos
        from dapdee_ros.nodes.link import LinkEnd, OpenEnd
        from dapdee_ros.nodes.sealed_link import SealedEnd

        self.name = name
        self.node = rclpy.create_node("head", namespace=name)
        self.end: LinkEnd = (
            OpenEnd(self.node) if link is None else SealedEnd(self.node, Role.HEAD, link)
        )
        self._publisher = self.end.publisher("head_tensor", msg.HeadTensor, qos.tensor_qos(True, 4))
        self.end.listen(
            "edge_result", msg.InferenceResult, self._take, qos.tensor_qos(True, 10), Rejections()
        )
        self._answered = threading.Event()
        self._number = 0
        self._at_s = 0.0
        self.times_s: dict[str, list[float]] = {size: [] for size in SIZES}

    def _take(self, answer: Any) -> None:
        now_s = time.monotonic()
        if answer.frame_number == self._number:
            self._at_s = now_s
            self._answered.set()

    def ask(self, size: str, *, within_s: float = _ANSWER_S) -> float | None:
        """Send a frame; the seconds until its answer, None if there was none."""
        import dapdee_ros.msg as msg

        self._number += 1
        self._answered.clear()
        message = msg.HeadTensor(
            frame_number=self._number, session=1, model_id="0" * 64, exit=1, codec="f32"
        )
        message.data = os.urandom(SIZES[size])
        sent_s = message.sent_s = time.monotonic()
        self._publisher.publish(message)
        return self._at_s - sent_s if self._answered.wait(within_s) else None


def main() -> int:
    """Measure and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=300, help="frames of each size and way")
    args = parser.parse_args()
    own = random.SystemRandom().randrange(1, 100)
    os.environ |= {
        "ROS_DOMAIN_ID": str(own),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "OMP_NUM_THREADS": "1",
    }
    prepare_dds(large_messages=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ROS_LOG_DIR"] = folder
        link = SealedLink(Path(folder) / "bench.json", own + 1)
        save_new(new_ring("bench", datetime.now(UTC).isoformat()), link.key_file)
        sealed = {"DAPDEE_LINK_KEY": str(link.key_file), "DAPDEE_LINK_DOMAIN": str(own + 1)}
        edges = [
            _start_edge("open", {"DAPDEE_LINK_KEY": "none"}),
            _start_edge("sealed", sealed),
        ]
        try:
            figures = _measure(link, args.frames)
        finally:
            for edge in edges:
                edge.terminate()
                edge.wait()
    print(json.dumps(figures))
    return 0


def _start_edge(name: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(ROOT / "scripts" / "edge"), "--ros-args"]
    command += ["-p", "model:=roadsigns", "-p", "threads:=1", "-r", f"__ns:=/{name}"]
    return subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _measure(link: SealedLink, frames: int) -> dict[str, Any]:
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    rclpy.init(args=[])
    ways = [Way("open", None), Way("sealed", link)]
    executor = SingleThreadedExecutor()
    for way in ways:
        executor.add_node(way.node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    try:
        end_s = time.monotonic() + _START_S
        for way in ways:
            while way.ask("2kB", within_s=0.5) is None:
                if time.monotonic() > end_s:
                    raise SystemExit(f"the edge of the {way.name} way did not answer")
        for number in range(frames + _WARM_UP):
            for size in SIZES:
                for way in ways if number % 2 else reversed(ways):
                    taken_s = way.ask(size)
                    if taken_s is not None and number >= _WARM_UP:
                        way.times_s[size].append(taken_s)
                    time.sleep(_PAUSE_S)
    finally:
        executor.shutdown(timeout_sec=1.0)
        thread.join(2.0)
        for way in ways:
            way.end.close()
            way.node.destroy_node()
        rclpy.try_shutdown()
    return _figures(ways, frames)


def _figures(ways: list[Way], frames: int) -> dict[str, Any]:
    figures: dict[str, Any] = {"bench": "sealing", "frames": frames}
    for size in SIZES:
        medians = {way.name: 1e3 * statistics.median(way.times_s[size]) for way in ways}
        lost = sum(frames - len(way.times_s[size]) for way in ways)
        added_ms = medians["sealed"] - medians["open"]
        figures |= {f"{name}_{size}_ms": round(value, 3) for name, value in medians.items()}
        figures |= {
            f"added_{size}_ms": round(added_ms, 3),
            f"ratio_{size}": round(medians["sealed"] / medians["open"], 3),
            f"unanswered_{size}": lost,
        }
        print(
            f"{size}: open {medians['open']:.2f} ms, sealed {medians['sealed']:.2f} ms, "
            f"added {added_ms:.2f} ms"
        )
    return figures


if __name__ == "__main__":
    sys.exit(main())
