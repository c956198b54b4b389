"""The operators of a network as nodes of a DAG: one result each, and only what is needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import onnx
from onnx import helper

from dapdee_ros.engines.onnx_model import OnnxError

_ELEMENTWISE = {
    "Add", "Clip", "Div", "Erf", "Exp", "HardSigmoid", "Log", "Mul", "Neg", "Reciprocal", "Relu",
    "Sigmoid", "Softplus", "Sqrt", "Sub", "Tanh",
}  # fmt: skip
_PRIVATE = "~"
"""Begins the names of results that nothing reads."""


def one_result_each(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The operators, one with several results copied for each that is read.

    A node of the DAG is one tensor. In one session ONNX Runtime computes equal operators once.
    """
    read = {name for node in graph.node for name in node.input}
    read.update(described.name for described in graph.output)
    operators = []
    for place, node in enumerate(graph.node):
        results = [name for name in node.output if name in read]
        for name in results:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            if len(results) > 1:
                copy.name = f"{node.name or node.op_type}_{results.index(name)}"
            copy.output[:] = [
                out if out == name or not out else f"{_PRIVATE}{place}:{name}:{number}"
                for number, out in enumerate(node.output)
            ]
            operators.append(copy)
    return operators


def result_of(node: onnx.NodeProto) -> str:
    """The result of an operator that is read."""
    return next(name for name in node.output if name and not name.startswith(_PRIVATE))


def exit_outputs(
    graph: onnx.GraphProto, exits: Sequence[Sequence[str]], path: Path
) -> tuple[tuple[str, ...], ...]:
    """Per exit, the tensors that it puts out.

    Args:
        graph: the network.
        exits: names of tensors or operators; none makes one exit of all outputs.
        path: the file, for messages.

    Raises:
        OnnxError: if a name is neither.
    """
    outputs = [described.name for described in graph.output]
    by_name = {node.name: node.output[0] for node in graph.node if node.name}
    by_name |= {name: name for node in graph.node for name in node.output if name}
    by_name |= {name: name for name in outputs}
    found = []
    for names in exits or [outputs]:
        unknown = [name for name in names if name not in by_name]
        if unknown or not names:
            raise OnnxError(
                f"{path} computes no {(unknown or [''])[0]!r} for an exit; its outputs are "
                f"{outputs}"
            )
        found.append(tuple(dict.fromkeys(by_name[name] for name in names)))
    return tuple(found)


def refuse_constant(names: Iterable[str], path: Path) -> None:
    """Complain of outputs that are the same for every image.

    Raises:
        OnnxError: if there are any.
    """
    for name in sorted(names):
        raise OnnxError(
            f"{path}: the output {name!r} does not depend on the image; name those that do with "
            "--exit"
        )


def keep_needed(graph: onnx.GraphProto, outputs: Iterable[str]) -> None:
    """Give a network other outputs, and take away the operators that they do not need."""
    read = set(outputs)
    kept = []
    for node in reversed(graph.node):
        if not read.isdisjoint(node.output):
            kept.append(node)
            read.update(_reads(node))
    described = {output.name: output for output in graph.output}
    new = [described.get(name) or helper.make_empty_tensor_value_info(name) for name in outputs]
    nodes = kept[::-1]
    del graph.node[:], graph.output[:]
    graph.node.extend(nodes)
    graph.output.extend(new)


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """What an operator reads, also inside its branches."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _reads(inner)


def depending(operators: Iterable[onnx.NodeProto], image: str) -> set[str]:
    """The tensors that depend on the image."""
    depends = {image}
    for node in operators:
        if not depends.isdisjoint(node.input):
            depends.add(result_of(node))
    return depends - {image}


def inside_activations(
    operators: Sequence[onnx.NodeProto], depends: set[str], outputs: set[str]
) -> set[str]:
    """Tensors between a tensor x and its product with an elementwise function of x.

    Who cuts there sends x and something that x determines. The operators between, each with one
    reader, and the product become one node.
    """
    readers: dict[str, int] = {}
    for node in operators:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    producers = {result_of(node): node for node in operators}
    hidden: set[str] = set()
    for node in operators:
        if node.op_type != "Mul" or len(node.input) != 2:
            continue
        for start, origin in (tuple(node.input), tuple(reversed(node.input))):
            chain, name = [], start
            while name != origin and name in depends and name not in outputs:
                producer = producers[name]
                given = [read for read in producer.input if read in depends]
                if readers[name] != 1 or producer.op_type not in _ELEMENTWISE or len(given) != 1:
                    break
                chain.append(name)
                name = given[0]
            if name == origin and chain:
                hidden.update(chain)
                break
    return hidden
