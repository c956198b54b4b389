"""Do two cars lose anything to each other where one edge process serves them both?

Real nodes over real DDS: an edge, and for each car in its namespace a head, a manager and a camera,
the manager pinned to a plan that sends every frame. Printed for each car: frames accepted, where
they were answered, why some were dropped or finished on the car, and whether the ledger balances at
the end. Then the same with one car alone, for comparison.

    python bench/two_cars.py [--seconds 60] [--rate-hz 10] [--edge-slowdown 1]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

import dapdee_ros.msg as msg
from dapdee_ros.core.frames import Place
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.nodes import qos
from dapdee_ros.processes import Processes

MODEL = {"model": "roadsigns"}
CARD = read_card(find_model(MODEL["model"]))
PLAN = f"exit={len(CARD.dag.exits)} boundary={CARD.dag.input} codec=jpeg"


class Watched:
    """What one car publishes of its frames."""

    def __init__(self, node: Node, car: str) -> None:
        self.results: list[msg.InferenceResult] = []
        self.ledger = msg.FrameLedger()
        node.create_subscription(
            msg.InferenceResult, f"/{car}/inference", self.results.append, qos.RESULT
        )
        node.create_subscription(msg.FrameLedger, f"/{car}/ledger", self._take, qos.LATCHED)

    def _take(self, ledger: msg.FrameLedger) -> None:
        self.ledger = ledger

    @property
    def remote(self) -> list[float]:
        """Latencies of the frames that the edge answered, in s."""
        return [r.latency_s for r in self.results if r.place == msg.InferenceResult.PLACE_EDGE]

    def figures(self) -> dict[str, Any]:
        """The outcomes of frames since ``results`` was cleared; the ledger covers all of them."""
        ledger, remote = self.ledger, self.remote
        details = Counter(r.detail for r in self.results if r.detail)
        return {
            "accepted": ledger.accepted,
            "places": dict(Counter(Place(r.place).word for r in self.results)),
            "drops": dict(zip(ledger.drop_reasons, map(int, ledger.drop_counts), strict=True)),
            "fallbacks": dict(details),
            "balanced": ledger.accepted == ledger.results + ledger.drops + ledger.in_flight,
            "edge_latency_s": round(median(remote), 4) if remote else None,
        }


def run(cars: Sequence[str], seconds: float, rate_hz: float, slowdown: float) -> dict[str, Any]:
    """Serve these cars for so long; returns the figures of each."""
    node = Node("bench_two_cars")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    spinning = threading.Thread(target=executor.spin, daemon=True)
    watched = {car: Watched(node, car) for car in cars}
    with tempfile.TemporaryDirectory() as folder:
        sides = []
        try:
            edge = Processes(Path(folder), os.environ)
            sides.append(edge)
            edge.start(
                "edge",
                {**MODEL, "threads": 1, "cars": list(cars), "emulated_slowdown": float(slowdown)},
            )
            for car in cars:
                (Path(folder) / car).mkdir()
                side = Processes(Path(folder) / car, os.environ, remaps={"__ns": f"/{car}"})
                sides.append(side)
                side.start("head", {**MODEL, "threads": 1})
                side.start("manager", {**MODEL, "pinned_plan": PLAN})
                side.start("camera", {"source": "roadsigns", "rate_hz": rate_hz})
            spinning.start()
            begun_s = time.monotonic()
            while not all(len(w.remote) >= 20 for w in watched.values()):
                time.sleep(0.1)
                if time.monotonic() > begun_s + 90:
                    raise RuntimeError("the edge did not answer every car within 90 s")
            for of_car in watched.values():
                of_car.results.clear()
            time.sleep(seconds)
            found = {car: of_car.figures() for car, of_car in watched.items()}
        finally:
            for side in reversed(sides):
                side.stop(within_s=8.0)
        time.sleep(1.0)  # the last ledgers
    for car, of_car in watched.items():
        last = of_car.figures()
        found[car] |= {name: last[name] for name in ("accepted", "drops", "balanced")}
    executor.shutdown()
    spinning.join(5.0)
    node.destroy_node()
    return found


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate-hz", type=float, default=10.0)
    parser.add_argument("--edge-slowdown", type=float, default=1.0)
    args = parser.parse_args()
    rclpy.init()
    found = {
        "two": run(("car1", "car2"), args.seconds, args.rate_hz, args.edge_slowdown),
        "alone": run(("car1",), args.seconds, args.rate_hz, args.edge_slowdown),
    }
    print("| cars | car | accepted | edge | fallback | car | drops | edge latency (ms) |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, cars in found.items():
        for car, figures in cars.items():
            places = figures["places"]
            latency_s = figures["edge_latency_s"] or float("nan")
            print(
                f"| {name} | {car} | {figures['accepted']} | {places.get('edge', 0)} "
                f"| {places.get('fallback', 0)} | {places.get('car', 0)} "
                f"| {sum(figures['drops'].values())} | {1e3 * latency_s:.1f} |"
            )
    rclpy.try_shutdown()
    print(json.dumps({"bench": "two_cars", "seconds": args.seconds, **found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
