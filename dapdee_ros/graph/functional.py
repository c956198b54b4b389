"""Make a traced graph free of side effects, so that it can be split anywhere.

``x.relu_()`` changes a tensor that another node, or the other side of a cut, may still need, and
a write through a view (``x[:, 0].add_(1)``) changes one that isn't even among its arguments. Here
the graph is run once, node by node; a node that changes something is found by torch's own
version counters (every view of a tensor shares one) and replaced by nodes that compute the same
values without changing anything. Later readers are redirected to the new nodes.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx, nn

from dapdee_ros.graph.facts import Facts, Kind, attach, facts_of, op_name, tensors_in
from dapdee_ros.graph.out_of_place import clone_tensors, make_pure_call, pure_module
from dapdee_ros.graph.sharing import SharedMemory
from dapdee_ros.graph.symbolic import (
    CHANGES_ITSELF,
    DRAWS_RANDOM_NUMBERS,
    WAY_OUT,
    TraceError,
    version_of,
)


class _Functionalizer:
    """One run through a graph; ``run`` does everything."""

    def __init__(
        self,
        graph_module: fx.GraphModule,
        names: Mapping[fx.Node, str],
        example: torch.Tensor,
        defaults: list[Any],
    ) -> None:
        self.graph_module = graph_module
        self.graph = graph_module.graph
        self.names = dict(names)
        self.taken = set(names.values())
        self.interpreter = fx.Interpreter(graph_module)
        self.env: dict[fx.Node, Any] = self.interpreter.env
        self.inputs = [example.clone(), *defaults]
        self.memory = SharedMemory(self.env)
        self.visited: set[fx.Node] = set()
        self.replaced = 0

    def run(self) -> None:
        """Classify every node and replace those that change a tensor."""
        position = 0
        for node in list(self.graph.nodes):
            if node.op == "output":
                continue
            if node.op == "placeholder":
                self.env[node] = self.inputs[position]
                kind = Kind.INPUT if position == 0 else Kind.STATIC
                self._attach(node, kind)
                position += 1
                continue
            self._visit(node)
            self.visited.add(node)
            self.memory.forget(node, self.visited)
        self._spread_outputs()
        self.graph.lint()
        self.graph_module.recompile()

    def _spread_outputs(self) -> None:
        """Make the graph return a tuple with a tuple of tensors for each exit."""
        output = self.graph.output_node()
        exits = [self._spread(item) for item in self._spread(output.args[0])]
        _check_exits(exits, self.env)
        output.args = (tuple(tuple(outputs) for outputs in exits),)

    def _spread(self, returned: Any) -> list[Any]:
        """The items of a tuple, list or dict, even if one node returns all of it; else itself."""
        if isinstance(returned, dict):
            return [*returned.values()]
        if not isinstance(returned, fx.Node):
            return [*returned] if isinstance(returned, tuple | list) else [returned]
        given = self.env[returned]
        if not isinstance(given, tuple | list | dict):
            return [returned]
        pieces = []
        with self.graph.inserting_before(self.graph.output_node()):
            for key, value in given.items() if isinstance(given, dict) else enumerate(given):
                piece = self.graph.call_function(operator.getitem, (returned, key))
                name = self._fresh_name(f"{facts_of(returned).name}.{key}")
                self._adopt(piece, value, name, facts_of(returned).kind is Kind.STATIC)
                pieces.append(piece)
        return pieces

    def _attach(self, node: fx.Node, kind: Kind) -> None:
        value = self.env[node]
        keep = kind is Kind.STATIC and not any(True for _ in tensors_in(value))
        name = self.names.get(node) or self._fresh_name(node.name)
        op = op_name(self.graph_module, node)
        attach(node, Facts(name, kind, op, value=value if keep else None))

    def _name(self, node: fx.Node) -> str:
        return self.names.get(node, node.name)

    def _fresh_name(self, wanted: str) -> str:
        name, count = wanted, 1
        while name in self.taken:
            name, count = f"{wanted}_{count}", count + 1
        self.taken.add(name)
        return name

    def _visit(self, node: fx.Node) -> None:
        read = [t for n in node.all_input_nodes for t in tensors_in(self.env[n])]
        before = [(t, version_of(t), t.shape, t.stride()) for t in read]
        random_state = torch.get_rng_state()
        value = self.env[node] = self.interpreter.run_node(node)
        if not torch.equal(random_state, torch.get_rng_state()):
            raise TraceError(DRAWS_RANDOM_NUMBERS.format(place=repr(self._name(node))))
        for tensor, _, shape, stride in before:
            if (tensor.shape, tensor.stride()) != (shape, stride):
                raise TraceError(
                    f"{self._name(node)!r} changes the shape of a tensor in place, "
                    f"which can't be split; use the form without the underscore, or {WAY_OUT}"
                )
        changed = {id(t) for t, version, _, _ in before if version_of(t) != version}
        self.memory.look(node)
        self._attach(node, self._kind(node, value))
        if changed:
            self._replace(
                node,
                [
                    n
                    for n in node.all_input_nodes
                    if any(id(t) in changed for t in tensors_in(self.env[n]))
                ],
            )
        elif isinstance(value, torch.Tensor):
            for same in node.all_input_nodes:
                # Dropout, Identity, contiguous() on what is contiguous: no work, so no node.
                if self.env[same] is value:
                    node.replace_all_uses_with(same)
                    self.graph.erase_node(node)
                    return

    def _kind(self, node: fx.Node, value: Any) -> Kind:
        if all(facts_of(n).kind is Kind.STATIC for n in node.all_input_nodes):
            return Kind.STATIC
        return Kind.TENSOR if isinstance(value, torch.Tensor) else Kind.GLUE

    # Replacing ---------------------------------------------------------------------------------

    def _replace(self, node: fx.Node, changed: list[fx.Node]) -> None:
        name = facts_of(node).name
        roots = {root for n in changed for root in self.memory.roots(n)}
        if len(roots) != 1:
            raise TraceError(
                f"{name!r} changes {len(roots)} tensors at once, which can't be split; {WAY_OUT}"
            )
        root = roots.pop()
        if root.op == "get_attr":
            raise TraceError(CHANGES_ITSELF.format(place=repr(name), name=root.target))
        order = {n: i for i, n in enumerate(self.graph.nodes)}
        aliases = [
            n
            for n in self.graph.nodes
            if n in self.env and order[n] < order[node] and root in self.memory.roots(n)
        ]
        live = [a for a in aliases if any(order[u] > order[node] for u in a.users)]
        target = changed[0]
        if (
            len(changed) == 1
            and set(live) <= {target}
            and self.env[node] is self.env[target]
            and self._make_out_of_place(node)
        ):
            self.memory.declare(node, [])
            self._redirect(target, node, order[node], order)
            return
        self._replay(node, root, aliases, live, order)

    def _redirect(
        self, old: fx.Node, new: fx.Node, position: int, order: Mapping[fx.Node, int]
    ) -> None:
        for user in list(old.users):
            if order.get(user, -1) > position:
                user.replace_input_with(old, new)

    def _make_out_of_place(self, node: fx.Node) -> bool:
        """Switch the node to the form that returns a new tensor, where there is one."""
        if node.op == "call_module":
            pure = pure_module(self.graph_module.get_submodule(str(node.target)))
            if pure is not None:
                # A separate copy for this call: another call of the module may be a replayed one,
                # which has to keep modifying its argument.
                node.target = self._add_submodule(pure)
            return pure is not None
        tensors = [t for n in node.all_input_nodes for t in tensors_in(self.env[n])]
        return make_pure_call(node, tensors)

    def _add_submodule(self, module: nn.Module) -> str:
        self.replaced += 1
        path = f"without_side_effects.{self.replaced}"
        self.graph_module.add_submodule(path, module)
        return path

    def _replay(
        self,
        node: fx.Node,
        root: fx.Node,
        aliases: list[fx.Node],
        live: list[fx.Node],
        order: Mapping[fx.Node, int],
    ) -> None:
        """Redo the change on a copy of the tensor that owns the memory, as one new node.

        The new node is a small graph: clone the owner, take the views that the change goes
        through, change, return the clone. Views that are still read are taken again from it.
        """
        inside = self._between(node, set(aliases) - {root})
        body = fx.Graph()
        outer = [root]
        outer += [
            n
            for n in dict.fromkeys(r for i in [*inside, node] for r in i.all_input_nodes)
            if n not in inside and n is not root
        ]
        mapping: dict[fx.Node, fx.Node] = {n: body.placeholder(n.name) for n in outer}
        mapping[root] = body.call_function(clone_tensors, (mapping[root],))
        for inner in [*inside, node]:
            mapping[inner] = body.node_copy(inner, lambda n: mapping[n])
        in_aliases = [a for a in aliases if self.env[a] is self.env[node]]
        returns_more = bool(node.users) and not in_aliases
        if returns_more and root in self.memory.roots(node):
            raise TraceError(
                f"{facts_of(node).name!r} changes a tensor and returns another view of it, which "
                f"can't be split; {WAY_OUT}"
            )
        body.output((mapping[root], mapping[node]) if returns_more else mapping[root])

        attribute = self._add_submodule(fx.GraphModule(self.graph_module, body))
        facts = facts_of(node)
        static = all(facts_of(n).kind is Kind.STATIC for n in outer)
        with self.graph.inserting_before(node):
            result = call = self.graph.call_module(attribute, tuple(outer))
            if returns_more:
                self._adopt(call, (self.env[root], self.env[node]), f"{facts.name}.both", static)
                result = self.graph.call_function(operator.getitem, (call, 0))
                extra = self.graph.call_function(operator.getitem, (call, 1))
                self._adopt(result, self.env[root], f"{facts.name}.changed", static)
                self._adopt(extra, self.env[node], facts.name, static)
            else:
                self._adopt(result, self.env[root], facts.name, static)
            fresh = {root: result}
            for alias in aliases:
                if alias is root or not (alias in in_aliases or self.memory.leads_to(alias, live)):
                    continue
                again = self.graph.node_copy(alias, lambda n: fresh.get(n, n))
                again_name = self._fresh_name(f"{facts_of(alias).name}_after")
                self._adopt(again, self.env[alias], again_name, static)
                self.memory.declare(again, [fresh.get(o, o) for o in self.memory.origins(alias)])
                fresh[alias] = again
        for old, new in fresh.items():
            self._redirect(old, new, order[node], order)
        if returns_more:
            node.replace_all_uses_with(extra)
        elif in_aliases:
            node.replace_all_uses_with(fresh[in_aliases[0]])
        self.graph.erase_node(node)

    def _adopt(self, node: fx.Node, value: Any, name: str, static: bool) -> None:
        self.env[node] = value
        self.visited.add(node)
        self.memory.declare(node, [])
        kind = Kind.TENSOR if isinstance(value, torch.Tensor) else Kind.GLUE
        op = op_name(self.graph_module, node)
        attach(node, Facts(name, Kind.STATIC if static else kind, op))

    def _between(self, node: fx.Node, aliases: set[fx.Node]) -> list[fx.Node]:
        """Those of ``aliases`` that ``node`` depends on, in order."""
        wanted = {node}
        for earlier in reversed([n for n in self.graph.nodes if n in aliases]):
            if any(user in wanted for user in earlier.users):
                wanted.add(earlier)
        return [n for n in self.graph.nodes if n in wanted and n is not node]


def _check_exits(exits: list[list[Any]], values: Mapping[fx.Node, Any]) -> None:
    if not all(exits) or not exits:
        raise TraceError("the model returns nothing: expected one tensor or one per exit")
    for number, node in enumerate((node for outputs in exits for node in outputs), start=1):
        value = values[node] if isinstance(node, fx.Node) else node
        if not isinstance(value, torch.Tensor):
            kind = type(value).__name__.removeprefix("immutable_")
            raise TraceError(
                f"output {number} of the model is a {kind}: expected one tensor, or a tuple or "
                "list of tensors, one per exit, shallowest first"
            )
        if facts_of(node).kind is not Kind.TENSOR:
            raise TraceError(
                f"output {number} of the model, {facts_of(node).name!r}, isn't computed from its "
                "input"
            )


def make_functional(
    graph_module: fx.GraphModule,
    names: Mapping[fx.Node, str],
    example: torch.Tensor,
    defaults: list[Any],
) -> None:
    """Classify the nodes of a traced graph and remove its side effects, in place.

    Args:
        graph_module: a fresh trace; its graph is rewritten, its parameters are not touched.
        names: module-path name of each node.
        example: an input, float or uint8, of the shape that the model will always get.
        defaults: values of further placeholders.

    Raises:
        TraceError: if the model draws random numbers, changes its own buffers, or changes tensors
            in a way that can't be expressed without.
    """
    with torch.no_grad():
        _Functionalizer(graph_module, names, example, defaults).run()
