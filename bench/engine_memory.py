"""Memory of a process with 30 cuts of a network compiled and run, over that of one bare session.

Each figure is of a process of its own, without torch: its highest resident memory, and what it has
in the end. Ends with one JSON line.

    python bench/engine_memory.py
    python bench/engine_memory.py --networks googlenet --cuts 60
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from dapdee_ros.graph.cuts import cuts
from dapdee_ros.graph.dag import ModelDag

NETWORKS = ("resnet18", "googlenet", "mobilenet_v3_small")
MOST_OVER_ONE = 1.3
RUNS = 3


def arguments_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=NETWORKS, help="of torchvision")
    parser.add_argument("--cuts", type=int, default=30, help="cuts to compile (default 30)")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def export_network(name: str, folder: Path) -> None:
    """Write a network of torchvision with random weights, and its DAG."""
    import torch

    from dapdee_ros.engines.onnx_export import export
    from dapdee_ros.graph.torchvision_import import torchvision
    from dapdee_ros.graph.trace import trace

    torch.manual_seed(0)
    build = {"init_weights": True} if name == "googlenet" else {}
    module = torchvision.models.get_model(name, weights=None, **build).eval()
    network = export(trace(module, torch.rand(1, 3, 224, 224)))
    network.save(folder / "network.onnx")
    whole = network.part([network.dag.input], network.dag.outputs).model
    (network.folder / "whole.onnx").write_bytes(whole.SerializeToString())
    import onnx

    onnx.save(onnx.load(network.folder / "whole.onnx"), folder / "bare.onnx")
    (folder / "dag.json").write_text(json.dumps(network.dag.to_dict()))


def run_bare(folder: Path, dag: ModelDag, image: Any) -> None:
    """One session of the whole network."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    path = str(folder / "bare.onnx")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for _ in range(RUNS):
        session.run(list(dag.outputs), {dag.input: image})


def run_parts(folder: Path, dag: ModelDag, image: Any, count: int) -> None:
    """Head and tail of seeded cuts, all compiled, then each run."""
    from dapdee_ros.engines.onnx_model import OnnxModel
    from dapdee_ros.engines.onnxruntime_engine import OnnxRuntimeEngine

    engine = OnnxRuntimeEngine(OnnxModel.load(folder / "network.onnx", dag))
    found = {cut.boundary for cut in cuts(dag, len(dag.exits)) if cut.boundary} - {(dag.input,)}
    chosen = random.Random(1).sample(sorted(found), min(count, len(found)))
    for boundary in chosen:
        engine.prepare([dag.input], [boundary])
        engine.prepare(boundary, [dag.outputs])
    for _ in range(RUNS):
        for boundary in chosen:
            engine.run(engine.run({dag.input: image}, boundary), dag.outputs)


def memory_mb() -> dict[str, float]:
    """Highest and present resident memory of this process."""
    found = {}
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        key, _, value = line.partition(":")
        if key in ("VmHWM", "VmRSS"):
            found[key] = round(int(value.split()[0]) / 1024, 1)
    return found


def child(kind: str, folder: Path, args: argparse.Namespace) -> None:
    """What one process does."""
    if kind == "export":
        export_network(args.networks[0], folder)
        return
    dag = ModelDag.from_dict(json.loads((folder / "dag.json").read_text()))
    first = dag.nodes[0]
    image = np.random.default_rng(0).random(first.shape).astype(first.dtype)
    if kind == "bare":
        run_bare(folder, dag, image)
    else:
        run_parts(folder, dag, image, args.cuts)
    print(json.dumps(memory_mb()))


def main() -> int:
    """Run, print a line per network, end with one JSON line."""
    args = arguments_of()
    if args.child:
        child(args.child[0], Path(args.child[1]), args)
        return 0
    rows = []
    for name in args.networks:
        with tempfile.TemporaryDirectory(prefix="dapdee-memory-") as folder:

            def run(kind: str, name: str = name, folder: str = folder) -> str:
                command = [sys.executable, __file__, "--networks", name, "--cuts", str(args.cuts)]
                done = subprocess.run(
                    [*command, "--child", kind, folder], check=True, stdout=subprocess.PIPE
                )
                return done.stdout.decode()

            run("export")
            bare, parts = json.loads(run("bare")), json.loads(run("parts"))
        row = {
            "network": name,
            "bare_peak_mb": bare["VmHWM"],
            "peak_mb": parts["VmHWM"],
            "peak_over_bare": round(parts["VmHWM"] / bare["VmHWM"], 3),
            "bare_mb": bare["VmRSS"],
            "resident_mb": parts["VmRSS"],
            "resident_over_bare": round(parts["VmRSS"] / bare["VmRSS"], 3),
        }
        rows.append(row)
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    ok = all(row["peak_over_bare"] <= MOST_OVER_ONE for row in rows)
    print(json.dumps({"bench": "engine_memory", "ok": ok, "cuts": args.cuts, "rows": rows}))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
