"""The model DAG: operators as nodes, tensors as edges, exits as outputs. No torch in here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

_USUAL_DTYPE = "float32"


class GraphError(ValueError):
    """An invalid graph or request about one; the message says why."""


@dataclass(frozen=True)
class Node:
    """One operator and the tensor it produces.

    Attributes:
        name: unique id; the torchvision tracer's module-path name, which survives a re-trace and
            is what names a boundary tensor on the wire.
        op: display name of the operation (``conv2d``, ``relu``, ``cat``, ``input``).
        inputs: names of the nodes it reads, in argument order, each once.
        shape: shape of its output for batch 1.
        dtype: NumPy name of the output's dtype (``float32``, ``uint8``).
        output_bytes: size of the output tensor in bytes.
        flops: floating-point operations of one run (a multiply-add counts as two).
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    output_bytes: int
    flops: int

    def to_dict(self) -> dict[str, Any]:
        """The node as plain JSON values, without what is usual; ``from_dict`` reads it back."""
        values: dict[str, Any] = {
            "name": self.name,
            "op": self.op,
            "inputs": list(self.inputs),
            "shape": list(self.shape),
            "flops": self.flops,
        }
        if self.dtype != _USUAL_DTYPE:
            values["dtype"] = self.dtype
        if self.output_bytes != _bytes_of(self.shape, self.dtype):
            values["output_bytes"] = self.output_bytes
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Node:
        """Build a node from ``to_dict``'s values.

        Raises:
            KeyError, TypeError, ValueError: if a value is missing or of the wrong kind.
        """
        shape, dtype = (
            tuple(int(d) for d in values["shape"]),
            str(values.get("dtype", _USUAL_DTYPE)),
        )
        return cls(
            name=str(values["name"]),
            op=str(values["op"]),
            inputs=tuple(str(i) for i in values["inputs"]),
            shape=shape,
            dtype=dtype,
            output_bytes=int(values.get("output_bytes", _bytes_of(shape, dtype))),
            flops=int(values["flops"]),
        )


def _bytes_of(shape: Sequence[int], dtype: str) -> int:
    return math.prod(shape) * np.dtype(dtype).itemsize


@dataclass(frozen=True)
class ModelDag:
    """A network as a DAG.

    Attributes:
        nodes: all operators in topological order; the first is the input.
        exits: for each exit, shallowest first, the nodes whose tensors are its outputs, in the
            order in which the task decodes them; exit ``n`` is ``exits[n - 1]``. A classifier's
            exit has one output, a detector's has several.

    Raises:
        GraphError: at construction, if names repeat, a node reads one that does not come before it,
            there is not exactly one input, or an exit or its output is missing.
    """

    nodes: tuple[Node, ...]
    exits: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if not self.nodes:
            raise GraphError("a model DAG needs at least its input node")
        seen: set[str] = set()
        for position, node in enumerate(self.nodes):
            if node.name in seen:
                raise GraphError(f"two nodes are called {node.name!r}")
            if (position == 0) != (not node.inputs):
                raise GraphError(
                    f"node {node.name!r} at position {position}: the first node, and only that, "
                    "is the input and reads nothing"
                )
            missing = [name for name in node.inputs if name not in seen]
            if missing:
                raise GraphError(f"node {node.name!r} reads {missing}, which do not come before it")
            seen.add(node.name)
        if not self.exits:
            raise GraphError("a model DAG needs at least one exit")
        for number, outputs in enumerate(self.exits, start=1):
            absent = [name for name in outputs if name not in seen]
            if absent or not outputs:
                raise GraphError(
                    f"exit {number} puts out {absent}, which are not nodes of the graph"
                    if absent
                    else f"exit {number} has no output"
                )

    @property
    def input(self) -> str:
        """Name of the input node."""
        return self.nodes[0].name

    @cached_property
    def by_name(self) -> Mapping[str, Node]:
        """Nodes by name."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def readers(self) -> Mapping[str, tuple[str, ...]]:
        """Per node, the names of the nodes that read its tensor, in topological order."""
        readers: dict[str, list[str]] = {node.name: [] for node in self.nodes}
        for node in self.nodes:
            for name in node.inputs:
                readers[name].append(node.name)
        return {name: tuple(of) for name, of in readers.items()}

    @cached_property
    def image_forms(self) -> frozenset[str]:
        """Nodes whose tensors may contain all of the input, so that it could be reconstructed.

        The input, and every node reachable from it on a path on which no tensor has fewer values
        than the input: a normalised or rearranged image, and the wide layers right after it.
        Information is certainly lost only if every path has a tensor with fewer values, so this
        errs on the side of caution.
        """
        values = {node.name: math.prod(node.shape) for node in self.nodes}
        forms = {self.input}
        for node in self.nodes[1:]:
            if values[node.name] >= values[self.input] and not forms.isdisjoint(node.inputs):
                forms.add(node.name)
        return frozenset(forms)

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """The output nodes of all exits, shallowest exit first, each once."""
        return tuple(dict.fromkeys(name for outputs in self.exits for name in outputs))

    def exit_outputs(self, exit_number: int) -> tuple[str, ...]:
        """The output nodes of exit ``exit_number`` (1 is the shallowest), in the task's order.

        Raises:
            GraphError: if there is no such exit.
        """
        if not 1 <= exit_number <= len(self.exits):
            raise GraphError(f"exit {exit_number} asked for, the model has 1 to {len(self.exits)}")
        return self.exits[exit_number - 1]

    def exit_sink(self, exit_number: int) -> str:
        """The output node of an exit that has one, as every classifier's.

        Raises:
            GraphError: if there is no such exit, or it has several outputs.
        """
        outputs = self.exit_outputs(exit_number)
        if len(outputs) > 1:
            raise GraphError(f"exit {exit_number} has {len(outputs)} outputs, expected one")
        return outputs[0]

    def exit_part(self, exit_number: int) -> frozenset[str]:
        """G_n: everything that exit ``exit_number`` depends on, its outputs included.

        Raises:
            GraphError: if there is no such exit.
        """
        return self.ancestors(self.exit_outputs(exit_number))

    def ancestors(self, names: Iterable[str]) -> frozenset[str]:
        """The given nodes and everything they depend on."""
        wanted: set[str] = set()
        for name in names:
            if name not in self.by_name:
                raise GraphError(f"there is no node {name!r} in this model")
            wanted.add(name)
        for node in reversed(self.nodes):
            if node.name in wanted:
                wanted.update(node.inputs)
        return frozenset(wanted)

    def boundary(self, head: Iterable[str], exit_number: int) -> tuple[str, ...]:
        """Tensors of ``head`` that are needed to run the rest of the exit's part and to answer.

        Those that some node of the part outside ``head`` reads, and the exit's outputs that
        ``head`` computes: the answer is decoded from all outputs, in one place. Each is listed
        once, however many nodes read it; topological order. Empty if ``head`` contains all of the
        exit's part.
        """
        head = frozenset(head)
        needed = self.exit_part(exit_number)
        if needed <= head:
            return ()
        read_outside = {*self.exit_outputs(exit_number)} | {
            name
            for node in self.nodes
            if node.name in needed and node.name not in head
            for name in node.inputs
        }
        return tuple(n.name for n in self.nodes if n.name in head and n.name in read_outside)

    def to_dict(self) -> dict[str, Any]:
        """The DAG as plain JSON values; ``from_dict`` reads it back.

        An exit of one output is that node's name, as in earlier versions, which knew no others.
        What is usual is left out: float32, and as many bytes as shape and dtype make.
        """
        return {
            "nodes": [n.to_dict() for n in self.nodes],
            "exits": [list(o) if len(o) > 1 else o[0] for o in self.exits],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelDag:
        """Build a DAG from ``to_dict``'s values.

        Raises:
            GraphError: if a key is missing or of the wrong kind, or the graph is not a DAG.
        """
        try:
            nodes = tuple(Node.from_dict(n) for n in data["nodes"])
            exits = tuple(
                (e,) if isinstance(e, str) else tuple(str(name) for name in e)
                for e in data["exits"]
            )
        except (KeyError, TypeError, ValueError) as error:
            raise GraphError(f"not a model DAG: {type(error).__name__}: {error}") from error
        return cls(nodes, exits)
