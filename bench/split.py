"""What does splitting cost? Head plus tail against the unsplit eager network, time and memory.

Time: batch 1, one thread; for every legal cut (a seeded sample where there are many) the eager
network and head plus tail take turns, and each cut gives the ratio of their medians. The tail gets
its tensors contiguous and newly made, as a decoder hands them over; encoding is not counted.

Memory: the peak of a process that loads the network and runs every one of those cuts, and of one
that only ever runs the eager network.

Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from dapdee_ros.graph.cuts import TooManyCuts, contract, cuts
from dapdee_ros.graph.dag import ModelDag
from dapdee_ros.graph.runner import GraphRunner
from dapdee_ros.graph.torchvision_import import torchvision
from dapdee_ros.graph.trace import trace

NETWORKS = ("resnet18", "mobilenet_v2", "googlenet")
SIZE = 224


def network(name: str) -> tuple[nn.Module, Tensor]:
    """A torchvision network with random weights, and an input for it."""
    torch.manual_seed(0)
    arguments = {"init_weights": False} if name == "googlenet" else {}
    model = getattr(torchvision.models, name)(weights=None, **arguments).eval()
    return model, torch.randn(1, 3, SIZE, SIZE)


def boundaries(dag: ModelDag, count: int) -> list[tuple[str, ...]]:
    """Boundaries of all legal cuts, or of a seeded sample with edge-only in it."""
    try:
        every = [cut.boundary for cut in cuts(dag, 1)]
    except TooManyCuts:
        every = [cut.boundary for cut in cuts(contract(dag).dag, 1)]
    every = [boundary for boundary in every if boundary]
    if len(every) <= count:
        return every
    return [every[0], *random.Random(0).sample(every[1:], count - 1)]


def seconds(run: Callable[[], Any]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def split(runner: GraphRunner, image: Tensor, boundary: tuple[str, ...]) -> Callable[[], float]:
    """A function that runs head and tail and returns their seconds."""
    given, exits = {runner.dag.input: image}, runner.dag.outputs

    def once() -> float:
        began = time.perf_counter()
        head = runner.run(given, boundary)
        head_s = time.perf_counter() - began
        arrived = {name: tensor.contiguous().clone() for name, tensor in head.items()}
        del head
        began = time.perf_counter()
        runner.run(arrived, exits)
        return head_s + time.perf_counter() - began

    return once


def measure_time(name: str, count: int, rounds: int) -> dict[str, float]:
    """Ratios of head plus tail to eager and to this runner's own unsplit run, over the cuts."""
    model, image = network(name)
    runner = GraphRunner(trace(model, image))
    given, exits = {runner.dag.input: image}, runner.dag.outputs

    def eager() -> None:
        with torch.inference_mode():
            model(image)

    def unsplit() -> None:
        runner.run(given, exits)

    over_eager, over_unsplit = [], []
    chosen = boundaries(runner.dag, count)
    for boundary in chosen:
        once = split(runner, image, boundary)
        once()  # allocates, and compiles the two plans
        times: list[tuple[float, float, float]] = []
        for _ in range(rounds):
            times.append((seconds(eager), once(), seconds(unsplit)))
        eager_s, split_s, unsplit_s = (median(column) for column in zip(*times, strict=True))
        over_eager.append(split_s / eager_s)
        over_unsplit.append(split_s / unsplit_s)
    return {
        "cuts": len(chosen),
        "over_eager": round(median(over_eager), 4),
        "over_eager_worst": round(max(over_eager), 4),
        "over_own_unsplit": round(median(over_unsplit), 4),
    }


def run_for_memory(name: str, what: str, count: int) -> None:
    """In a process of its own: run, then print the peak of resident memory in bytes."""
    model, image = network(name)
    if what == "eager":
        with torch.inference_mode():
            for _ in range(10):
                model(image)
    else:
        traced = trace(model, image)
        # As a model folder is loaded.
        del model
        runner = GraphRunner(traced, use_up=True)
        given = {runner.dag.input: image}
        for boundary in boundaries(runner.dag, count):
            head = runner.run(given, boundary)
            runner.run({n: t.contiguous().clone() for n, t in head.items()}, runner.dag.outputs)
        runner.run(given, runner.dag.outputs)
    # Not getrusage: its peak counts from before exec, so it is never below the parent's size then.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            print(int(line.split()[1]) * 1024)


def peak_bytes(name: str, what: str, count: int) -> int:
    """Peak of resident memory of a fresh process that runs ``what``."""
    command = [sys.executable, __file__, "--memory-of", name, "--running", what, "--cuts"]
    root = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [*command, str(count)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    return int(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--cuts", type=int, default=60, help="cuts per network at most")
    parser.add_argument("--rounds", type=int, default=9, help="runs of each kind per cut")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("--running", choices=("eager", "cuts"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory_of:
        run_for_memory(options.memory_of, options.running, options.cuts)
        return
    result: dict[str, Any] = {"bench": "split", "torch": torch.__version__, "threads": 1}
    for name in options.networks:
        # Pairs, because the peak of one process differs a little from one start to the next.
        pairs = [
            (peak_bytes(name, "cuts", options.cuts), peak_bytes(name, "eager", options.cuts))
            for _ in range(3)
        ]
        row: dict[str, Any] = {
            **measure_time(name, options.cuts, options.rounds),
            "peak_memory_over_eager": round(median(a / b for a, b in pairs), 4),
            "eager_peak_bytes": int(median(b for _, b in pairs)),
        }
        result[name] = row
        print(
            f"{name}: head plus tail / eager {row['over_eager']} (worst {row['over_eager_worst']}) "
            f"over {row['cuts']} cuts, / own unsplit {row['over_own_unsplit']}, "
            f"peak memory / eager {row['peak_memory_over_eager']}",
            flush=True,
        )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
