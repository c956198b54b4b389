"""The weights of an ONNX network: in half precision in a file, in single precision to compute."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

UNNAMED = "~"
"""What names of values begin with that are neither nodes of the DAG nor weights of the module."""


def narrow(model: onnx.ModelProto, names: Collection[str]) -> None:
    """Store some weights of a network in float16, each with an operator that makes it float32.

    The file is half as large, and any tool can still run it. ``widened`` undoes it.

    Args:
        model: changed in place.
        names: float32 initialisers.
    """
    graph = model.graph
    wide: dict[str, str] = {}
    for place, tensor in enumerate(graph.initializer):
        if tensor.name in names and tensor.data_type == TensorProto.FLOAT:
            half = numpy_helper.to_array(tensor).astype(np.float16)
            graph.initializer[place].CopyFrom(numpy_helper.from_array(half, tensor.name))
            wide[tensor.name] = f"{UNNAMED}w{len(wide)}"
    casts = [
        onnx.helper.make_node("Cast", [name], [single], to=TensorProto.FLOAT)
        for name, single in wide.items()
    ]
    for node in graph.node:
        node.input[:] = [wide.get(name, name) for name in node.input]
    operators = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(operators)


def widened(
    graph: onnx.GraphProto,
) -> tuple[list[onnx.NodeProto], Iterator[TensorProto]]:
    """A network's operators, without those that only convert weights, and its weights.

    A float16 weight that is converted to float32 becomes a float32 weight, named as the converted
    value. Weights are made one at a time, in ``raw_data``.
    """
    stored = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT16}
    new_names: dict[str, list[str]] = {}
    operators = []
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] in stored and _to(node) == TensorProto.FLOAT:
            new_names.setdefault(node.input[0], []).append(node.output[0])
        else:
            operators.append(node)
    read = {name for node in operators for name in node.input}

    def weights() -> Iterator[TensorProto]:
        for tensor in graph.initializer:
            for name in new_names.get(tensor.name, ()):
                single = numpy_helper.to_array(tensor).astype(np.float32)
                yield numpy_helper.from_array(single, name)
            if tensor.name not in new_names or tensor.name in read:
                yield tensor if tensor.raw_data else _raw(tensor)

    return operators, weights()


def _to(cast: onnx.NodeProto) -> int:
    return next(attribute.i for attribute in cast.attribute if attribute.name == "to")


def _raw(tensor: TensorProto) -> TensorProto:
    return numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name)
