"""Write a traced network as ONNX, its values called as the DAG's nodes. Needs torch."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx
import torch
from torch import fx

from dapdee_ros.engines.adaptive_pooling import replace_uneven_pooling
from dapdee_ros.engines.onnx_model import OnnxError, OnnxModel
from dapdee_ros.graph.facts import Kind, dag_of, facts_of
from dapdee_ros.graph.fold import fold_batch_norms
from dapdee_ros.graph.trace import TracedModel

OPSET = 17
_OURS = "tensor:"


def export(traced: TracedModel) -> OnnxModel:
    """A traced network in ONNX, batch norms folded into the convolutions before them.

    Every tensor of the DAG is asked of torch's exporter as an output, under its own name, so that
    names survive whatever the exporter makes of the operators; afterwards they are values like any
    other.

    Args:
        traced: the network; left as it is.

    Raises:
        OnnxError: if torch cannot export an operator; names it.
    """
    graph = fx.Graph()
    graph.output(graph.graph_copy(traced.graph_module.graph, {}))
    module = fx.GraphModule(traced.graph_module, graph)
    fold_batch_norms(module)
    replace_uneven_pooling(module)
    dag = dag_of(graph)
    nodes = {facts_of(n).name: n for n in graph.nodes if n.op != "output" and _is_tensor(n)}
    computed = [node.name for node in dag.nodes[1:]]
    graph.output_node().args = (tuple(nodes[name] for name in computed),)
    module.recompile()
    first = dag.nodes[0]
    example = torch.zeros(first.shape, dtype=getattr(torch, first.dtype))
    with tempfile.TemporaryDirectory(prefix="dapdee-export-") as folder:
        path = Path(folder) / "model.onnx"
        try:
            with warnings.catch_warnings(), _quiet(logging.getLogger("torch.onnx")):
                warnings.simplefilter("ignore")
                torch.onnx.export(
                    module,
                    (example,),
                    path,
                    input_names=[first.name],
                    output_names=[_OURS + name for name in computed],
                    opset_version=OPSET,
                    dynamo=False,
                )
        except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
            raise OnnxError(f"torch cannot write this network as ONNX: {error}") from error
        model = onnx.load_model(path)
    _name_values(model.graph, first.name)
    _name_operators(model.graph)
    return OnnxModel(model, dag)


def _is_tensor(node: fx.Node) -> bool:
    return facts_of(node).kind in (Kind.INPUT, Kind.TENSOR)


class _quiet:
    """Logger that says only errors for a while."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def __enter__(self) -> None:
        self._level = self._logger.level
        self._logger.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        self._logger.setLevel(self._level)


def _name_values(graph: onnx.GraphProto, given: str) -> None:
    """Give the DAG's tensors their own names, and all others numbers that no node is called."""
    new = {"": "", given: given}
    for name in _value_names(graph):
        if name not in new:
            new[name] = name.removeprefix(_OURS) if name.startswith(_OURS) else f"~{len(new)}"
    for node in graph.node:
        node.input[:] = [new[name] for name in node.input]
        node.output[:] = [new[name] for name in node.output]
    for described in (*graph.output, *graph.value_info):
        described.name = new[described.name]
    for tensor in graph.initializer:
        tensor.name = new[tensor.name]


def _value_names(graph: onnx.GraphProto) -> Iterator[str]:
    for tensor in graph.initializer:
        yield tensor.name
    for node in graph.node:
        yield from node.input
        yield from node.output
    for described in (*graph.output, *graph.value_info):
        yield described.name


def _name_operators(graph: onnx.GraphProto) -> None:
    """Call each operator as the first tensor of the DAG that needs it, with a number."""
    operators = list(graph.node)
    producers = {out: place for place, node in enumerate(operators) for out in node.output}
    owned: set[int] = set()
    for described in graph.output:
        waiting, number = [described.name], 0
        while waiting:
            place = producers.get(waiting.pop())
            if place is None or place in owned:
                continue
            owned.add(place)
            operators[place].name = f"{described.name}#{number}"
            number += 1
            waiting.extend(operators[place].input)
