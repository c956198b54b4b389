"""What an edge pays, and gains, by having its network on a Ray cluster: beside the embedded engine.

The same runtime twice, with one inference thread in this process and with replicas on a Ray cluster
of this machine, by turns. First one car with one frame in flight: how long a frame stays on the
edge, the median of each, and what Ray adds to that. Then cars that keep the edge busy, with two
frames in flight each: frames per second. Embedded and replicas have one thread each, so that the
replicas together have as many processors as there are of them.

    python bench/ray_serving.py [--rounds 10] [--frames 100] [--phase-s 3] [--model M]

Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import threading
import time
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np

from dapdee_ros.codecs import encode
from dapdee_ros.core.fair_queue import QueueBounds
from dapdee_ros.core.frames import HeadFrame, Status, TailAnswer
from dapdee_ros.engines.engine import RAY_MISSING
from dapdee_ros.exits.card import find_model
from dapdee_ros.exits.runnable import Runnable, load_runnable
from dapdee_ros.runtime.cut_costs import spread_cuts
from dapdee_ros.runtime.ray_cluster import RayCluster
from dapdee_ros.runtime.ray_settings import RaySettings
from dapdee_ros.runtime.ray_worker import RayWorker
from dapdee_ros.runtime.split_network import ModelPrograms, SplitNetwork
from dapdee_ros.runtime.tail import TailRuntime

NETWORKS = ("roadsigns", "roadscenes-det")
CARS = 8
IN_FLIGHT = 2
WARM_FRAMES = 40


class Edge:
    """A runtime, and cars before it that send the same frame again and again."""

    def __init__(self, name: str, network: ModelPrograms, worker: RayWorker | None) -> None:
        self.name = name
        self._condition = threading.Condition()
        self._frame: HeadFrame | None = None
        self._in_flight = 0
        self.answers: list[TailAnswer] = []
        bounds = QueueBounds(frames=IN_FLIGHT)
        self.tail = TailRuntime(network, self._take, bounds=bounds, worker=worker)
        self.tail.start()

    def one_by_one(self, frame: HeadFrame, count: int) -> list[float]:
        """Seconds on the edge of each of so many frames of one car."""
        self.answers = []
        for _ in range(count):
            self._send(frame, 0)
            self._wait()
        return [answer.residence_s for answer in self.answers]

    def busy(self, frame: HeadFrame, seconds: float) -> float:
        """Answers per second while cars keep it busy."""
        self.answers, self._frame = [], frame
        begun_s = time.monotonic()
        for car in range(CARS):
            for _ in range(IN_FLIGHT):
                self._send(frame, car)
        time.sleep(seconds)
        answered, took_s = len(self.answers), time.monotonic() - begun_s
        self._frame = None
        self._wait()
        return answered / took_s

    def _send(self, frame: HeadFrame, car: int) -> None:
        with self._condition:
            self._in_flight += 1
        self.tail.submit(replace(frame, car_id=f"car{car}", context=car))

    def _take(self, answer: TailAnswer) -> None:
        if answer.status is not Status.OK:
            raise RuntimeError(f"{answer.status.name}: {answer.detail}")
        with self._condition:
            self.answers.append(answer)
            self._in_flight -= 1
            self._condition.notify_all()
        if (frame := self._frame) is not None:
            self._send(frame, answer.context)

    def _wait(self) -> None:
        with self._condition:
            if not self._condition.wait_for(lambda: not self._in_flight, 60.0):
                raise RuntimeError(f"{self.name}: a frame was not answered")


def frame_of(model: Runnable, boundary: str) -> HeadFrame:
    """A head's frame."""
    dag = model.card.dag
    image = np.random.default_rng(1).integers(0, 256, dag.nodes[0].shape, np.uint8)
    specs, data = encode(model.engine.run({dag.input: image}, [boundary]), "f32")
    return HeadFrame(1, 1, 0.0, model.card.model_id, len(dag.exits), "f32", specs, data)


def measure(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Everything of one network; prints its rows."""
    model = load_runnable(find_model(name), threads=1)
    dag = model.card.dag
    cuts = spread_cuts(dag, len(dag.exits), 4)
    settings = RaySettings(ray_replicas=args.replicas)
    cluster = RayCluster(model.card, settings, name="bench")
    edges: list[Edge] = []
    found: dict[str, Any] = {}
    try:
        remote = ModelPrograms(model.card)
        worker = RayWorker(
            remote, cluster, in_flight=settings.ray_in_flight, most_replicas=args.replicas
        )
        edges = [Edge("embedded", SplitNetwork(model), None), Edge("ray", remote, worker)]
        for part, boundary in (("whole", dag.input), ("behind a cut", cuts[len(cuts) // 2])):
            frame = frame_of(model, boundary)
            for edge in edges:
                edge.one_by_one(frame, WARM_FRAMES)
                edge.busy(frame, 1.0)
            alone_s: dict[str, list[float]] = {edge.name: [] for edge in edges}
            rates: dict[str, list[float]] = {edge.name: [] for edge in edges}
            for turn in range(args.rounds):
                for edge in edges if turn % 2 else reversed(edges):
                    alone_s[edge.name] += edge.one_by_one(frame, args.frames)
            for turn in range(args.rounds):
                for edge in edges if turn % 2 else reversed(edges):
                    rates[edge.name].append(edge.busy(frame, args.phase_s))
            embedded_s, ray_s = (median(seconds) for seconds in alone_s.values())
            embedded_hz, ray_hz = (median(rate) for rate in rates.values())
            found[part] = {
                "bytes": len(frame.data),
                "embedded_s": round(embedded_s, 5),
                "ray_s": round(ray_s, 5),
                "added_s": round(ray_s - embedded_s, 5),
                "ray_p95_s": round(float(np.quantile(alone_s["ray"], 0.95)), 5),
                "embedded_hz": round(embedded_hz, 1),
                "ray_hz": round(ray_hz, 1),
            }
            print(
                f"| {name}, {part} | {len(frame.data) / 1000:.0f} kB | {1e3 * embedded_s:.2f} | "
                f"{1e3 * ray_s:.2f} | {1e3 * (ray_s - embedded_s):.2f} | {embedded_hz:.0f} | "
                f"{ray_hz:.0f} |",
                flush=True,
            )
    finally:
        for edge in edges:
            edge.tail.stop()
        cluster.close()
    return found


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--phase-s", type=float, default=3.0)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--model", action="append", help="a network, several times")
    args = parser.parse_args()
    if importlib.util.find_spec("ray") is None:
        print(f"left out: it {RAY_MISSING}, or make test-ray")
        print(json.dumps({"bench": "ray_serving", "left_out": "no Ray"}))
        return 0
    heads = ["network", "sent", "ms embedded", "on Ray", "added", "frames/s embedded", "on Ray"]
    print("| " + " | ".join(heads) + " |\n" + "| --- " * len(heads) + "|")
    found = {name: measure(name, args) for name in args.model or NETWORKS}
    facts = {"replicas": args.replicas, "cores": os.cpu_count()}
    print(json.dumps({"bench": "ray_serving", **facts, **found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
