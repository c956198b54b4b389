"""The facts that tracing finds about each node of a torch.fx graph, and the resulting DAG."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx

from dapdee_ros.graph.dag import ModelDag, Node
from dapdee_ros.graph.layout import Layout
from dapdee_ros.graph.recording import AUGMENTED

_KEY = "dapdee_facts"


class Kind(enum.Enum):
    """What a torch.fx node represents."""

    INPUT = "input"
    TENSOR = "tensor"  # one tensor that depends on the input: a node of the DAG
    STATIC = "static"  # a value that doesn't depend on the data: parameters, sizes, constants
    GLUE = "glue"  # depends on the data but isn't one tensor (a tuple, a Python number)


@dataclass(frozen=True)
class Facts:
    """The facts about one torch.fx node.

    Attributes:
        name: module-path name; the DAG node's name if it is one.
        kind: what it represents.
        op: display name of the operation.
        layout: of its tensor, for ``INPUT`` and ``TENSOR``.
        flops: floating-point operations of one run.
        value: of ``STATIC`` nodes that aren't tensors.
    """

    name: str
    kind: Kind
    op: str
    layout: Layout | None = None
    flops: int = 0
    value: Any = None


def facts_of(node: fx.Node) -> Facts:
    """The facts that tracing attached to ``node``."""
    return node.meta[_KEY]


def attach(node: fx.Node, facts: Facts) -> None:
    """Attach ``facts`` to ``node``; copies of the graph keep them."""
    node.meta[_KEY] = facts


def amend(node: fx.Node, **changes: Any) -> None:
    """Replace some of the facts of ``node``."""
    attach(node, replace(facts_of(node), **changes))


def op_name(graph_module: fx.GraphModule, node: fx.Node) -> str:
    """Display name of a node's operation: ``conv2d``, ``add``, ``cat``."""
    if node.op == "call_module":
        return type(graph_module.get_submodule(str(node.target))).__name__.lower()
    if node.op == "placeholder":
        return "input"
    name = str(getattr(node.target, "__name__", node.target))
    return AUGMENTED.get(name, name).removesuffix("_")


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """The tensors held by ``value``, a tensor or tuples, lists and dicts of them."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)


def graph_outputs(graph: fx.Graph) -> list[fx.Node]:
    """The nodes that the graph returns, in order."""
    return [node for outputs in graph_exits(graph) for node in outputs]


def graph_exits(graph: fx.Graph) -> list[list[fx.Node]]:
    """The nodes that the graph returns, those of each exit together, in order."""
    result: Any = graph.output_node().args[0]
    exits = result if isinstance(result, tuple | list) else [result]
    return [[*e] if isinstance(e, tuple | list) else [e] for e in exits]


def graph_input(graph: fx.Graph) -> fx.Node:
    """The node of the graph's one input."""
    return next(node for node in graph.nodes if facts_of(node).kind is Kind.INPUT)


def needed_nodes(graph: fx.Graph) -> list[fx.Node]:
    """The nodes that some output depends on, in order."""
    wanted = set(graph_outputs(graph))
    for node in reversed(graph.nodes):
        if node in wanted:
            wanted.update(node.all_input_nodes)
    return [node for node in graph.nodes if node in wanted]


def tensors_read(node: fx.Node) -> list[fx.Node]:
    """The DAG nodes that ``node`` reads, looking through glue; each once, in argument order."""
    found: dict[fx.Node, None] = {}
    for read in node.all_input_nodes:
        kind = facts_of(read).kind
        if kind is Kind.GLUE:
            found.update(dict.fromkeys(tensors_read(read)))
        elif kind is not Kind.STATIC:
            found[read] = None
    return list(found)


def glue_owners(graph: fx.Graph) -> dict[fx.Node, fx.Node]:
    """Per glue node, the first DAG node that needs it, which is charged its cost."""
    owners: dict[fx.Node, fx.Node] = {}

    def own(node: fx.Node, owner: fx.Node) -> None:
        for read in node.all_input_nodes:
            if facts_of(read).kind is Kind.GLUE and read not in owners:
                owners[read] = owner
                own(read, owner)

    for node in needed_nodes(graph):
        if facts_of(node).kind is Kind.TENSOR:
            own(node, node)
    return owners


def dag_of(graph: fx.Graph) -> ModelDag:
    """The DAG of a graph with facts: one node per tensor, glue and static values merged into
    readers.

    A node that cuts a tensor into several (``chunk``) is not a node of its own: each piece reads
    the tensor that was cut, so that a boundary only ever holds tensors.
    """
    owners = glue_owners(graph)
    extra_flops: dict[fx.Node, int] = {}
    for glue, owner in owners.items():
        extra_flops[owner] = extra_flops.get(owner, 0) + facts_of(glue).flops
    nodes = []
    # The input comes first even if a parameter's node precedes it.
    order = [graph_input(graph)]
    order += [n for n in needed_nodes(graph) if facts_of(n).kind is Kind.TENSOR]
    for node in order:
        facts = facts_of(node)
        layout = facts.layout
        if layout is None:
            raise RuntimeError(f"node {facts.name!r} has no layout")
        nodes.append(
            Node(
                name=facts.name,
                op=facts.op,
                inputs=tuple(facts_of(read).name for read in tensors_read(node)),
                shape=layout.shape,
                dtype=layout.dtype_name,
                output_bytes=layout.size_bytes,
                flops=facts.flops + extra_flops.get(node, 0),
            )
        )
    exits = tuple(tuple(facts_of(n).name for n in outputs) for outputs in graph_exits(graph))
    return ModelDag(tuple(nodes), exits)
