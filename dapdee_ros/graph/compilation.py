"""Compile a graph with facts into operations that a plan can pick from."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from dapdee_ros.graph.facts import Kind, facts_of, glue_owners, needed_nodes
from dapdee_ros.graph.layout import Layout
from dapdee_ros.graph.plan import Call, Operation, Slot, compile_call


@dataclass(frozen=True)
class Compiled:
    """A network as operations on numbered slots.

    Attributes:
        operations: by slot, in an order in which they can run; None for the input.
        names: of the operations, by slot.
        slots: of the DAG's nodes, by name.
        layouts: of the DAG's tensors, by name.
    """

    operations: list[Operation | None]
    names: list[str]
    slots: dict[str, int]
    layouts: dict[str, Layout]


def compile_graph(graph_module: fx.GraphModule) -> Compiled:
    """Compile a graph with facts; what doesn't depend on the input is computed here, once."""
    graph = graph_module.graph
    owners = glue_owners(graph)
    interpreter = fx.Interpreter(graph_module)
    constants: dict[fx.Node, Any] = {}
    places: dict[fx.Node, int] = {}
    compiled = Compiled([], [], {}, {})
    for node in needed_nodes(graph):
        facts = facts_of(node)
        if facts.kind is Kind.STATIC:
            constants[node] = _constant(interpreter, node, constants)
            continue
        slot = places[node] = len(compiled.operations)
        compiled.names.append(facts.name)
        if facts.layout is not None:
            compiled.slots[facts.name] = slot
            compiled.layouts[facts.name] = facts.layout
        if facts.kind is Kind.INPUT:
            compiled.operations.append(None)
            continue

        def argument(value: fx.Node) -> Any:
            return Slot(places[value]) if value in places else constants[value]

        args = fx.node.map_arg(node.args, argument)
        kwargs = fx.node.map_arg(node.kwargs, argument)
        compiled.operations.append(
            Operation(
                slot=slot,
                reads=tuple(places[n] for n in node.all_input_nodes if n in places),
                call=compile_call(_function(graph_module, node), args, kwargs),
                call_in_place=_in_place(graph_module, node, args, kwargs),
                name=facts_of(owners.get(node, node)).name,
            )
        )
    return compiled


def _constant(interpreter: fx.Interpreter, node: fx.Node, constants: Mapping[fx.Node, Any]) -> Any:
    """The value of a node that does not depend on the input."""
    if node.op == "placeholder":
        return facts_of(node).value
    interpreter.env = dict(constants)
    with torch.inference_mode():
        return interpreter.run_node(node)


def _function(graph_module: fx.GraphModule, node: fx.Node) -> Callable[..., Any]:
    if node.op == "call_module":
        return graph_module.get_submodule(str(node.target))
    if node.op == "call_method":
        method = str(node.target)
        return lambda tensor, *args, **kwargs: getattr(tensor, method)(*args, **kwargs)
    if not callable(node.target):
        raise RuntimeError(f"node {node.name!r} can't be called: {node.op} {node.target}")
    return node.target


# The results of these never share memory with another tensor.
_FRESH_MODULES = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.Linear,
)
_ADDITIONS = (operator.add, operator.iadd, torch.add)


def _in_place(
    graph_module: fx.GraphModule, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Call | None:
    """The call that overwrites its first argument, where the difference is not observable.

    Whether the first argument is still needed depends on the plan, which decides about it; this is
    about memory: the argument must be the only owner of its memory and have the result's layout, or
    the result's strides, and so later kernels, would differ from those of the other form.
    """
    if not node.args or not isinstance(node.args[0], fx.Node):
        return None
    read = node.args[0]
    if len(read.users) != 1 or facts_of(read).layout != facts_of(node).layout:
        return None
    if read.op == "call_module":
        fresh = isinstance(graph_module.get_submodule(str(read.target)), _FRESH_MODULES)
    else:
        fresh = read.op == "call_function" and read.target in _ADDITIONS
    if not fresh:
        return None
    if node.op == "call_module":
        module = graph_module.get_submodule(str(node.target))
        if type(module).__module__ != "torch.nn.modules.activation" or not hasattr(
            module, "inplace"
        ):
            return None
        overwriting = copy.copy(module)
        overwriting.inplace = True  # type: ignore[assignment]
        return compile_call(overwriting, args, kwargs)
    if node.op == "call_function" and kwargs.get("inplace") is False and callable(node.target):
        return compile_call(node.target, args, {**kwargs, "inplace": True})
    if node.op == "call_function" and node.target in _ADDITIONS and not kwargs:
        other = node.args[1]
        if isinstance(other, fx.Node) and facts_of(other).layout == facts_of(node).layout:
            return compile_call(operator.iadd, args, {})
    return None
