"""Write a traced network as ONNX, its values called as the DAG's nodes. Needs torch."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path

import onnx
import torch
from torch import fx

from dapdee_ros.engines.adaptive_pooling import replace_uneven_pooling
from dapdee_ros.engines.onnx_model import OnnxError, OnnxModel, described
from dapdee_ros.engines.onnx_weights import UNNAMED
from dapdee_ros.graph.dag import ModelDag
from dapdee_ros.graph.facts import Kind, dag_of, facts_of
from dapdee_ros.graph.fold import fold_batch_norms
from dapdee_ros.graph.trace import TracedModel

OPSET = 17
_OURS = "tensor:"
# Defaults that depend on the number of axes, so that ONNX's own table does not hold them.
_WINDOWED = ("Conv", "MaxPool", "AveragePool")
_WINDOWED_DEFAULTS = {"dilations": 1, "strides": 1, "pads": 0}


def export(traced: TracedModel) -> OnnxModel:
    """A traced network in ONNX, to take parts of; see ``exported``.

    Raises:
        OnnxError: if torch cannot export an operator; names it.
    """
    return OnnxModel(*exported(traced))


def exported(traced: TracedModel) -> tuple[onnx.ModelProto, ModelDag]:
    """A traced network in ONNX, and its DAG with batch norms folded.

    In the network itself they are not folded, so that its weights are those of the module: each is
    an initialiser called as in the module's state. What is not part of the state is called by a
    number. The outputs are those of the exits.

    Every tensor of the DAG is asked of torch's exporter as an output, under its own name, so that
    names survive whatever the exporter makes of the operators; afterwards they are values like any
    other.

    Args:
        traced: the network; left as it is.

    Raises:
        OnnxError: if torch cannot export an operator; names it.
    """
    folded = _copy(traced.graph_module)
    fold_batch_norms(folded)
    dag = dag_of(folded.graph)
    module = _copy(traced.graph_module).eval()
    replace_uneven_pooling(module)
    graph = module.graph
    nodes = {facts_of(n).name: n for n in graph.nodes if n.op != "output" and _is_tensor(n)}
    computed = [node.name for node in dag.nodes[1:]]
    graph.output_node().args = (tuple(nodes[name] for name in computed),)
    module.recompile()
    state = frozenset(traced.graph_module.state_dict())
    ambiguous = sorted(state.intersection(dag.by_name))
    if ambiguous:
        raise OnnxError(f"weights and tensors of this network share the names {ambiguous[:3]}")
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
                    # Otherwise it would fold batch norms and constants, and make one weight of
                    # those that happen to be equal.
                    training=torch.onnx.TrainingMode.PRESERVE,
                    do_constant_folding=False,
                    keep_initializers_as_inputs=True,
                )
        except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
            raise OnnxError(f"torch cannot write this network as ONNX: {error}") from error
        model = onnx.load_model(path)
    _name_values(model.graph, first.name, state)
    _keep_only(model, dag)
    return model, dag


def _copy(module: fx.GraphModule) -> fx.GraphModule:
    graph = fx.Graph()
    graph.output(graph.graph_copy(module.graph, {}))
    return fx.GraphModule(module, graph)


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


def _name_values(graph: onnx.GraphProto, given: str, state: Collection[str]) -> None:
    """Give the DAG's tensors and the state their own names, and all else numbers."""
    weights = {tensor.name for tensor in graph.initializer}
    new = {"": "", given: given}
    for name in _value_names(graph):
        if name in weights and name in state:
            new[name] = name
        elif name not in new:
            new[name] = (
                name.removeprefix(_OURS) if name.startswith(_OURS) else f"{UNNAMED}{len(new)}"
            )
    for node in graph.node:
        node.input[:] = [new[name] for name in node.input]
        node.output[:] = [new[name] for name in node.output]
    for tensor in graph.initializer:
        tensor.name = new[tensor.name]


def _value_names(graph: onnx.GraphProto) -> Iterator[str]:
    for tensor in graph.initializer:
        yield tensor.name
    for node in graph.node:
        yield from node.input
        yield from node.output


def _keep_only(model: onnx.ModelProto, dag: ModelDag) -> None:
    """Leave out everything that computes nothing, and make the exits' outputs the network's."""
    graph = model.graph
    graph.name = "network"
    model.producer_name = model.producer_version = ""
    del graph.value_info[:], graph.input[:], graph.output[:]
    graph.input.append(described(dag, dag.input))
    graph.output.extend(described(dag, name) for name in dag.outputs)
    for node in graph.node:
        node.name = node.doc_string = ""
        del node.metadata_props[:]
        said = [a for a in node.attribute if not _is_default(node.op_type, a)]
        del node.attribute[:]
        node.attribute.extend(said)


def _is_default(operator: str, attribute: onnx.AttributeProto) -> bool:
    """Whether an attribute says what an operator does anyhow."""
    if operator == "BatchNormalization" and attribute.name == "momentum":
        return True  # only training needs it
    if operator == "Conv" and attribute.name == "kernel_shape":
        return True  # that of the weights
    if operator in _WINDOWED and attribute.name in _WINDOWED_DEFAULTS:
        return set(attribute.ints) == {_WINDOWED_DEFAULTS[attribute.name]}
    known = onnx.defs.get_schema(operator, OPSET).attributes.get(attribute.name)
    if known is None or not known.default_value.name:
        return False
    return known.default_value.SerializeToString() == attribute.SerializeToString()
