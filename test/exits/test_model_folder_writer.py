"""A network that exists only as ONNX in a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dapdee_ros.engines.engine import EngineError
from dapdee_ros.engines.onnx_model import OnnxModel
from dapdee_ros.engines.onnx_weights import narrow
from dapdee_ros.exits.card import ModelFolderError, read_card
from dapdee_ros.exits.image_input import InputSpec
from dapdee_ros.exits.model_folder_writer import write_model_folder
from dapdee_ros.exits.runnable import load_runnable
from dapdee_ros.graph.dag import ModelDag, Node

SIDE, CLASSES = 8, 3
WEIGHT = np.random.default_rng(0).random((SIDE * SIDE * 3, CLASSES), np.float32).astype(np.float16)


def network() -> onnx.ModelProto:
    """A linear classifier of the image's bytes."""
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, (1, SIDE, SIDE, 3))
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, (1, CLASSES))
    nodes = [
        helper.make_node("Cast", ["image"], ["~0"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["~0"], ["pixels"]),
        helper.make_node("MatMul", ["pixels", "weight"], ["scores"]),
    ]
    weight = numpy_helper.from_array(WEIGHT.astype(np.float32), "weight")
    graph = helper.make_graph(nodes, "network", [image], [scores], [weight])
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name=""
    )


def dag() -> ModelDag:
    pixels = SIDE * SIDE * 3
    nodes = (
        Node("image", "input", (), (1, SIDE, SIDE, 3), "uint8", pixels, 0),
        Node("pixels", "flatten", ("image",), (1, pixels), "float32", 4 * pixels, 0),
        Node("scores", "matmul", ("pixels",), (1, CLASSES), "float32", 4 * CLASSES, 2 * pixels),
    )
    return ModelDag(nodes, (("scores",),))


def written(folder: Path, **changes: Any) -> Any:
    values: dict[str, Any] = {
        "network": network(),
        "dag": dag(),
        "name": "linear",
        "task": {"name": "classification"},
        "labels": ("a", "b", "c"),
        "input_spec": InputSpec((SIDE, SIDE), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), scale=1.0),
        "exit_quality": None,
        "provenance": {"command": "none"},
    }
    return write_model_folder(folder, **{**values, **changes})


def scores_of(folder: Path, image: np.ndarray) -> np.ndarray:
    return load_runnable(folder).engine.run({"image": image}, ["scores"])["scores"]


def test_it_runs_under_onnxruntime_and_torch_says_why_it_cannot(tmp_path: Path) -> None:
    card = written(tmp_path / "linear")
    assert card == read_card(tmp_path / "linear")
    assert (card.exit_quality, card.quality_measured) == ((1.0,), False)
    assert card.quality_data == "not measured"
    image = np.random.default_rng(1).integers(0, 256, (1, SIDE, SIDE, 3), np.uint8)
    expected = image.reshape(1, -1).astype(np.float32) @ WEIGHT.astype(np.float32)
    np.testing.assert_allclose(scores_of(card.path, image), expected, rtol=1e-5)
    with pytest.raises(EngineError, match="no architecture that torch could build"):
        load_runnable(card.path, "torch")


def test_half_precision_is_in_the_file_and_nowhere_else(tmp_path: Path) -> None:
    narrowed = network()
    narrow(narrowed, ["weight"])
    single, half = written(tmp_path / "single"), written(tmp_path / "half", network=narrowed)
    sizes = [(card.path / "model.onnx").stat().st_size for card in (single, half)]
    assert sizes[0] - sizes[1] > 0.9 * WEIGHT.nbytes
    assert single.model_id != half.model_id
    (stored,) = onnx.load(half.path / "model.onnx").graph.initializer
    assert stored.data_type == TensorProto.FLOAT16
    model = OnnxModel.load(half.path / "model.onnx", dag())
    part = model.part(["pixels"], ["scores"]).model
    assert [node.op_type for node in part.graph.node] == ["MatMul"]
    assert [tensor.data_type for tensor in part.graph.initializer] == [TensorProto.FLOAT]
    image = np.random.default_rng(1).integers(0, 256, (1, SIDE, SIDE, 3), np.uint8)
    np.testing.assert_array_equal(scores_of(single.path, image), scores_of(half.path, image))


def test_an_open_network_is_written_as_one_file(tmp_path: Path) -> None:
    card = written(tmp_path / "linear", network=OnnxModel(network(), dag()))
    image = np.random.default_rng(1).integers(0, 256, (1, SIDE, SIDE, 3), np.uint8)
    expected = scores_of(written(tmp_path / "same").path, image)
    np.testing.assert_array_equal(scores_of(card.path, image), expected)


def test_other_tasks_have_outputs_of_their_own(tmp_path: Path) -> None:
    task = {"name": "detection", "decoder": "grid", "stride": 8}
    card = written(tmp_path / "linear", task=task, labels=("a", "b"))
    assert card.task == task


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ("a", "b")}, "names 2 labels, but exit 1"),
        ({"exit_quality": (0.5, 0.6)}, "2 qualities for 1 exits"),
        ({"input_spec": InputSpec((9, 8), (0, 0, 0), (1, 1, 1))}, r"of size \(9, 8\)"),
    ],
)
def test_parts_that_do_not_fit_are_named(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelFolderError, match=message):
        written(tmp_path / "linear", **changes)
    assert not (tmp_path / "linear" / "model.json").exists()


def test_a_network_of_another_dag_or_no_network_is_named(tmp_path: Path) -> None:
    other = network()
    other.graph.node[1].output[0] = other.graph.node[2].input[0] = "elsewhere"
    with pytest.raises(ModelFolderError, match=r"does not compute \['pixels'\] of its DAG"):
        written(tmp_path / "other", network=other)
    other = network()
    other.graph.output[0].name = "pixels"
    with pytest.raises(ModelFolderError, match=r"makes \['pixels'\] of \['image'\], its DAG"):
        written(tmp_path / "other", network=other)
    other = network()
    other.graph.node[2].op_type = "Abacus"
    with pytest.raises(ModelFolderError, match=r"not valid ONNX: .*Abacus"):
        written(tmp_path / "other", network=other)
    assert not (tmp_path / "other").exists()
