"""Does computing several frames together pay: e(b), and an edge's throughput with and without.

e(b) is the time of a batch of b frames under the engine, for the whole network and for its part
behind a cut in the middle. Batches of all sizes take turns, and each figure is the median of
e(b) / (b e(1)) over the rounds: below 1 a batch pays.

Then eight cars keep the edge's runtime busy, each with two frames in flight, all of the same part;
phases in which frames may be computed together take turns with phases in which they may not
(``most_batch`` 8 and 1). The same again with one frame in flight and a cut of its own for each car,
so that nothing can be computed together. The ratio is that of the frames per second, the median
over pairs of phases; processor time per frame, which other guests of a machine disturb less, is
beside it. Latency is from a frame's arrival to its answer.

    python bench/batching.py [--rounds 30] [--phases 21] [--phase-s 0.5] [--threads 1] [--model M]

Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np

from dapdee_ros.codecs import encode
from dapdee_ros.core.fair_queue import QueueBounds
from dapdee_ros.core.frames import HeadFrame, Status, TailAnswer
from dapdee_ros.engines.engine import Array, EngineError
from dapdee_ros.exits.card import find_model
from dapdee_ros.exits.runnable import Runnable, load_runnable
from dapdee_ros.runtime.cut_costs import spread_cuts
from dapdee_ros.runtime.split_network import SplitNetwork
from dapdee_ros.runtime.tail import TailRuntime

NETWORKS = ("roadsigns", "alexnet-cifar10", "vgg16-cifar10", "roadscenes-det", "roadscenes-seg")
SIZES = (1, 2, 4, 8)
CARS = 8
IN_FLIGHT = 2
WARM_S = 4.0
"""Seconds before the first phase, in which the edge compiles and finds out what pays."""


def images(model: Runnable, count: int) -> list[Array]:
    """Frames of a network's size."""
    draw = np.random.default_rng(1)
    shape = model.card.dag.nodes[0].shape
    return [draw.integers(0, 256, shape, np.uint8) for _ in range(count)]


def batch_times(model: Runnable, boundary: str, rounds: int) -> dict[str, Any]:
    """e(1) in s and e(b) / (b e(1)) of the part behind a boundary."""
    engine, dag = model.engine, model.card.dag
    outputs = dag.exit_outputs(len(dag.exits))
    frames = [engine.run({dag.input: image}, [boundary]) for image in images(model, max(SIZES))]
    engine.prepare_batches([boundary], outputs)
    seconds: dict[int, list[float]] = {size: [] for size in SIZES}
    for _ in range(rounds + 1):
        for size in SIZES:
            begun_s = time.perf_counter()
            if size == 1:
                engine.run(frames[0], outputs)
            else:
                engine.run_batch(frames[:size], outputs)
            seconds[size].append(time.perf_counter() - begun_s)
    # The first round allocates.
    timed = {size: values[1:] for size, values in seconds.items()}
    ratios = {
        size: median(s / (size * one) for s, one in zip(timed[size], timed[1], strict=True))
        for size in SIZES
    }
    return {"one_s": median(timed[1]), "ratio": {str(b): round(r, 3) for b, r in ratios.items()}}


class Cars:
    """Eight cars before one edge, each with as many frames in flight while it is driven."""

    def __init__(
        self, model: Runnable, frames: Sequence[HeadFrame], most_batch: int, in_flight: int
    ) -> None:
        self._frames, self._each = frames, in_flight
        self._driving = False
        self._in_flight = 0
        self.answered = 0
        self.latencies_s: list[float] = []
        self.tail = TailRuntime(
            SplitNetwork(model),
            self._answer,
            bounds=QueueBounds(frames=in_flight),
            most_batch=most_batch,
        )
        self.tail.start()

    def drive(self, seconds: float) -> tuple[float, float, float]:
        """Answers per second, the median latency, and the processor's seconds per frame."""
        self.answered, self.latencies_s = 0, []
        self._driving = True
        begun_s, busy_s = time.monotonic(), time.process_time()
        for car in range(CARS):
            for _ in range(self._each):
                self._send(car)
        time.sleep(seconds)
        answered, took_s = self.answered, time.monotonic() - begun_s
        self._driving = False
        while self._in_flight:
            time.sleep(0.01)
        busy_s = (time.process_time() - busy_s) / self.answered
        return answered / took_s, median(self.latencies_s), busy_s

    def _send(self, car: int) -> None:
        self._in_flight += 1
        self.tail.submit(replace(self._frames[car], car_id=f"car{car}", context=car))

    def _answer(self, answer: TailAnswer) -> None:
        self._in_flight -= 1
        if answer.status is not Status.OK:
            raise RuntimeError(f"{answer.status.name}: {answer.detail}")
        self.answered += 1
        self.latencies_s.append(answer.residence_s)
        if self._driving:
            self._send(answer.context)


def frame_of(model: Runnable, image: Array, boundary: str, exit_number: int) -> HeadFrame:
    """A head's frame."""
    sent = model.engine.run({model.card.dag.input: image}, [boundary])
    specs, data = encode(sent, "f32")
    return HeadFrame(1, 1, 0.0, model.card.model_id, exit_number, "f32", specs, data)


def throughput(
    model: Runnable, boundaries: Sequence[str], in_flight: int, args: argparse.Namespace
) -> dict[str, Any]:
    """Frames per second of an edge with batches and without, by turns.

    Args:
        model: the network.
        boundaries: where each car cuts.
        in_flight: frames of each car.
        args: how many phases of each, and how long one lasts.
    """
    last = len(model.card.dag.exits)
    frames = [
        frame_of(model, image, boundary, last)
        for image, boundary in zip(images(model, CARS), boundaries, strict=True)
    ]
    sides = {most: Cars(model, frames, most, in_flight) for most in (1, max(SIZES))}
    rates: dict[int, list[float]] = {most: [] for most in sides}
    latencies_s: dict[int, list[float]] = {most: [] for most in sides}
    busy_s: dict[int, list[float]] = {most: [] for most in sides}
    try:
        for cars in sides.values():
            cars.drive(WARM_S)
        counts = {most: (cars.tail.computed, cars.tail.runs) for most, cars in sides.items()}
        for phase in range(args.phases):
            for most in sorted(sides, reverse=bool(phase % 2)):
                rate, latency_s, frame_s = sides[most].drive(args.phase_s)
                busy_s[most].append(frame_s)
                rates[most].append(rate)
                latencies_s[most].append(latency_s)
        together = sides[max(SIZES)]
        computed, runs = counts[max(SIZES)]
        per_run = (together.tail.computed - computed) / (together.tail.runs - runs)
    finally:
        for cars in sides.values():
            cars.tail.stop()
    one, many = (rates[most] for most in sides)
    return {
        "alone_hz": round(median(one), 1),
        "together_hz": round(median(many), 1),
        "ratio": round(median(m / o for o, m in zip(one, many, strict=True)), 3),
        "processor": round(
            median(m / o for o, m in zip(busy_s[1], busy_s[max(SIZES)], strict=True)), 3
        ),
        "frames_per_run": round(per_run, 2),
        "alone_latency_s": round(median(latencies_s[1]), 4),
        "together_latency_s": round(median(latencies_s[max(SIZES)]), 4),
    }


def row(rates: dict[str, Any]) -> str:
    """The end of a table's row."""
    latencies_ms = (1e3 * rates[f"{how}_latency_s"] for how in ("alone", "together"))
    figures = [rates[key] for key in ("alone_hz", "together_hz", "ratio", "processor")]
    figures += [rates["frames_per_run"], *(f"{latency:.0f}" for latency in latencies_ms)]
    return "".join(f" {figure} |" for figure in figures)


def measure(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Everything of one network; prints its rows."""
    model = load_runnable(find_model(name), threads=args.threads)
    dag = model.card.dag
    cuts = spread_cuts(dag, len(dag.exits), CARS)
    middle = cuts[len(cuts) // 2]
    found: dict[str, Any] = {}
    for part, boundary in (("whole", dag.input), ("behind a cut", middle)):
        try:
            found[part] = batch_times(model, boundary, args.rounds)
        except EngineError as error:
            found[part] = {"left_out": str(error)[:200]}
            print(f"| {name}, {part} | {found[part]['left_out'][:90]} |", flush=True)
            continue
        ratios = "".join(f" {r:.2f} |" for r in found[part]["ratio"].values())
        rates = throughput(model, [boundary] * CARS, IN_FLIGHT, args)
        found[part] |= {"cars": rates}
        print(
            f"| {name}, {part} | {1e3 * found[part]['one_s']:.2f} |{ratios}{row(rates)}", flush=True
        )
    if len(cuts) == CARS:
        found["other cuts"] = rates = throughput(model, cuts, 1, args)
        print(f"| {name}, eight cuts | |{' |' * len(SIZES)}{row(rates)}", flush=True)
    return found


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--phases", type=int, default=21)
    parser.add_argument("--phase-s", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", action="append", help="a network, several times; all")
    args = parser.parse_args()
    heads = ["network", "e(1) in ms", *(f"e({b})/{b}e(1)" for b in SIZES), "frames/s one by one"]
    heads += [
        "in batches",
        "ratio",
        "processor time",
        "frames per run",
        "latency in ms",
        "in batches",
    ]
    print("| " + " | ".join(heads) + " |\n" + "| --- " * len(heads) + "|")
    found = {name: measure(name, args) for name in args.model or NETWORKS}
    print(json.dumps({"bench": "batching", "threads": args.threads, **found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
