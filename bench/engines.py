"""What engines take for whole networks and for networks cut in two, in one run, on one thread.

For each network: a bare ONNX Runtime session, our engine's whole network and head plus tail over
seeded cuts, our torch engine, the torch module itself, the same through torch.compile, and
OpenVINO. All of them take turns in blocks of a few runs, each right after a block of the bare
session, so that whatever else the machine does hits both; a ratio is that of their medians. Short
networks run more often. A cut may separate an operator from its activation, which ONNX Runtime
computes at once where they are together; ``merged_worst`` is of cuts that do not (of
``graph.cuts.contract``). What is not installed, or does not apply, is named and left out. Ends with
one JSON line.

    python bench/engines.py
    python bench/engines.py --networks resnet18 googlenet --cuts 10
    python bench/engines.py --networks detectors/yolox_nano.onnx --no-compile
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import math
import os
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from tqdm import tqdm

from dapdee_ros.engines.onnx_export import export
from dapdee_ros.engines.onnx_import import NORMALISED, Pixels, import_onnx
from dapdee_ros.engines.onnx_model import OnnxModel
from dapdee_ros.engines.onnxruntime_engine import OnnxRuntimeEngine
from dapdee_ros.engines.torch_engine import TorchEngine
from dapdee_ros.graph.cuts import TooManyCuts, contract, cuts
from dapdee_ros.graph.dag import ModelDag
from dapdee_ros.graph.runner import GraphRunner
from dapdee_ros.graph.torchvision_import import torchvision
from dapdee_ros.graph.trace import trace

NETWORKS = ("resnet18", "mobilenet_v2", "googlenet", "mobilenet_v3_small", "efficientnet_b0")
DETECTORS = ("yolox_nano.onnx", "FastestDet.onnx")
DATA = Path(os.environ.get("DAPDEE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
SIDE = 224
MOST_DIFFERENT = 1e-4
BLOCK = 3
"""Runs in a row: a robot computes the same plan frame after frame."""

COMPILE_S = 240.0
"""Seconds after which torch.compile is given up."""

Run = Callable[[], object]


@dataclass
class Subject:
    """A network under study.

    Attributes:
        name: for the table.
        network: in ONNX, as our engine runs it.
        given: what every run starts from: floats, so that all engines read the same.
        file: the network in ONNX as other runtimes read it.
        others: what else computes it, by name.
        left_out: what is left out, and why.
    """

    name: str
    network: OnnxModel
    given: dict[str, np.ndarray]
    file: Path
    others: dict[str, Run] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def dag(self) -> ModelDag:
        """The network's DAG."""
        return self.network.dag


def arguments_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    found = [str(DATA / name) for name in DETECTORS if (DATA / name).is_file()]
    parser.add_argument(
        "--networks",
        nargs="+",
        default=[*NETWORKS, *found],
        help="of torchvision, or ONNX files (default: five classifiers, and the detectors "
        f"{' and '.join(DETECTORS)} if they are in $DAPDEE_DATA or ../shared/data)",
    )
    parser.add_argument("--cuts", type=int, default=30, help="cuts per network (default 30)")
    parser.add_argument("--rounds", type=int, default=9, help="runs of each at least (default 9)")
    parser.add_argument(
        "--seconds", type=float, default=0.3, help="run each for as long at least (default 0.3)"
    )
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    return parser.parse_args()


def sample(dag: ModelDag, first: str, count: int) -> list[tuple[str, ...]]:
    """Boundaries of seeded cuts behind the tensor that every run starts from."""
    before = {dag.input, first}
    every = cuts(dag, len(dag.exits))
    inner = sorted({c.boundary for c in every if c.boundary and before.isdisjoint(c.boundary)})
    return random.Random(1).sample(inner, min(count, len(inner)))


def of_torchvision(name: str, compiled: bool) -> Subject:
    """A classifier with seeded weights."""
    torch.manual_seed(0)
    build = {"init_weights": True} if name == "googlenet" else {}
    module = torchvision.models.get_model(name, weights=None, **build).eval()
    image = torch.rand(1, 3, SIDE, SIDE)
    traced = trace(module, image)
    network = export(traced)
    dag = network.dag
    file = network.folder / "bare.onnx"
    file.write_bytes(network.part([dag.input], dag.outputs).model.SerializeToString())
    subject = Subject(name, network, {dag.input: image.numpy()}, file)
    own = TorchEngine(GraphRunner(traced))
    subject.others["torch engine"] = lambda: own.run(subject.given, dag.outputs)

    def eager() -> object:
        with torch.inference_mode():
            return module(image)

    subject.others["eager torch"] = eager
    if not compiled:
        subject.left_out["torch.compile"] = "not asked for"
    else:
        add_compiled(subject, module, image)
    return subject


def add_compiled(subject: Subject, module: torch.nn.Module, image: torch.Tensor) -> None:
    """torch.compile, unless it fails (it needs a C++ compiler) or takes too long."""
    outcome: list[Any] = []

    def compile_it() -> None:
        try:
            with torch.inference_mode():
                ready = torch.compile(module)
                ready(image)
                outcome.append(ready)
        except Exception as error:
            outcome.append(f"{type(error).__name__}: {str(error).splitlines()[0][:80]}")

    thread = threading.Thread(target=compile_it, daemon=True)
    thread.start()
    thread.join(COMPILE_S)
    if not outcome or isinstance(outcome[0], str):
        why = outcome[0] if outcome else f"not compiled within {COMPILE_S:g} s"
        subject.left_out["torch.compile"] = why
        return

    def run() -> object:
        with torch.inference_mode():
            return outcome[0](image)

    subject.others["torch.compile"] = run


def of_file(path: Path) -> Subject:
    """A detector in a file of its own; every run starts from its input, bytes or not."""
    network = import_onnx(path, Pixels(scale=1.0))
    start = (
        network.dag.nodes[1] if network.dag.nodes[1].name == NORMALISED else network.dag.nodes[0]
    )
    values = np.random.default_rng(0).uniform(0, 1, start.shape).astype(start.dtype)
    subject = Subject(path.stem, network, {start.name: values}, path)
    for name in ("torch engine", "eager torch", "torch.compile"):
        subject.left_out[name] = "there is no torch module of an ONNX file"
    return subject


def add_openvino(subject: Subject) -> None:
    """OpenVINO on one thread, if it is installed."""
    if importlib.util.find_spec("openvino") is None:
        subject.left_out["openvino"] = "not installed (pip install openvino)"
        return
    openvino = importlib.import_module("openvino")
    options = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
    # Its default on some processors is bfloat16, which the others do not compute in.
    options["INFERENCE_PRECISION_HINT"] = "f32"
    core = openvino.Core()
    request = core.compile_model(core.read_model(subject.file), "CPU", options)
    request = request.create_infer_request()
    values = next(iter(subject.given.values()))
    subject.others["openvino"] = lambda: request.infer([values])


def study(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Times of one network, as ratios to a bare session."""
    if name.endswith(".onnx"):
        subject = of_file(Path(name))
    else:
        subject = of_torchvision(name, not args.no_compile)
    add_openvino(subject)
    dag, given, outputs = subject.dag, subject.given, list(subject.dag.outputs)
    (first,) = given
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    bare = onnxruntime.InferenceSession(
        str(subject.file), options, providers=["CPUExecutionProvider"]
    )
    feeds = {bare.get_inputs()[0].name: given[first]}
    engine = OnnxRuntimeEngine(subject.network)
    merged = sample(contract(dag).dag, first, args.cuts // 3)
    try:
        boundaries = sample(dag, first, args.cuts)
    except TooManyCuts:
        boundaries = sample(contract(dag).dag, first, args.cuts)
    started_s = time.perf_counter()
    for boundary in boundaries:
        engine.prepare([first], [boundary])
        engine.prepare(boundary, [outputs])
    compile_s = (time.perf_counter() - started_s) / max(1, 2 * len(boundaries))

    def split(boundary: tuple[str, ...]) -> Run:
        return lambda: engine.run(engine.run(given, boundary), outputs)

    expected = bare.run(None, feeds)
    different = 0.0
    for boundary in boundaries:
        came = engine.run(engine.run(given, boundary), outputs)
        for output, reference in zip(outputs, expected, strict=True):
            apart = np.abs(came[output] - reference).max() / np.abs(reference).max()
            different = max(different, float(apart))
    runs: dict[Any, Run] = {
        "whole": lambda: engine.run(given, outputs),
        **subject.others,
        **{boundary: split(boundary) for boundary in (*boundaries, *merged)},
    }
    ratios, bare_s = take_turns(lambda: bare.run(None, feeds), runs, args, subject.name)
    of_cuts = {boundary: ratios[boundary] for boundary in boundaries}
    worst = max(of_cuts, key=lambda boundary: of_cuts[boundary])
    return {
        "network": subject.name,
        "bare_ms": round(1e3 * bare_s, 2),
        "whole": round(ratios["whole"], 3),
        "cuts": len(boundaries),
        "split_median": round(statistics.median(of_cuts.values()), 3),
        "split_worst": round(of_cuts[worst], 3),
        "merged_worst": round(max(ratios[boundary] for boundary in merged), 3),
        **{
            column: round(ratios[column], 2) if column in ratios else None
            for column in ("torch engine", "eager torch", "torch.compile", "openvino")
        },
        "compile_ms_per_part": round(1e3 * compile_s, 1),
        "most_different": float(f"{different:.1e}"),
        "weights_mb": round(engine.shared_bytes / 1e6, 1),
        "worst_cut": list(worst),
        "left_out": subject.left_out,
    }


def take_turns(
    bare: Run, runs: dict[Any, Run], args: argparse.Namespace, name: str
) -> tuple[dict[Any, float], float]:
    """The ratio of each run's median to that of the bare runs before it; the bare median in s."""

    def seconds(run: Run) -> float:
        began_s = time.perf_counter()
        run()
        return time.perf_counter() - began_s

    def block(run: Run) -> list[float]:
        # The first run finds the caches full of what another one has left there.
        run()
        return [seconds(run) for _ in range(BLOCK)]

    once_s = min(block(bare))
    rounds = max(math.ceil(args.rounds / BLOCK), math.ceil(args.seconds / once_s / BLOCK))
    took: dict[Any, list[float]] = {key: [] for key in runs}
    beside: dict[Any, list[float]] = {key: [] for key in runs}
    for _ in tqdm(range(rounds), desc=name, file=sys.stderr):
        for key, run in runs.items():
            beside[key] += block(bare)
            took[key] += block(run)
    ratios = {key: statistics.median(took[key]) / statistics.median(beside[key]) for key in runs}
    return ratios, statistics.median(s for times in beside.values() for s in times)


def main() -> int:
    """Run, print a table, end with one JSON line."""
    args = arguments_of()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for name in args.networks:
        row = study(name, args)
        columns = [column for column in row if column not in ("worst_cut", "left_out")]
        if not rows:
            print(" ".join(f"{column:>13}" for column in columns))
        print(" ".join(f"{row[c]!s:>{max(13, len(c))}}" for c in columns), flush=True)
        rows.append(row)
    for row in rows:
        print(f"{row['network']}: worst cut at {', '.join(row['worst_cut'])}")
        for name, why in row["left_out"].items():
            print(f"{row['network']}: no {name}: {why}")
    ok = all(row["most_different"] <= MOST_DIFFERENT for row in rows)
    print(json.dumps({"bench": "engines", "ok": ok, "side": SIDE, "rows": rows}))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
