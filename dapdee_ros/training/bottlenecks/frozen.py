"""A trained network as it is, in parts that gradients flow through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import fx, nn

from dapdee_ros.exits.card import ModelCard
from dapdee_ros.graph.cuts import head_of
from dapdee_ros.graph.dag import GraphError, ModelDag
from dapdee_ros.graph.facts import Kind, dag_of, facts_of
from dapdee_ros.graph.fold import fold_batch_norms
from dapdee_ros.graph.trace import TracedModel


class FrozenNetwork(Protocol):
    """Parts of a network whose weights do not change, for batches and for gradients.

    Not a module: what trains with it neither stores nor updates its weights.

    Attributes:
        card: the model.
        dag: its DAG.
    """

    card: ModelCard
    dag: ModelDag

    def part(self, given: Sequence[str], wanted: Sequence[str]) -> nn.Module:
        """A module that computes some tensors of any batch size from others.

        Args:
            given: nodes whose tensors it takes, in this order.
            wanted: nodes whose tensors it returns, as a tuple in this order.

        Raises:
            GraphError: if a name is unknown, or the given tensors do not suffice.
        """
        ...


class TracedNetwork:
    """A network that torch builds; see ``FrozenNetwork``.

    Batch norms are folded into the convolutions before them.

    Args:
        card: the model.
        traced: its network; it is used up.
    """

    def __init__(self, card: ModelCard, traced: TracedModel) -> None:
        self.card = card
        self._module = traced.graph_module
        fold_batch_norms(self._module)
        for parameter in self._module.parameters():
            parameter.requires_grad_(False)
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self._module.eval()
        self.dag: ModelDag = dag_of(self._module.graph)

    def part(self, given: Sequence[str], wanted: Sequence[str]) -> nn.Module:
        """See ``FrozenNetwork.part``."""
        source = self._module.graph
        nodes = {
            facts_of(n).name: n
            for n in source.nodes
            if n.op != "output" and facts_of(n).kind in (Kind.INPUT, Kind.TENSOR)
        }
        unknown = [name for name in (*given, *wanted) if name not in nodes]
        if unknown:
            raise GraphError(f"there are no nodes {sorted(set(unknown))} in this model")
        starts = [nodes[name] for name in given]
        needed: set[fx.Node] = set()
        waiting = [nodes[name] for name in wanted]
        while waiting:
            node = waiting.pop()
            if node not in needed and node not in starts:
                needed.add(node)
                waiting += node.all_input_nodes
        graph = fx.Graph()
        copies: dict[fx.Node, fx.node.Argument] = {
            node: graph.placeholder(f"given_{place}") for place, node in enumerate(starts)
        }
        for node in source.nodes:
            if node not in needed:
                continue
            if node.op == "placeholder":
                if facts_of(node).kind is Kind.INPUT:
                    raise GraphError(
                        f"{list(given)} don't suffice to compute {list(wanted)}: the image would "
                        "be needed too"
                    )
                copies[node] = facts_of(node).value
                continue
            copies[node] = graph.node_copy(node, copies.__getitem__)
        graph.output(tuple(copies[nodes[name]] for name in wanted))
        return fx.GraphModule(self._module, graph).eval()


def exits_behind(dag: ModelDag, boundary: Sequence[str]) -> tuple[int, ...]:
    """The exits that follow from some tensors alone, which are no outputs of theirs.

    Raises:
        GraphError: if there are none: it is no boundary of a cut; says what would have to be sent
            too, or which nodes there are.
    """
    unknown = [name for name in boundary if name not in dag.by_name]
    if unknown:
        near = [n.name for n in dag.nodes[1:] if unknown[0].split(".")[0] in n.name][:8]
        raise GraphError(
            f"there is no node {unknown[0]!r} in this model; there are, for example, "
            f"{', '.join(near or [n.name for n in dag.nodes[1:9]])}"
        )
    found, why = [], ""
    for number in range(1, len(dag.exits) + 1):
        try:
            head_of(dag, number, boundary)
        except GraphError as error:
            why = str(error)
            continue
        if not set(boundary) & set(dag.exit_outputs(number)):
            found.append(number)
    if not found:
        raise GraphError(
            why or f"{list(boundary)} is all that an exit puts out: nothing is left to compute"
        )
    return tuple(found)


def deeper_tensors(
    dag: ModelDag, boundary: Sequence[str], exit_number: int, most: int
) -> list[str]:
    """Some feature maps between a boundary and an exit's outputs, evenly spread over the work.

    Only what several nodes read or nothing else can stand in for: the ends of blocks and stages.

    Args:
        dag: the network.
        boundary: what they are computed from.
        exit_number: the exit.
        most: how many.
    """
    head = head_of(dag, exit_number, boundary)
    rest = [n for n in dag.nodes if n.name in dag.exit_part(exit_number) and n.name not in head]
    outputs = dag.exit_outputs(exit_number)
    chosen: list[str] = []
    whole = sum(n.flops for n in rest)
    done = 0
    for node in rest:
        done += node.flops
        is_map = node.dtype == "float32" and len(node.shape) == 4 and node.name not in outputs
        joined = len(dag.readers[node.name]) > 1 or len(node.inputs) > 1
        if is_map and joined and done >= whole * len(chosen) / (most + 1) and len(chosen) < most:
            chosen.append(node.name)
    return chosen
