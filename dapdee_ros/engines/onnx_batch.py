"""Parts of a network for several frames at once, checked against one frame at a time.

A network's tensors have a first axis of 1, by which a file may have been simplified: its reshapes
and resizes may then name that 1. Where that is all, it is replaced. Whether a part then computes
what it did is tried rather than proven, by random frames, alone and together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx
from onnx import helper, numpy_helper

from dapdee_ros.engines.engine import Array, NotBatchable
from dapdee_ros.engines.onnx_model import Part
from dapdee_ros.engines.onnx_weights import UNNAMED
from dapdee_ros.graph.dag import ModelDag

_BATCH = "batch"
_SIZES = {"Reshape": 1, "Expand": 1, "Resize": 3}
"""Operators that are told a shape, and which of their inputs it is."""

_CLOSE = 1e-4
"""Largest difference of an answer, over the largest of its values."""

_MOST_DIFFERENT = 1e-3
"""Largest part of a tensor of whole numbers that may differ: where two classes are as likely."""


def with_batch_axis(part: Part, dag: ModelDag) -> Part:
    """The same part, its tensors with as many frames along their first axis as are given.

    Raises:
        NotBatchable: if a tensor that it reads or writes has no first axis of 1.
    """
    for name in (*part.inputs, *part.outputs):
        shape = dag.by_name[name].shape
        if not shape or shape[0] != 1:
            raise NotBatchable(f"the tensor {name!r} has the shape {shape}, not a first axis of 1")
    model = onnx.ModelProto()
    model.CopyFrom(part.model)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = _BATCH
    _open_shapes(model.graph)
    return replace(part, model=model)


def _open_shapes(graph: onnx.GraphProto) -> None:
    """Take the first axis of constant shapes from the tensor that they are for."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants |= {
        node.output[0]: attribute.t
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }
    depending = {value.name for value in graph.input}
    operators: list[onnx.NodeProto] = []
    for place, node in enumerate(graph.node):
        if not depending.isdisjoint(node.input):
            depending.update(node.output)
            at = _SIZES.get(node.op_type, len(node.input))
            tensor = constants.get(node.input[at]) if at < len(node.input) else None
            if tensor is not None and node.input[0] in depending:
                shape = numpy_helper.to_array(tensor)
                if shape.size and shape[0] == 1:
                    name = f"{UNNAMED}batch{place}"
                    operators.extend(_first_axis_of(node.input[0], shape, name, graph))
                    node.input[at] = name
        operators.append(node)
    del graph.node[:]
    graph.node.extend(operators)


def _first_axis_of(
    tensor: str, shape: Array, name: str, graph: onnx.GraphProto
) -> list[onnx.NodeProto]:
    """Operators that compute a shape whose first axis is that of a tensor, the others given."""
    weights = {"from": [0], "to": [1], "rest": shape[1:]}
    for kind, value in weights.items():
        array = np.asarray(value, np.int64)
        graph.initializer.append(numpy_helper.from_array(array, f"{name}.{kind}"))
    return [
        helper.make_node("Shape", [tensor], [f"{name}.shape"]),
        helper.make_node(
            "Slice", [f"{name}.shape", f"{name}.from", f"{name}.to"], [f"{name}.first"]
        ),
        helper.make_node("Concat", [f"{name}.first", f"{name}.rest"], [name], axis=0),
    ]


def random_frames(dag: ModelDag, names: Iterable[str], count: int) -> list[dict[str, Array]]:
    """Tensors to try a part with, by name; those of activations are half zeros."""
    draw = np.random.default_rng(1)
    names = sorted(names)

    def one(name: str) -> Array:
        node = dag.by_name[name]
        kind = np.dtype(node.dtype)
        if kind.kind == "f":
            return np.maximum(draw.normal(size=node.shape), 0).astype(kind)
        return draw.integers(0, 256 if kind == np.uint8 else 2, node.shape).astype(kind)

    return [{name: one(name) for name in names} for _ in range(count)]


def check_same(
    alone: Sequence[Mapping[str, Array]], together: Sequence[Mapping[str, Array]]
) -> None:
    """Check that frames have the same answers in a batch.

    Args:
        alone: per frame, what is computed for it alone, by name.
        together: what is computed for it in a batch.

    Raises:
        NotBatchable: if they have not, or if that cannot be told.
    """
    first, second, *_ = alone
    if all(np.array_equal(first[name], second[name]) for name in first):
        raise NotBatchable("random frames have the same answers, so that nothing can be checked")
    for one, many in zip(alone, together, strict=True):
        for name, expected in one.items():
            came = many[name]
            if came.shape != expected.shape:
                raise NotBatchable(
                    f"{name!r} has the shape {came.shape} per frame, not {expected.shape}"
                )
            if not _is_close(came, expected):
                raise NotBatchable(f"{name!r} has other values in a batch than alone")


def _is_close(came: Array, expected: Array) -> bool:
    if expected.dtype.kind != "f":
        return bool(np.mean(came != expected) <= _MOST_DIFFERENT)
    most = np.abs(expected).max(initial=0.0)
    # NaN and infinity are close to nothing.
    return bool(np.isfinite(most) and np.abs(came - expected).max(initial=0.0) <= _CLOSE * most)
