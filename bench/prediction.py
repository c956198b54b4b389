"""Does a plan's price come true? Predicted against measured seconds of heads and tails.

On this machine, one thread, batch 1: for a seeded sample of each network's cuts, the sums of
profiled node times that the planner prices a head and a tail with, against the time that running
them takes. The tail gets its tensors contiguous and newly made, as a decoder hands them over.

Profiles and measurements take turns: each round makes a profile (as `dapdee profile` does) and then
runs every cut; what counts for a cut is the median over the rounds of that round's ratio. Otherwise
the drift of the machine between the two would decide. Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import defaultdict
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dapdee_ros.engines.engine import ENGINES, Engine
from dapdee_ros.engines.onnx_export import export
from dapdee_ros.engines.onnxruntime_engine import OnnxRuntimeEngine
from dapdee_ros.engines.torch_engine import TorchEngine
from dapdee_ros.graph.cuts import Cut, cuts
from dapdee_ros.graph.runner import GraphRunner
from dapdee_ros.graph.torchvision_import import torchvision
from dapdee_ros.graph.trace import trace
from dapdee_ros.planning.candidates import CAR, EDGE, CostBasis
from dapdee_ros.planning.codec_cost import AsIs
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.runtime.profiling import device_name, measure_engine

NETWORKS = ("resnet18", "mobilenet_v2", "googlenet")
SIZE = 224
MOST_MEDIAN, MOST_P95 = 0.10, 0.25


def network(name: str, engine: str) -> Engine:
    """A torchvision network with random weights, as an engine computes it."""
    torch.manual_seed(0)
    arguments = {"init_weights": False} if name == "googlenet" else {}
    model = getattr(torchvision.models, name)(weights=None, **arguments).eval()
    traced = trace(model, torch.randn(1, 3, SIZE, SIZE))
    if engine == "torch":
        return TorchEngine(GraphRunner(traced))
    return OnnxRuntimeEngine(export(traced))


def sample_cuts(engine: Engine, count: int) -> list[Cut]:
    """Cuts with work on both sides, a seeded sample where there are more."""
    both = [cut for cut in cuts(engine.dag, 1) if cut.boundary and len(cut.nodes) > 1]
    return both if len(both) <= count else random.Random(0).sample(both, count)


def predict(engine: Engine, profile: DeviceProfile, cut: Cut) -> tuple[float, float]:
    """Seconds of head and tail as the planner prices them."""
    basis = CostBasis.of(engine.dag, profile, profile, [AsIs()], [0.0])
    heads = np.array([[node.name in cut.nodes for node in engine.dag.nodes]])
    priced = basis.price(1, heads)
    return priced.worst.item(CAR, 0), priced.worst.item(EDGE, 0)


def measure(engine: Engine, image: NDArray[np.float32], cut: Cut, runs: int) -> tuple[float, float]:
    """Median seconds of head and tail."""
    clock = time.perf_counter
    heads, tails = [], []
    for _ in range(runs):
        began = clock()
        boundary = engine.run({engine.dag.input: image}, cut.boundary)
        heads.append(clock() - began)
        arrived = {name: np.array(tensor, order="C") for name, tensor in boundary.items()}
        del boundary
        began = clock()
        engine.run(arrived, engine.dag.outputs)
        tails.append(clock() - began)
    return median(heads), median(tails)


def study(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Errors of one network's sample."""
    engine = network(name, args.engine)
    image = np.random.default_rng(0).normal(size=engine.dag.nodes[0].shape).astype(np.float32)
    chosen = sample_cuts(engine, args.cuts)
    for cut in chosen:
        measure(engine, image, cut, 1)  # allocates, and compiles the two parts
    predicted, measured, ratios = defaultdict(list), defaultdict(list), defaultdict(list)
    for _ in range(args.rounds):
        profile = measure_engine(engine, model_id=name, budget_s=args.budget_s)
        for number, cut in enumerate(chosen):
            expected = predict(engine, profile, cut)
            found = measure(engine, image, cut, args.runs)
            for side, one, other in zip(("head", "tail"), expected, found, strict=True):
                predicted[number, side].append(one)
                measured[number, side].append(other)
                ratios[number, side].append(one / other)
    errors = {key: abs(median(values) - 1) for key, values in ratios.items()}
    if args.verbose:
        for key in sorted(errors, key=lambda k: errors[k], reverse=True):
            number, side = key
            print(
                f"  {side} {median(predicted[key]) * 1e3:8.3f} ms predicted, "
                f"{median(measured[key]) * 1e3:8.3f} measured, {errors[key]:6.1%}  "
                f"{len(chosen[number].nodes)} nodes, {' '.join(chosen[number].boundary)}"
            )
    figures: dict[str, Any] = {"cuts": len(chosen)}
    for side in ("head", "tail", "both"):
        of_side = [e for (_, where), e in errors.items() if side in (where, "both")]
        figures[side] = {
            "median": round(median(of_side), 4),
            "p95": round(float(np.percentile(of_side, 95)), 4),
            "worst": round(max(of_side), 4),
        }
    whole_s = median(measured[0, "head"]) + median(measured[0, "tail"])
    figures["whole_ms"] = round(whole_s * 1e3, 2)
    return figures | {
        "met": figures["both"]["median"] <= MOST_MEDIAN and figures["both"]["p95"] <= MOST_P95
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--engine", choices=ENGINES, default="onnxruntime", help="what computes")
    parser.add_argument("--cuts", type=int, default=30, help="cuts a network")
    parser.add_argument("--rounds", type=int, default=9, help="turns of profile and measurement")
    parser.add_argument("--runs", type=int, default=5, help="runs of a cut in a round")
    parser.add_argument("--budget-s", type=float, default=2.5, help="seconds a profile takes")
    parser.add_argument("--verbose", action="store_true", help="print every cut")
    args = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, Any] = {"bench": "prediction", "engine": args.engine}
    figures |= {"device": device_name(), "threads": 1}
    for name in args.networks:
        figures[name] = study(name, args)
        print(name, json.dumps(figures[name]), flush=True)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
