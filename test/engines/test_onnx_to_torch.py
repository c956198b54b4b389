"""Imported networks as torch modules: the same numbers, gradients, and clear words where not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from engines.made_networks import (
    GOOD,
    SIDE,
    Maker,
    attention,
    chain,
    half_precision,
    heads,
    quantised,
    split,
)
from support.shared_data import shared

from dapdee_ros.engines.engine import EngineError
from dapdee_ros.engines.onnx_import import Pixels, import_onnx
from dapdee_ros.engines.onnx_model import OnnxModel
from dapdee_ros.engines.onnx_to_torch import TorchPart, check_as
from dapdee_ros.engines.onnxruntime_engine import OnnxRuntimeEngine
from dapdee_ros.graph.dag import GraphError

DETECTORS = {
    "yolox_nano.onnx": ("Mul_72", 416, 1.0),
    "FastestDet.onnx": ("MaxPool_2", 352, 1 / 255),
}


def pictures(count: int, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, (count, side, side, 3), np.uint8)


def imported(make: Maker, folder: Path) -> OnnxModel:
    return import_onnx(make.save(folder / "made.onnx"), Pixels())


def assert_same(network: OnnxModel, boundary: tuple[str, ...], images: np.ndarray) -> None:
    """Both sides of a cut for a batch, held against ONNX Runtime frame by frame."""
    dag, engine = network.dag, OnnxRuntimeEngine(network)
    outputs = dag.exits[-1]
    sent = TorchPart(network, [dag.input], boundary)(torch.from_numpy(images))
    came = TorchPart(network, boundary, outputs)(*sent)
    for place in range(len(images)):
        right = engine.run({dag.input: images[place : place + 1]}, [*boundary, *outputs])
        for name, tensor in zip((*boundary, *outputs), (*sent, *came), strict=True):
            row = tensor[place : place + 1].numpy()
            np.testing.assert_allclose(row, right[name], atol=1e-3 * np.abs(right[name]).max())


@pytest.mark.parametrize(
    "make", [m for m in GOOD if m not in (quantised, half_precision)], ids=lambda m: m.__name__
)
def test_any_part_computes_batches_as_onnx_runtime_does_frame_by_frame(
    make: Callable[[], Maker], tmp_path: Path
) -> None:
    network = imported(make(), tmp_path)
    check_as(OnnxRuntimeEngine(network), network, {network.dag.input: pictures(1)})
    for boundary in heads(network.dag, 4):
        assert_same(network, boundary, pictures(3))


@pytest.mark.parametrize("make", [chain, split, attention], ids=lambda m: m.__name__)
def test_gradients_reach_the_boundary_and_no_weight(
    make: Callable[[], Maker], tmp_path: Path
) -> None:
    network = imported(make(), tmp_path)
    boundary = next(b for b in heads(network.dag, 8) if network.dag.input not in b)
    given = [torch.rand(2, *network.dag.by_name[n].shape[1:]).requires_grad_() for n in boundary]
    rest = TorchPart(network, boundary, network.dag.exits[-1])
    sum(tensor.square().sum() for tensor in rest(*given)).backward()
    assert all(tensor.grad is not None and bool(tensor.grad.any()) for tensor in given)
    assert not any(weight.requires_grad for weight in (*rest.parameters(), *rest.buffers()))


def test_a_tensor_called_as_the_library_calls_an_operator_is_not_confused(tmp_path: Path) -> None:
    make = Maker().conv("x", "a", 3, 4, name="Conv_1").conv("a", "b", 4, 4, name="Conv")
    make.conv("b", "c", 4, 4, name="operator_0").conv("c", "d", 4, 4)
    make.op("Add", "d c", "y")  # reads the boundary once more behind the first operator
    network = imported(make.outputs("y"), tmp_path)
    assert {"Conv_1", "Conv", "operator_0"} <= set(network.dag.by_name)
    for name in ("Conv_1", "Conv", "operator_0"):
        assert_same(network, (name,), pictures(2))


def test_a_given_tensor_is_passed_on_and_a_missing_one_is_named(tmp_path: Path) -> None:
    network = imported(chain(), tmp_path)
    (name,) = heads(network.dag, 1)[0]
    tensor = torch.rand(2, *network.dag.by_name[name].shape[1:])
    (same,) = TorchPart(network, [name], [name])(tensor)
    assert torch.equal(same, tensor)
    with pytest.raises(GraphError, match="no nodes"):
        TorchPart(network, ["nothing"], network.dag.exits[-1])


def resized() -> Maker:
    """Made larger in a way that torch does not know: each cell is the one after it."""
    make = Maker().conv("x", "a", 3, 4)
    make.weight("factors", value=np.array([1, 1, 1.5, 1.5], np.float32))
    make.op("Resize", "a none factors", "r", mode="nearest", nearest_mode="ceil")
    make.nodes[-1].input[1] = ""  # no region of interest
    return make.conv("r", "y", 4, 2).outputs("y")


@pytest.mark.parametrize(
    ("make", "why"),
    [(quantised, r"QuantizeLinear \(at "), (resized, r"differs from onnxruntime.*largest value")],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_torch_cannot_compute_is_named(
    make: Callable[[], Maker], why: str, tmp_path: Path
) -> None:
    network = imported(make(), tmp_path)
    with pytest.raises(EngineError, match=why) as caught:
        check_as(OnnxRuntimeEngine(network), network, {network.dag.input: pictures(1)})
    assert "Export it with other operators" in str(caught.value)


@pytest.mark.parametrize("name", DETECTORS)
def test_detectors_that_others_trained_are_the_same_in_torch(name: str) -> None:
    boundary, side, scale = DETECTORS[name]
    network = import_onnx(shared(name), Pixels("bgr", scale))
    image = pictures(1, side)
    check_as(OnnxRuntimeEngine(network), network, {network.dag.input: image})
    whole = TorchPart(network, [network.dag.input], [boundary])(torch.from_numpy(image))
    came = TorchPart(network, [boundary], network.dag.exits[-1])(*whole)
    right = OnnxRuntimeEngine(network).run({network.dag.input: image}, network.dag.exits[-1])
    for output, tensor in zip(network.dag.exits[-1], came, strict=True):
        apart = np.abs(tensor.numpy() - right[output]).max()
        assert apart <= 1e-3 * np.abs(right[output]).max()
