"""Whether cut networks answer as whole ones under ONNX Runtime, and models keep their quality.

For each network: seeded inputs through the whole and, for seeded cuts, through head and tail; the
largest difference relative to the largest output, and how often the most likely class is another.
The bundled models also answer their whole test sets, and their quality at each exit is compared
with what ``model.json`` says. The road signs are rendered; the CIFAR-10 models need ``--cifar10``.
Takes ten minutes on an idle core. Ends with one JSON line.

    python bench/same_answers.py
    python bench/same_answers.py --networks roadsigns resnet18 --inputs 50
    python bench/same_answers.py --inputs 20 --cifar10 cifar10/test
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from dapdee_ros.datasets.sources import open_data
from dapdee_ros.datasets.split import Split
from dapdee_ros.engines.engine import Engine
from dapdee_ros.engines.onnx_export import export
from dapdee_ros.engines.onnxruntime_engine import OnnxRuntimeEngine
from dapdee_ros.exits.card import find_model
from dapdee_ros.exits.runnable import load_runnable
from dapdee_ros.graph.cuts import cuts
from dapdee_ros.graph.dag import ModelDag
from dapdee_ros.graph.torchvision_import import torchvision
from dapdee_ros.graph.trace import trace

BUNDLED = ("roadsigns", "alexnet-cifar10", "vgg16-cifar10")
BUILT = ("resnet18", "mobilenet_v2", "googlenet", "mobilenet_v3_small", "efficientnet_b0")
SIDE = 224
MOST_DIFFERENT = 1e-4
MOST_QUALITY_CHANGED = 0.0005
"""0.05 points."""

TEST_FRAMES = 5000


def arguments_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--networks",
        nargs="+",
        default=[*BUNDLED, *BUILT],
        help="model names or folders, or torchvision's networks with seeded weights",
    )
    parser.add_argument("--inputs", type=int, default=200, help="per network (default 200)")
    parser.add_argument("--cuts", type=int, default=20, help="per network (default 20)")
    parser.add_argument(
        "--cifar10", type=Path, metavar="DIR", help="its test images, one folder per class"
    )
    return parser.parse_args()


def engine_of(name: str) -> Engine:
    if name not in BUILT:
        return load_runnable(find_model(name), "onnxruntime").engine
    torch.manual_seed(0)
    build = {"init_weights": True} if name == "googlenet" else {}
    module = torchvision.models.get_model(name, weights=None, **build).eval()
    return OnnxRuntimeEngine(export(trace(module, torch.zeros(1, 3, SIDE, SIDE))))


def boundaries_of(dag: ModelDag, count: int) -> list[tuple[str, ...]]:
    """Boundaries of seeded cuts, that of the input left out."""
    found = {cut.boundary for cut in cuts(dag, len(dag.exits)) if cut.boundary}
    inner = sorted(found - {(dag.input,)})
    return random.Random(1).sample(inner, min(count, len(inner)))


def drawn(dag: ModelDag, seed: int) -> NDArray[Any]:
    node, generator = dag.nodes[0], np.random.default_rng(seed)
    if node.dtype == "uint8":
        return generator.integers(0, 256, node.shape, np.uint8)
    return generator.random(node.shape, np.float32)


def compare(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Cut against whole, for one network."""
    engine = engine_of(name)
    dag = engine.dag
    outputs = dag.exit_outputs(len(dag.exits))
    boundaries = boundaries_of(dag, args.cuts)
    different, others = 0.0, 0
    for seed in tqdm(range(args.inputs), desc=name, file=sys.stderr, mininterval=2.0):
        given = {dag.input: drawn(dag, seed)}
        expected = engine.run(given, outputs)[outputs[0]]
        for boundary in boundaries:
            came = engine.run(engine.run(given, boundary), outputs)[outputs[0]]
            largest = float(np.abs(expected).max())
            different = max(different, float(np.abs(came - expected).max()) / largest)
            others += int(came.argmax() != expected.argmax())
    return {
        "network": name,
        "inputs": args.inputs,
        "cuts": len(boundaries),
        "most_different": float(f"{different:.1e}"),
        "other_classes": others,
        "ok": different <= MOST_DIFFERENT and not others,
    }


def test_set(name: str, cifar10: Path | None) -> Split | None:
    """All frames that a bundled model's quality was measured on, if they are there."""
    if name == "roadsigns":
        return open_data("roadsigns", held_out_frames=TEST_FRAMES).held_out()
    if cifar10 is None:
        return None
    source = open_data(f"folder:{cifar10}")
    parts = (source.train(0), source.held_out())  # of a folder without test/: a part of it each
    return Split(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
        f"all images of {cifar10.name}/",
    )


def quality(name: str, cifar10: Path | None) -> dict[str, Any] | None:
    """A bundled model's quality under ONNX Runtime beside what its card says."""
    frames = test_set(name, cifar10)
    if frames is None:
        print(f"{name}: quality left out, --cifar10 is not given", file=sys.stderr)
        return None
    model = load_runnable(find_model(name), "onnxruntime")
    dag, right = model.engine.dag, np.zeros(len(model.card.dag.exits), int)
    for image, label in zip(
        tqdm(frames.images, desc=f"{name}, quality", file=sys.stderr, mininterval=2.0),
        frames.labels,
        strict=True,
    ):
        answers = model.engine.run({dag.input: image[None]}, dag.outputs)
        right += [int(answers[n].argmax() == label) for n in dag.outputs]
    came = right / len(frames)
    changed = float(np.abs(came - model.card.exit_quality).max())
    return {
        "model": name,
        "frames": len(frames),
        "card": list(model.card.exit_quality),
        "onnxruntime": [round(float(q), 4) for q in came],
        "changed": round(changed, 6),
        "ok": changed <= MOST_QUALITY_CHANGED,
    }


def main() -> int:
    """Compare, print a table, end with one JSON line."""
    args = arguments_of()
    torch.set_num_threads(1)
    rows = [compare(name, args) for name in args.networks]
    for row in rows:
        print(
            f"{row['network']:20} {row['inputs']:4d} inputs, {row['cuts']:3d} cuts: most different "
            f"{row['most_different']:.1e}, other classes {row['other_classes']}"
        )
    models = [name for name in args.networks if name in BUNDLED]
    kept = [found for name in models if (found := quality(name, args.cifar10)) is not None]
    for found in kept:
        print(f"{found['model']:20} {found['card']} in its card, {found['onnxruntime']} now")
    ok = all(row["ok"] for row in [*rows, *kept])
    print(json.dumps({"bench": "same_answers", "ok": ok, "rows": rows, "quality": kept}))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
