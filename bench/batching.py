"""Does computing several frames together pay: e(b), the seconds of a batch of b frames?

A bundled network has a batch of 1. Most of its nodes do not depend on that, so for this
bench the first axis of the input is made symbolic; a network in which that gives other answers, or
none, is named and left out. Batches of all sizes take turns, and each figure is the median of
e(b) / (b * e(1)) over the rounds: below 1 a batch pays.

    python bench/batching.py [--rounds 30] [--threads 1]

Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from statistics import median
from typing import Any

import numpy as np
import onnx

from dapdee_ros.engines.onnxruntime_sessions import small_session
from dapdee_ros.exits.card import find_model

NETWORKS = ("roadsigns", "alexnet-cifar10", "vgg16-cifar10", "roadscenes-det")
SIZES = (1, 2, 4, 8)


def batched(name: str, threads: int) -> tuple[Any, tuple[int, ...]]:
    """A session of a bundled network with a symbolic batch, and the shape of one frame."""
    model = onnx.load(find_model(name) / "model.onnx")
    (image,) = model.graph.input
    shape = tuple(d.dim_value for d in image.type.tensor_type.shape.dim)
    image.type.tensor_type.shape.dim[0].dim_param = "batch"
    # The shapes that are written beside the nodes have a batch of 1, too.
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    return small_session(model, threads, ("cpu",)), shape


def measure(name: str, threads: int, rounds: int) -> dict[str, Any]:
    """Check that a batch answers as its frames do, and time it."""
    session, shape = batched(name, threads)
    draw = np.random.default_rng(1)
    frames = draw.integers(0, 256, (max(SIZES), *shape[1:]), np.uint8)
    given = session.get_inputs()[0].name

    def run(count: int) -> list[np.ndarray]:
        answers: list[np.ndarray] = session.run(None, {given: frames[:count]})
        return answers

    together = run(max(SIZES))
    for number in range(max(SIZES)):
        alone = session.run(None, {given: frames[number : number + 1]})
        for one, all_ in zip(alone, together, strict=True):
            if not np.allclose(one[0], all_[number], rtol=1e-3, atol=1e-4):
                raise ValueError(f"frame {number} has other answers in a batch")
    seconds: dict[int, list[float]] = {size: [] for size in SIZES}
    for _ in range(rounds):
        for size in SIZES:
            begun_s = time.perf_counter()
            run(size)
            seconds[size].append(time.perf_counter() - begun_s)
    ratios = {
        size: median(s / (size * one) for s, one in zip(seconds[size], seconds[1], strict=True))
        for size in SIZES
    }
    return {"one_s": median(seconds[1]), "ratio": {str(b): round(r, 3) for b, r in ratios.items()}}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    found: dict[str, Any] = {}
    print("| network | e(1) in ms |" + "".join(f" e({b})/{b}e(1) |" for b in SIZES))
    print("| --- " * (2 + len(SIZES)) + "|")
    for name in NETWORKS:
        try:
            found[name] = measure(name, args.threads, args.rounds)
        except Exception as error:  # ONNX Runtime's own exceptions have no common class
            found[name] = {"left_out": f"{type(error).__name__}: {error}"[:200]}
            print(f"| {name} | left out: {found[name]['left_out'][:90]} |")
            continue
        ratios = "".join(f" {r:.2f} |" for r in found[name]["ratio"].values())
        print(f"| {name} | {1e3 * found[name]['one_s']:.2f} |{ratios}")
    print(json.dumps({"bench": "batching", "threads": args.threads, **found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
