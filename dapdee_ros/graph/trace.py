"""See any torch network as a DAG of operators.

``trace`` records the network with torch.fx in evaluation mode, removes side effects, and runs it
on an example to learn shapes, layouts and costs. Names are those of torchvision's tracer: module
paths (``layer1.0.conv1``), which are the same whenever the same code is traced.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import fx, nn

from dapdee_ros.graph.dag import ModelDag
from dapdee_ros.graph.facts import (
    Kind,
    Layout,
    amend,
    dag_of,
    facts_of,
    tensors_in,
)
from dapdee_ros.graph.flops import FlopCounter
from dapdee_ros.graph.functional import make_functional
from dapdee_ros.graph.outputs import exits_of
from dapdee_ros.graph.recording import Leaf
from dapdee_ros.graph.symbolic import (
    WAY_OUT,
    TraceError,
    check_takes_one_tensor,
    evaluation_copy,
    symbolic_graph,
)

__all__ = ["ModelFails", "TraceError", "TracedModel", "trace"]


class ModelFails(TraceError):
    """The network itself cannot be run on the example, whether or not it is traced."""


@dataclass(frozen=True)
class TracedModel:
    """A traced network.

    Attributes:
        graph_module: the network without side effects; shares the parameters of the model it came
            from. Each node carries its facts (``dapdee_ros.graph.facts``).
    """

    graph_module: fx.GraphModule

    @cached_property
    def dag(self) -> ModelDag:
        """The network as a DAG, exits in the order of the network's outputs."""
        return dag_of(self.graph_module.graph)


def trace(
    model: nn.Module, example: torch.Tensor, *, leaf_modules: Iterable[Leaf] = ()
) -> TracedModel:
    """Trace a network into a DAG.

    The model itself is not changed, not even its training mode. Its parameters are shared, so
    trace after loading the weights. While a trace is recorded no other thread may call a module:
    torch.fx changes how all modules of the process are called.

    Args:
        model: takes one tensor, returns one tensor, or a tuple or list with one item per exit,
            shallowest first. The item of an exit with several outputs, as a detector has them, is
            a tuple, list, dict or dataclass of tensors; of a network with that one exit too:
            ``return ((boxes, scores),)``. A dict or dataclass alone has to hold one tensor.
        example: an input of batch size 1, of the shape, dtype and strides that every run will have.
        leaf_modules: classes of modules, or paths of modules, to keep as one node: for what
            can't be traced, or shouldn't be split.

    Returns:
        The traced model.

    Raises:
        TraceError: if the model can't be traced; names the line and the way out.

    >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    >>> dag = trace(model, torch.zeros(1, 1, 4, 4)).dag
    >>> for node in dag.nodes:
    ...     print(node.name, node.op, node.shape, node.output_bytes)
    input input (1, 1, 4, 4) 64
    0 conv2d (1, 2, 2, 2) 32
    1 relu (1, 2, 2, 2) 32
    2 flatten (1, 8) 32
    3 linear (1, 3) 12
    >>> dag.exits
    (('3',),)
    """
    if example.ndim == 0 or example.shape[0] != 1:
        raise TraceError(
            f"the example has shape {tuple(example.shape)}: expected a batch of 1, since that is "
            "what costs and boundary sizes are stated for"
        )
    check_takes_one_tensor(model)
    # Tensors made in inference mode don't count their changes, which has to be known here.
    with torch.inference_mode(False), torch.no_grad():
        expected = _run_whole(model, example)
        graph_module, names, defaults = symbolic_graph(model, example, leaf_modules)
        make_functional(graph_module, names, example, defaults)
        came = _measure(graph_module, example)
    _compare(expected, came)
    return TracedModel(graph_module)


class _Measuring(fx.Interpreter):
    """Runs the graph and amends each node's facts with the layout of what it produced."""

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.op != "output" and facts_of(n).kind in (Kind.INPUT, Kind.TENSOR):
            _check_sendable(facts_of(n).name, value)
            amend(n, layout=Layout.of(value))
        return value


class _Counting(fx.Interpreter):
    """Runs the graph and amends each node's facts with its floating-point operations."""

    def run_node(self, n: fx.Node) -> Any:
        if n.op in ("output", "placeholder"):
            return super().run_node(n)
        with FlopCounter() as counter:
            value = super().run_node(n)
        facts = facts_of(n)
        if counter.data_dependent and facts.kind is not Kind.STATIC:
            raise TraceError(
                f"{facts.name!r} gives a tensor whose shape depends on the data "
                f"({counter.data_dependent[0]}), so its size can't be planned with; {WAY_OUT}"
            )
        amend(n, flops=counter.flops)
        return value


def _measure(graph_module: fx.GraphModule, example: torch.Tensor) -> list[torch.Tensor]:
    """Amend layouts and costs; returns what the graph gives for the example."""
    inputs = [n for n in graph_module.graph.nodes if n.op == "placeholder"]
    arguments = [example.clone(), *(facts_of(n).value for n in inputs[1:])]
    came = list(tensors_in(_Measuring(graph_module).run(*arguments)))
    # Separately, because counting may take other kernels, with other layouts.
    _Counting(graph_module).run(*arguments)
    return came


def _check_sendable(name: str, tensor: torch.Tensor) -> None:
    """Refuse tensors that a message couldn't hold."""
    if tensor.layout is not torch.strided:
        raise TraceError(f"{name!r} is a {tensor.layout} tensor: only dense ones can be sent")
    try:
        torch.empty(0, dtype=tensor.dtype).numpy()
    except TypeError:
        raise TraceError(
            f"{name!r} has dtype {tensor.dtype}, which NumPy doesn't have, so it couldn't be sent; "
            "convert the model to float32 first"
        ) from None


def _run_whole(model: nn.Module, example: torch.Tensor) -> list[torch.Tensor]:
    """What the model itself gives, before anything is made of it."""
    try:
        output = evaluation_copy(model)(example.clone())
    except Exception as error:
        raise ModelFails(
            f"{type(model).__name__} itself fails on an example of "
            f"{str(example.dtype).removeprefix('torch.')} {tuple(example.shape)}: "
            f"{type(error).__name__}: {error}"
        ) from error
    return list(tensors_in(exits_of(output, type(model).__name__)))


def _compare(expected: list[torch.Tensor], came: list[torch.Tensor]) -> None:
    """Refuse a trace that doesn't compute what the model computes."""
    for number, (a, b) in enumerate(zip(expected, came, strict=True), start=1):
        if a.shape != b.shape or not torch.allclose(a, b, rtol=1e-3, atol=1e-5, equal_nan=True):
            raise TraceError(
                f"output {number} of the trace differs from the model's own: something in its "
                "forward was recorded as a constant (NumPy, a Python number taken from a tensor, "
                f"state kept between calls); {WAY_OUT}"
            )
