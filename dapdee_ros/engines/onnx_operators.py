"""The operators of a network as nodes of a DAG: one result each, and only what is needed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import onnx
from onnx import helper

from dapdee_ros.engines.onnx_model import OnnxError

_ELEMENTWISE = {
    "Abs", "Add", "Celu", "Clip", "Div", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish",
    "LeakyRelu", "Log", "Mish", "Mul", "Neg", "PRelu", "Pow", "Reciprocal", "Relu", "Selu",
    "Sigmoid", "Softplus", "Softsign", "Sqrt", "Sub", "Swish", "Tanh", "ThresholdedRelu",
}  # fmt: skip
_LONGEST_NAME = 200
_PRIVATE = "\0"
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


def cleaned(name: str) -> str:
    """A name of letters, digits, dots and underscores, each part once.

    >>> cleaned("/model/model.0/conv/Conv"), cleaned("onnx::Relu_12")
    ('model.0.conv.Conv', 'onnx_Relu_12')
    """
    parts = re.split(r"[/\\]+", name.strip("/"))
    # torch's exporter writes the path of a module again in front of each of its parts.
    kept = [
        part
        for part, following in zip_longest(parts, parts[1:], fillvalue="")
        if not following.startswith(f"{part}.")
    ]
    return re.sub(r"[^A-Za-z0-9_.]+", "_", ".".join(kept)).strip("._")[-_LONGEST_NAME:]


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
    by_name = {cleaned(node.name): node.output[0] for node in graph.node}
    by_name |= {node.name: node.output[0] for node in graph.node if node.name}
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


def inside_nodes(
    operators: Sequence[onnx.NodeProto],
    depends: set[str],
    outputs: set[str],
    shapes: Mapping[str, tuple[int, ...]],
) -> set[str]:
    """Tensors at which no cut can be better than one before or after them.

    Those between a tensor x and its product with an elementwise function of x (who cuts there sends
    x and something that x determines), and those that only an elementwise function of the same
    shape reads (who cuts behind it sends as much, and does not keep the runtime from computing both
    at once). Their operators and the one that reads them are one node.
    """
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in operators:
        for name in dict.fromkeys(node.input):
            readers.setdefault(name, []).append(node)
    producers = {result_of(node): node for node in operators}
    hidden: set[str] = set()
    for node in operators:
        if node.op_type not in _ELEMENTWISE:
            continue
        given = [name for name in dict.fromkeys(node.input) if name in depends]
        chain = _gate(node, given, producers, readers, outputs)
        hidden.update(chain)
        inner = {id(producers[name]) for name in chain} | {id(node)}
        source = producers[chain[-1]].input[0] if chain else given[0]
        if len(given) - bool(chain) != 1 or source not in producers or source in outputs:
            continue
        same_shape = shapes[source] == shapes[result_of(node)]
        if same_shape and all(id(reader) in inner for reader in readers[source]):
            hidden.add(source)
    return hidden


def _gate(
    node: onnx.NodeProto,
    given: Sequence[str],
    producers: Mapping[str, onnx.NodeProto],
    readers: Mapping[str, Sequence[onnx.NodeProto]],
    outputs: set[str],
) -> list[str]:
    """Of a product of x and f(x), the tensors of f from the last to the first; else nothing."""
    if node.op_type != "Mul" or len(given) != 2:
        return []
    for start, origin in (given, given[::-1]):
        chain: list[str] = []
        name = start
        while name in producers and name not in outputs and len(readers[name]) == 1:
            producer = producers[name]
            # The first operand is the tensor, the others are numbers.
            if producer.op_type not in _ELEMENTWISE or any(
                r in producers for r in producer.input[1:]
            ):
                break
            chain.append(name)
            name = producer.input[0]
            if name == origin:
                return chain
    return []
