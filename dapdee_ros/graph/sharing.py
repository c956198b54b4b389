"""Which values of a run share memory, and which can be dropped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import fx

from dapdee_ros.graph.facts import tensors_in


def storages(value: Any) -> set[int]:
    """Addresses of the memory of the tensors in ``value``."""
    return {t.untyped_storage().data_ptr() for t in tensors_in(value) if t.numel() > 0}


class SharedMemory:
    """Memory sharing among the values of one run of a graph.

    Memory can only be shared with what a node was given, so a node's origins are among the nodes
    it reads. Following origins leads to the roots, the nodes that allocated the memory.

    Args:
        values: of the nodes run so far; ``forget`` removes some.
    """

    def __init__(self, values: dict[fx.Node, Any]) -> None:
        self._values = values
        self._origins: dict[fx.Node, list[fx.Node]] = {}
        self._viewers: dict[fx.Node, list[fx.Node]] = {}

    def look(self, node: fx.Node) -> None:
        """Find the origins of a node that has just been run."""
        own = storages(self._values[node])
        self.declare(node, [n for n in node.all_input_nodes if own & storages(self._values[n])])

    def declare(self, node: fx.Node, origins: Sequence[fx.Node]) -> None:
        """State the origins of a node."""
        for origin in self._origins.get(node, ()):
            self._viewers[origin].remove(node)
        self._origins[node] = list(origins)
        for origin in origins:
            self._viewers.setdefault(origin, []).append(node)

    def origins(self, node: fx.Node) -> list[fx.Node]:
        """Nodes read by ``node`` whose memory it shares."""
        return self._origins.get(node, [])

    def roots(self, node: fx.Node) -> set[fx.Node]:
        """The nodes that allocated the memory that ``node`` uses."""
        origins = self.origins(node)
        return {r for o in origins for r in self.roots(o)} if origins else {node}

    def leads_to(self, node: fx.Node, live: Iterable[fx.Node]) -> bool:
        """Whether one of ``live`` is ``node`` or shares memory through it."""
        return node in live or any(self.leads_to(v, live) for v in self._viewers.get(node, ()))

    def forget(self, node: fx.Node, visited: set[fx.Node]) -> None:
        """Drop values that are not needed any more, to minimise a run's memory.

        The base of a kept view is kept too: a write through the view would need it.

        Args:
            node: the node that has just been run.
            visited: all nodes run so far.
        """
        candidates = [*node.all_input_nodes, node]
        while candidates:
            candidate = candidates.pop()
            if (
                candidate in self._values
                and all(user in visited for user in candidate.users)
                and not any(v in self._values for v in self._viewers.get(candidate, ()))
            ):
                del self._values[candidate]
                candidates += self.origins(candidate)
