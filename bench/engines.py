"""What engines take for whole networks and for networks cut in two, in one run, on one thread.

For each network: a bare ONNX Runtime session, our engine's whole network and head plus tail over
seeded cuts, the torch engine's whole network, and the torch module itself. All of them take turns,
so that whatever else the machine does hits all alike; medians. Ends with one JSON line.

    python bench/engines.py
    python bench/engines.py --networks resnet18 googlenet --cuts 10
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import torch
from tqdm import tqdm

from dapdee_ros.engines.onnx_export import export
from dapdee_ros.engines.onnxruntime_engine import OnnxRuntimeEngine
from dapdee_ros.engines.torch_engine import TorchEngine
from dapdee_ros.graph.cuts import cuts
from dapdee_ros.graph.dag import ModelDag
from dapdee_ros.graph.runner import GraphRunner
from dapdee_ros.graph.torchvision_import import torchvision
from dapdee_ros.graph.trace import trace

NETWORKS = ("resnet18", "mobilenet_v2", "googlenet", "mobilenet_v3_small", "efficientnet_b0")
SIDE = 224
MOST_DIFFERENT = 1e-4


def arguments_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=NETWORKS, help="of torchvision")
    parser.add_argument("--cuts", type=int, default=30, help="cuts per network (default 30)")
    parser.add_argument("--rounds", type=int, default=9, help="runs of each (default 9)")
    return parser.parse_args()


def sample(dag: ModelDag, count: int) -> list[tuple[str, ...]]:
    """Boundaries of seeded cuts, that of the input left out."""
    found = {cut.boundary for cut in cuts(dag, len(dag.exits)) if cut.boundary}
    inner = sorted(found - {(dag.input,)})
    return random.Random(1).sample(inner, min(count, len(inner)))


def study(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Times of one network, as ratios to a bare session."""
    torch.manual_seed(0)
    build = {"init_weights": True} if name == "googlenet" else {}
    module = torchvision.models.get_model(name, weights=None, **build).eval()
    image = torch.rand(1, 3, SIDE, SIDE)
    traced = trace(module, image)
    network = export(traced)
    dag, outputs = network.dag, list(network.dag.outputs)
    given = {dag.input: image.numpy()}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    path = network.folder / "bare.onnx"
    path.write_bytes(network.part([dag.input], outputs).model.SerializeToString())
    bare = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    engine, own = OnnxRuntimeEngine(network), TorchEngine(GraphRunner(traced))
    boundaries = sample(dag, args.cuts)
    started_s = time.perf_counter()
    for boundary in boundaries:
        engine.prepare([dag.input], [boundary])
        engine.prepare(boundary, [outputs])
    compile_s = (time.perf_counter() - started_s) / max(1, 2 * len(boundaries))

    def eager() -> object:
        with torch.inference_mode():
            return module(image)

    def split(boundary: tuple[str, ...]) -> Callable[[], object]:
        return lambda: engine.run(engine.run(given, boundary), outputs)

    expected = bare.run(outputs, given)[-1]
    different = 0.0
    for boundary in boundaries:
        came = engine.run(engine.run(given, boundary), outputs)[outputs[-1]]
        different = max(different, float(np.abs(came - expected).max() / np.abs(expected).max()))
    runs: dict[Any, Callable[[], object]] = {
        "bare": lambda: bare.run(outputs, given),
        "whole": lambda: engine.run(given, outputs),
        "torch engine": lambda: own.run(given, outputs),
        "eager torch": eager,
        **{boundary: split(boundary) for boundary in boundaries},
    }
    took: dict[Any, list[float]] = {key: [] for key in runs}
    for run in runs.values():
        run()
    for _ in tqdm(range(args.rounds), desc=name, file=sys.stderr):
        for place, key in enumerate(runs):
            for what in (key, "bare") if place % 5 == 4 else (key,):
                began_s = time.perf_counter()
                runs[what]()
                took[what].append(time.perf_counter() - began_s)
    bare_s = statistics.median(took["bare"])
    ratios = {key: statistics.median(times) / bare_s for key, times in took.items()}
    of_cuts = [ratios[boundary] for boundary in boundaries]
    return {
        "network": name,
        "bare_ms": round(1e3 * bare_s, 2),
        "whole": round(ratios["whole"], 3),
        "cuts": len(boundaries),
        "split_median": round(statistics.median(of_cuts), 3),
        "split_worst": round(max(of_cuts), 3),
        "torch_engine": round(ratios["torch engine"], 2),
        "eager_torch": round(ratios["eager torch"], 2),
        "compile_ms_per_part": round(1e3 * compile_s, 1),
        "most_different": float(f"{different:.1e}"),
        "weights_mb": round(engine.shared_bytes / 1e6, 1),
    }


def main() -> int:
    """Run, print a table, end with one JSON line."""
    args = arguments_of()
    torch.set_num_threads(1)
    rows = [study(name, args) for name in args.networks]
    columns = list(rows[0])
    print(" ".join(f"{column:>13}" for column in columns))
    for row in rows:
        print(" ".join(f"{row[column]!s:>{max(13, len(column))}}" for column in columns))
    ok = all(row["most_different"] <= MOST_DIFFERENT for row in rows)
    print(json.dumps({"bench": "engines", "ok": ok, "side": SIDE, "rows": rows}))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
