"""Bottlenecks without training: principal components of a boundary, measured on rendered frames.

Real arithmetic at real boundaries: the encoder is a convolution of 1x1 with the components of the
boundary's channels, the decoder its transpose. Channels are in the order of their variance, so the
first ones are the coarse version, as in a trained bottleneck.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from dapdee_ros.codecs.bottleneck.file import FOLDER, FORMAT, KEY, Bottleneck, parsed
from dapdee_ros.codecs.bottleneck.range_coder import TOTAL
from dapdee_ros.datasets.roadsigns import RoadSigns
from dapdee_ros.engines.engine import Engine
from dapdee_ros.engines.onnx_weights import narrow
from dapdee_ros.exits.bottlenecks import of_model
from dapdee_ros.exits.card import ModelCard, find_model, read_card
from dapdee_ros.exits.runnable import Runnable, load_runnable

POINTS = ((2, 1.0), (4, 0.7), (6, 0.5), (8, 0.3), (12, 0.1))
"""Channels, and the step over the standard deviation of the first channel."""

FRAMES = 24


@dataclass(frozen=True)
class Frames:
    """Rendered frames and their classes."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def rendered(card: ModelCard, count: int = FRAMES, seed: int = 77) -> Frames:
    signs = RoadSigns(seed, card.input_size)
    drawn = [signs.frame(index) for index in range(count)]
    return Frames(np.stack([f.image for f in drawn]), np.array([f.label for f in drawn]))


def boundary_on(engine: Engine, images: NDArray[np.uint8], names: Sequence[str]) -> list[Any]:
    return [engine.run({engine.dag.input: image[None]}, list(names)) for image in images]


def network(
    shapes: dict[str, tuple[int, ...]], mean: NDArray[np.float32], axes: NDArray[np.float32]
) -> onnx.ModelProto:
    """The encoder and the decoder; ``axes`` is (latent channels, channels of all tensors)."""
    names = list(shapes)
    _, _, height, width = shapes[names[0]]
    latent = (1, len(axes), height, width)
    weights = {
        "enc": axes[:, :, None, None],
        "enc_b": -axes @ mean,
        "dec": axes.T[:, :, None, None],
        "dec_b": mean,
        "parts": np.array([shapes[name][1] for name in names], np.int64),
    }
    restored = [f"restored.{name}" for name in names]
    nodes = [
        helper.make_node("Concat", names, ["all"], axis=1),
        helper.make_node("Conv", ["all", "enc", "enc_b"], ["latent_out"]),
        helper.make_node("Conv", ["latent_in", "dec", "dec_b"], ["back"]),
        helper.make_node("Split", ["back", "parts"], restored, axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "bottleneck",
        [
            *(helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()),
            helper.make_tensor_value_info("latent_in", TensorProto.FLOAT, latent),
        ],
        [
            helper.make_tensor_value_info("latent_out", TensorProto.FLOAT, latent),
            *(
                helper.make_tensor_value_info(f"restored.{n}", TensorProto.FLOAT, s)
                for n, s in shapes.items()
            ),
        ],
        [
            numpy_helper.from_array(np.ascontiguousarray(values), name)
            for name, values in weights.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    narrow(model, ["enc", "dec"])
    onnx.checker.check_model(model)
    return model


def prior_of(symbols: NDArray[np.int64]) -> list[int]:
    """The lowest symbol, then the frequencies of it and those above it."""
    lowest, highest = int(symbols.min()), int(symbols.max())
    counts = np.bincount((symbols - lowest).reshape(-1), minlength=highest - lowest + 1)
    shares = np.concatenate([[0], counts, [0]]) + 0.5  # room for what no frame had
    frequencies = np.maximum(1, np.floor(shares / shares.sum() * TOTAL)).astype(np.int64)
    frequencies[frequencies.argmax()] += TOTAL - frequencies.sum()
    return [lowest - 1, *map(int, frequencies)]


def description(
    name: str,
    model_id: str,
    boundary: Sequence[str],
    latents: NDArray[np.float32],
    points: Sequence[tuple[int, float]] = POINTS,
) -> dict[str, Any]:
    """What the file says, without losses; ``latents`` is (frames, channels, height, width)."""
    scale = float(latents[:, 0].std())
    described = []
    for channels, step in points:
        used = min(channels, latents.shape[1])
        symbols = np.clip(np.rint(latents[:, :used] / (step * scale)), -100, 100).astype(np.int64)
        prior = [prior_of(symbols[:, channel]) for channel in range(used)]
        described.append({"channels": used, "step": step * scale, "prior": prior})
    return {
        "format": FORMAT,
        "name": name,
        "model_id": model_id,
        "boundary": list(boundary),
        "latent_shape": [1, *latents.shape[1:]],
        "points": described,
        "losses": {},
        "provenance": {"command": "principal components, for tests"},
    }


def with_description(model: onnx.ModelProto, values: dict[str, Any]) -> bytes:
    """The bytes of a file with this description."""
    del model.metadata_props[:]
    model.metadata_props.add(key=KEY, value=json.dumps(values))
    return model.SerializeToString(deterministic=True)


def make_bottleneck(
    model: Runnable,
    boundary: Sequence[str],
    name: str,
    frames: Frames,
    channels: int = 12,
    points: Sequence[tuple[int, float]] = POINTS,
) -> bytes:
    """A bottleneck of a boundary of tensors of the same height and width, measured on frames."""
    runs = boundary_on(model.engine, frames.images, boundary)
    stacked = np.concatenate([np.concatenate([run[n] for n in boundary], axis=1) for run in runs])
    rows = stacked.transpose(0, 2, 3, 1).reshape(-1, stacked.shape[1])
    mean = rows.mean(axis=0).astype(np.float32)
    _, _, axes = np.linalg.svd(rows - mean, full_matrices=False)
    axes = axes[:channels].astype(np.float32)
    shapes = {n: model.card.dag.by_name[n].shape for n in boundary}
    latents = np.einsum("kc,nchw->nkhw", axes, stacked - mean[:, None, None]).astype(np.float32)
    file = network(shapes, mean, axes)
    values = description(name, model.card.model_id, boundary, latents, points)
    values["losses"] = measured(model, with_description(file, values), name, frames)
    return with_description(file, values)


def measured(model: Runnable, content: bytes, name: str, frames: Frames) -> dict[str, Any]:
    """Bytes and changed answers of every point, as the file holds them."""
    from dapdee_ros.codecs import decode, encode
    from dapdee_ros.runtime.bottleneck_codec import BottleneckNetwork

    card, engine = model.card, model.engine
    path = Path(find_scratch(content, name))
    file: Bottleneck = parsed(content, path)
    of_model(file, card.model_id, card.dag)
    whole = BottleneckNetwork(file, card.dag, engine)
    sets = {c: whole.codec(p) for c, p in zip(file.codecs, file.points, strict=True)}
    exits = [
        n
        for n in range(1, len(card.dag.exits) + 1)
        if card.dag.boundary(card.dag.ancestors(file.boundary), n) == file.boundary
    ]
    runs = boundary_on(engine, frames.images, file.boundary)
    expected = {n: (card.dag.by_name[n].shape, "float32") for n in file.boundary}
    tensors, quantiles = {}, {}
    for codec in sets:
        sizes, changes = [], {n: [0, 0] for n in exits}
        for run, label in zip(runs, frames.labels, strict=True):
            specs, data = encode(run, codec, sets)
            back = decode(specs, data, codec, expected, sets=sets)
            sizes.append(len(data))
            for number in exits:
                (out,) = card.dag.exit_outputs(number)
                was = engine.run(run, [out])[out].argmax() == label
                now = engine.run(back, [out])[out].argmax() == label
                changes[number][0] += int(was and not now)
                changes[number][1] += int(now and not was)
        tensors[codec] = {
            "+".join(file.boundary): [
                float(np.mean(sizes)), 0.02, 0.02, {str(n): c for n, c in changes.items()},
            ]
        }  # fmt: skip
        quantiles[codec] = [float(q) for q in np.quantile(sizes, (0.05, 0.25, 0.5, 0.75, 0.95))]
    path.unlink()
    return {"frames": len(frames.labels), "tensors": tensors, "quantiles": quantiles}


def find_scratch(content: bytes, name: str) -> str:
    """A file of these bytes and of this name, in a folder that nobody else has."""
    import tempfile

    path = Path(tempfile.mkdtemp(prefix="bottleneck-")) / f"{name}.onnx"
    path.write_bytes(content)
    return str(path)


def model_with_bottlenecks(
    folder: Path,
    boundaries: dict[str, Sequence[str]],
    model: str = "roadsigns",
    count: int = FRAMES,
) -> Path:
    """A copy of a shipped model with bottlenecks, by name and boundary."""
    shutil.copytree(find_model(model), folder)
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    (folder / FOLDER).mkdir()
    loaded = load_runnable(folder)
    frames = rendered(read_card(folder), count)
    for name, boundary in boundaries.items():
        content = make_bottleneck(loaded, boundary, name, frames)
        (folder / FOLDER / f"{name}.onnx").write_bytes(content)
    read_card(folder)
    return folder
