"""Put further exits on a network in ONNX, which itself stays as it is. No torch in here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import onnx
from onnx import version_converter

from dapdee_ros.engines.onnx_model import OnnxError, described
from dapdee_ros.engines.onnx_weights import UNNAMED
from dapdee_ros.graph.dag import ModelDag


@dataclass(frozen=True)
class Graft:
    """An exit to be put on a network.

    Attributes:
        tap: the tensor of the network that it reads.
        network: what it computes; its input is the first node of ``dag``.
        dag: its DAG, with one exit.
    """

    tap: str
    network: onnx.ModelProto
    dag: ModelDag


def grafted(
    network: onnx.ModelProto, dag: ModelDag, grafts: Sequence[Graft]
) -> tuple[onnx.ModelProto, ModelDag]:
    """A network with further exits before its own.

    Their tensors and weights are called ``exit1.`` and so on and as they were. A network of an
    older opset than theirs is converted to it.

    Args:
        network: left as it is.
        dag: its DAG.
        grafts: shallowest first.

    Returns:
        The network and its DAG, whose exits are those of the grafts, then the network's own.

    Raises:
        OnnxError: if a tap is not as the graft's input, the exits are not in the order of their
            work, or the network cannot be converted.
    """
    opset = max(_opset(graft.network) for graft in grafts)
    model = _converted(network, opset)
    nodes, exits = list(dag.nodes), []
    for number, graft in enumerate(grafts, start=1):
        first = graft.dag.nodes[0]
        tap = dag.by_name.get(graft.tap)
        if tap is None or (tap.shape, tap.dtype) != (first.shape, first.dtype):
            there = "there is none of that name" if tap is None else f"{tap.dtype} {tap.shape}"
            raise OnnxError(
                f"the exit reads {graft.tap!r} as {first.dtype} {first.shape}; in the network: "
                f"{there}"
            )
        prefix = f"exit{number}."
        new = {first.name: graft.tap}
        nodes += [
            replace(
                node,
                name=prefix + node.name,
                inputs=tuple(new.get(name, prefix + name) for name in node.inputs),
            )
            for node in graft.dag.nodes[1:]
        ]
        exits += [tuple(prefix + name for name in of) for of in graft.dag.exits]
        _append(model.graph, graft.network.graph, prefix, new)
    whole = ModelDag(tuple(nodes), (*exits, *dag.exits))
    work = [
        sum(whole.by_name[name].flops for name in whole.exit_part(number))
        for number in range(1, len(whole.exits) + 1)
    ]
    for number, (shallow, deep) in enumerate(pairwise(work), start=1):
        if shallow >= deep:
            raise OnnxError(
                f"exit {number} takes {shallow / 1e6:.0f} million operations, exit {number + 1} "
                f"{deep / 1e6:.0f}: put it on a tensor nearer to the image, or make it narrower"
            )
    del model.graph.output[:]
    model.graph.output.extend(described(whole, name) for name in whole.outputs)
    return model, whole


def _opset(model: onnx.ModelProto) -> int:
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)


def _converted(network: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(network)
    if _opset(model) >= opset:
        return model
    try:
        return version_converter.convert_version(model, opset)
    except (RuntimeError, ValueError) as error:
        raise OnnxError(
            f"the network is of opset {_opset(network)} and cannot be converted to {opset}, which "
            f"its exits need: export it with opset {opset} ({error})"
        ) from error


def _append(
    graph: onnx.GraphProto, exit_graph: onnx.GraphProto, prefix: str, new: dict[str, str]
) -> None:
    """Add an exit's operators and weights under names of their own."""

    def name_of(name: str) -> str:
        # What has no name of its own keeps saying so.
        start = UNNAMED if name.startswith(UNNAMED) else ""
        return new.get(name, start + prefix + name.removeprefix(start)) if name else ""

    for node in exit_graph.node:
        graph.node.add().CopyFrom(node)
        for field in (graph.node[-1].input, graph.node[-1].output):
            field[:] = [name_of(name) for name in field]
    for tensor in exit_graph.initializer:
        graph.initializer.add().CopyFrom(tensor)
        graph.initializer[-1].name = name_of(tensor.name)
