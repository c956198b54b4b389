"""Make a network in any ONNX file one that can be split: named tensors, and the image as bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from dapdee_ros.engines.onnx_flops import flops
from dapdee_ros.engines.onnx_model import OnnxError, OnnxModel
from dapdee_ros.engines.onnx_operators import (
    cleaned,
    depending,
    inside_nodes,
    one_result_each,
    refuse_constant,
    result_of,
)
from dapdee_ros.engines.onnx_static import StaticNetwork, read_static
from dapdee_ros.graph.dag import ModelDag, Node

IMAGE = "image"
NORMALISED = "normalise"
COLOURS = ("rgb", "bgr")

_GATED = {"hardsigmoid+mul": "hardswish", "sigmoid+mul": "silu", "div+erf+add+mul": "gelu"}
"""What some operators together are called."""


@dataclass(frozen=True)
class Pixels:
    """What a network makes of a pixel: ``(pixel * scale - mean) / std`` per channel.

    Attributes:
        colour: the order of the channels that the network expects, one of ``COLOURS``.
        scale: what each byte is multiplied by.
        mean: per channel, in the order of ``colour``.
        std: per channel.
    """

    colour: str = "rgb"
    scale: float = 1 / 255
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


def import_onnx(
    path: Path,
    pixels: Pixels,
    *,
    input_size: tuple[int, int] | None = None,
    exits: Sequence[Sequence[str]] = (),
) -> OnnxModel:
    """Read a network and put what it makes of an image's bytes before it.

    The nodes of the DAG are the operators whose result depends on the image. An operator and its
    activation, in however many operators that is written (``x * sigmoid(x)``), are one node; an
    operator with several results is one node for each.

    Args:
        path: the ONNX file.
        pixels: what the network expects of its input.
        input_size: height and width, if the file leaves them open.
        exits: per exit, shallowest first, names of the file's outputs, or of any of its tensors or
            operators; by default one exit with all outputs.

    Returns:
        The network; its input is uint8 (1, H, W, 3), RGB, and called ``image``.

    Raises:
        OnnxError: if it cannot be split; says why and what to do.
    """
    network = read_static(path, input_size, exits)
    operators = one_result_each(network.model.graph)
    depends = depending(operators, network.image)
    outputs = {name for names in network.exits for name in names}
    refuse_constant(outputs - depends, path)
    shown = depends - inside_nodes(operators, depends, outputs, network.shapes)
    prefix = _prefix(network, pixels, path)
    names = _names(operators, shown, outputs)
    dag = ModelDag(
        (*prefix.nodes, *_nodes(operators, network, names, prefix.nodes[-1].name)),
        tuple(tuple(names[name] for name in of) for of in network.exits),
    )
    _check_order(dag, path)
    return OnnxModel(_written(network, operators, prefix, names), dag)


# Names -------------------------------------------------------------------------------------------


def _names(
    operators: Iterable[onnx.NodeProto], shown: set[str], outputs: set[str]
) -> dict[str, str]:
    """Readable names of the tensors that are nodes of the DAG."""
    taken = {IMAGE, NORMALISED}
    names: dict[str, str] = {}
    for node in operators:
        result = result_of(node)
        if result not in shown:
            continue
        own = [cleaned(node.name), cleaned(result)]
        candidates = own[::-1] if result in outputs else own
        base = next((n for n in candidates if n and not n[0].isdigit()), node.op_type.lower())
        name, number = base, 1
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name)
        names[result] = name
    return names


# The image ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Prefix:
    """What makes the network's input of the image's bytes.

    Attributes:
        nodes: of the DAG; the last one's tensor is the network's input.
        operators: in order.
        weights: that they read.
    """

    nodes: tuple[Node, ...]
    operators: tuple[onnx.NodeProto, ...] = ()
    weights: tuple[onnx.TensorProto, ...] = ()


def _prefix(network: StaticNetwork, pixels: Pixels, path: Path) -> _Prefix:
    """Transpose, put the colours in order, convert and normalise, as far as there is need to."""
    if pixels.colour not in COLOURS:
        raise OnnxError(f"the colour order is {pixels.colour!r}; expected one of {list(COLOURS)}")
    height, width = network.size
    shape = (1, height, width, 3)
    image = Node(IMAGE, "input", (), shape, "uint8", prod(shape), 0)
    dtype = network.dtypes[network.image]
    scale = pixels.scale / np.array(pixels.std)
    offset = -np.array(pixels.mean) / np.array(pixels.std)
    if dtype not in ("float16", "float32", "float64", "uint8"):
        raise OnnxError(
            f"{path}: its input is {dtype}, expected an image in float32, float16 or uint8"
        )
    if dtype == "uint8":
        scale, offset = np.ones(3), np.zeros(3)  # it normalises by itself
    axis, per_channel = (3, (3,)) if network.channels_last else (1, (1, 3, 1, 1))
    # In half precision only the result: 255 steps of a byte are too fine for its sums.
    computed_in = "float32" if dtype == "float16" else dtype
    steps: list[tuple[str, np.ndarray | None, dict[str, Any]]] = []
    if not network.channels_last:
        steps.append(("Transpose", None, {"perm": (0, 3, 1, 2)}))
    if pixels.colour == "bgr":
        steps.append(("Gather", np.array([2, 1, 0]), {"axis": axis}))
    if dtype != "uint8":
        steps.append(("Cast", None, {"to": _kind_of(computed_in)}))
    if (scale != 1).any():
        steps.append(("Mul", scale.astype(computed_in).reshape(per_channel), {}))
    if offset.any():
        steps.append(("Add", offset.astype(computed_in).reshape(per_channel), {}))
    if computed_in != dtype:
        steps.append(("Cast", None, {"to": _kind_of(dtype)}))
    if not steps:
        return _Prefix((image,))
    operators, weights, last = [], [], IMAGE
    for number, (op_type, constant, attributes) in enumerate(steps):
        reads = [last]
        if constant is not None:
            weights.append(numpy_helper.from_array(constant, f"{NORMALISED}:{number}"))
            reads.append(weights[-1].name)
        last = NORMALISED if number == len(steps) - 1 else f"{NORMALISED}#{number}"
        operators.append(
            helper.make_node(op_type, reads, [last], f"{NORMALISED}#{number}", **attributes)
        )
    wide = network.shapes[network.image]
    computed = prod(wide) * sum(op_type in ("Mul", "Add") for op_type, _, _ in steps)
    size = prod(wide) * np.dtype(dtype).itemsize
    node = Node(NORMALISED, NORMALISED, (IMAGE,), wide, dtype, size, computed)
    return _Prefix((image, node), tuple(operators), tuple(weights))


def _kind_of(dtype: str) -> int:
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


# The DAG -----------------------------------------------------------------------------------------


def _nodes(
    operators: Sequence[onnx.NodeProto],
    network: StaticNetwork,
    names: Mapping[str, str],
    first: str,
) -> list[Node]:
    """The network's nodes; one takes over the work of the hidden operators before it."""
    shapes = dict(network.shapes)
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in network.model.graph.initializer}
    shown = {network.image: first, **names}
    reads_of: dict[str, list[str]] = {}
    inside: dict[str, dict[int, onnx.NodeProto]] = {}
    nodes = []
    for place, node in enumerate(operators):
        result, reads = result_of(node), []
        members: dict[int, onnx.NodeProto] = {}
        for name in node.input:
            if name in shown:
                reads.append(shown[name])
            elif name in reads_of:  # hidden
                reads += reads_of[name]
                members |= inside[name]
        reads = list(dict.fromkeys(reads))
        members[place] = node
        if not reads:
            continue  # a weight that could not be computed in advance
        if result not in names:
            reads_of[result], inside[result] = reads, members
            continue
        shape, dtype = network.shapes[result], network.dtypes[result]
        size = prod(shape) * np.dtype(dtype).itemsize
        of_node = [members[number] for number in sorted(members)]
        work = sum(flops(member, result_of(member), shapes) for member in of_node)
        nodes.append(Node(names[result], _kind(of_node), tuple(reads), shape, dtype, size, work))
    return nodes


def _kind(operators: Iterable[onnx.NodeProto]) -> str:
    """What a node's operators are called together, such as ``conv+silu``."""
    kind = "+".join(node.op_type.lower() for node in operators)
    for parts, name in _GATED.items():
        kind = kind.replace(parts, name)
    return kind


def _check_order(dag: ModelDag, path: Path) -> None:
    work = [
        sum(dag.by_name[name].flops for name in dag.exit_part(number))
        for number in range(1, len(dag.exits) + 1)
    ]
    for number, (shallow, deep) in enumerate(pairwise(work), start=1):
        if shallow > deep:
            raise OnnxError(
                f"{path}: exit {number} ({', '.join(dag.exits[number - 1])}) takes more work than "
                f"exit {number + 1} ({', '.join(dag.exits[number])}): name the shallowest first"
            )


# Writing -----------------------------------------------------------------------------------------


def _written(
    network: StaticNetwork,
    operators: Iterable[onnx.NodeProto],
    prefix: _Prefix,
    names: Mapping[str, str],
) -> onnx.ModelProto:
    """The network with its tensors' new names; those that are no nodes of the DAG get numbers."""
    new = {"": "", network.image: prefix.nodes[-1].name, **names}
    model = onnx.ModelProto(ir_version=network.model.ir_version)
    graph = model.graph
    graph.node.extend(prefix.operators)
    for node in operators:
        graph.node.add().CopyFrom(node)
        for field in (graph.node[-1].input, graph.node[-1].output):
            field[:] = [new.setdefault(name, f"~{len(new)}") for name in field]
    domains = {node.domain for node in graph.node}
    model.opset_import.extend(o for o in network.model.opset_import if o.domain in domains)
    graph.initializer.extend(prefix.weights)
    for tensor in network.model.graph.initializer:
        if tensor.name in new:
            graph.initializer.add().CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)))
            graph.initializer[-1].name = new[tensor.name]
    return model
