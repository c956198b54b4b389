"""Run any part of a network: from any tensors that suffice to any tensors wanted."""

from __future__ import annotations

import copy
import operator
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import fx, nn

from dapdee_ros.graph.dag import GraphError, ModelDag
from dapdee_ros.graph.facts import (
    ALIGNMENT_BYTES,
    Kind,
    Layout,
    dag_of,
    facts_of,
    glue_owners,
    needed_nodes,
)
from dapdee_ros.graph.fold import fold_batch_norms
from dapdee_ros.graph.plan import (
    Call,
    Missing,
    Operation,
    Plan,
    Slot,
    Step,
    Values,
    compile_call,
    make_plan,
)
from dapdee_ros.graph.trace import TracedModel

PLANS_KEPT = 1024
Observer = Callable[[str, Callable[[], Any]], Any]


def lay_out(tensor: torch.Tensor, layout: Layout) -> torch.Tensor:
    """The same elements, lying in memory as ``layout`` says.

    A tensor from the wire is contiguous. oneDNN and MKL choose their kernels by strides and
    alignment, and different kernels round differently; so that a tail computes bit for bit what
    the unsplit network does, it has to find its tensors as they lay there. No copy is made where
    they already do.
    """
    if (
        tensor.stride() == layout.stride
        and tensor.data_ptr() % ALIGNMENT_BYTES == layout.misalignment_bytes
    ) or tensor.numel() == 0:
        return tensor
    offset = layout.misalignment_bytes // layout.dtype.itemsize
    extent = sum((d - 1) * s for d, s in zip(layout.shape, layout.stride, strict=True)) + 1
    memory = torch.empty(offset + extent, dtype=layout.dtype, device=tensor.device)
    laid_out = memory.as_strided(layout.shape, layout.stride, offset)
    if 0 in layout.stride:
        # Expanded: several elements share one place in memory, and hold the same number.
        index = tuple(slice(0, 1) if s == 0 else slice(None) for s in layout.stride)
        laid_out[index].copy_(tensor[index])
        return laid_out
    return laid_out.copy_(tensor)


class GraphRunner:
    """Runs any part of a traced network, in inference mode, with one copy of the weights.

    With ``fold_batch_norm`` each batch norm after a convolution is folded into it once, here. That
    changes results by rounding: this runner's own full run, not the module it came from, is the
    unsplit network that a head and its tail agree with bit for bit.

    Attributes:
        dag: the network as it runs here; where batch norms are folded it has fewer nodes than the
            traced model's.
    """

    def __init__(self, traced: TracedModel, fold_batch_norm: bool = True) -> None:
        graph = fx.Graph()
        output = graph.graph_copy(traced.graph_module.graph, {})
        graph.output(output)
        graph_module = fx.GraphModule(traced.graph_module, graph)
        if fold_batch_norm:
            fold_batch_norms(graph_module)
        self.dag: ModelDag = dag_of(graph)
        self._slots: dict[str, int] = {}
        self._layouts: dict[str, Layout] = {}
        self._operations: list[Operation | None] = []
        self._names: list[str] = []
        self._compile(graph_module)
        self._plans: OrderedDict[Any, Plan] = OrderedDict()
        self._lock = threading.Lock()

    # Running -----------------------------------------------------------------------------------

    def run(
        self, given: Mapping[str, torch.Tensor], targets: Sequence[str]
    ) -> dict[str, torch.Tensor]:
        """Compute ``targets`` from ``given`` with the fewest operations.

        Args:
            given: tensors by node name, of the shapes and dtypes that the DAG states; never
                changed. Those that aren't needed are ignored.
            targets: names of the nodes whose tensors are wanted.

        Returns:
            The tensors by name, in the order of ``targets``. They may share memory with each other
            and with given ones: don't write to them.

        Raises:
            GraphError: if a name is unknown, a given tensor doesn't fit, or the given ones don't
                suffice.
        """
        return next(self.run_stages(given, [targets]))

    def run_stages(
        self, given: Mapping[str, torch.Tensor], stages: Sequence[Sequence[str]]
    ) -> Iterator[dict[str, torch.Tensor]]:
        """Compute several groups of targets one after the other, each only when it is asked for.

        What one stage computed is kept for the later ones, so that a caller can look at a gate's
        logits and either stop (close the iterator) or go on at no extra cost.

        Args:
            given: as for ``run``; checked at once, not at the first stage.
            stages: names of the nodes wanted, per stage.

        Raises:
            GraphError: as for ``run``, at the call.
        """
        values, plan = self._prepare(given, stages)
        return self._stages(values, plan, [list(names) for names in stages])

    def run_observed(
        self, given: Mapping[str, torch.Tensor], targets: Sequence[str], observe: Observer
    ) -> dict[str, torch.Tensor]:
        """As ``run``, with every operation handed to ``observe(node name, operation)``.

        ``observe`` has to call the operation and return its result; it can take the time around
        it. Operations that aren't nodes bear the name of the node that first needs them.
        """
        values, plan = self._prepare(given, [targets])
        with torch.inference_mode():
            for step in plan.stages[0]:
                values[step.slot] = observe(step.name, partial(step.call, values))
                for slot in step.free:
                    values[slot] = None
        return {name: values[self._slots[name]] for name in targets}

    def _stages(
        self, values: Values, plan: Plan, stages: list[list[str]]
    ) -> Iterator[dict[str, torch.Tensor]]:
        slots = self._slots
        for steps, free, names in zip(plan.stages, plan.free_after, stages, strict=True):
            # Inside the loop: inference mode must not leak to the caller between stages.
            with torch.inference_mode():
                _execute(steps, values)
            result = {name: self._sized(name, values[slots[name]]) for name in names}
            for slot in free:
                values[slot] = None
            yield result
            del result

    def _sized(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        expected = self._layouts[name].shape
        if tensor.shape != expected:
            raise GraphError(
                f"{name!r} came out as {tuple(tensor.shape)} instead of {expected}: its size "
                "depends on the data (an index or a size taken from a tensor), so it can't be sent"
            )
        return tensor

    # Preparing ---------------------------------------------------------------------------------

    def _prepare(
        self, given: Mapping[str, torch.Tensor], stages: Sequence[Sequence[str]]
    ) -> tuple[Values, Plan]:
        plan = self._plan(tuple(given), tuple(tuple(names) for names in stages))
        values: Values = [None] * len(self._operations)
        with torch.inference_mode():
            for name, tensor in given.items():
                values[self._slots[name]] = self._checked(name, tensor)
        return values, plan

    def _checked(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        layout = self._layouts[name]
        if tuple(tensor.shape) != layout.shape or tensor.dtype is not layout.dtype:
            raise GraphError(
                f"tensor {name!r} should be {layout.dtype_name} {layout.shape}, what came is "
                f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
            )
        return lay_out(tensor, layout)

    def _plan(self, given: tuple[str, ...], stages: tuple[tuple[str, ...], ...]) -> Plan:
        key = (frozenset(given), stages)
        with self._lock:
            plan = self._plans.get(key)
            if plan is not None:
                self._plans.move_to_end(key)
                return plan
        unknown = [n for n in (*given, *(n for s in stages for n in s)) if n not in self._slots]
        if unknown:
            raise GraphError(f"there are no nodes {sorted(set(unknown))} in this model")
        slots = self._slots
        try:
            plan = make_plan(
                self._operations, [slots[n] for n in given], [[slots[n] for n in s] for s in stages]
            )
        except Missing as missing:
            wanted = [name for names in stages for name in names]
            raise GraphError(
                f"{list(given)} don't suffice to compute {wanted}: "
                f"{self._names[missing.slot]!r} would be needed too"
            ) from None
        with self._lock:
            self._plans[key] = plan
            while len(self._plans) > PLANS_KEPT:
                self._plans.popitem(last=False)
        return plan

    # Compiling ---------------------------------------------------------------------------------

    def _compile(self, graph_module: fx.GraphModule) -> None:
        graph = graph_module.graph
        owners = glue_owners(graph)
        interpreter = fx.Interpreter(graph_module)
        constants: dict[fx.Node, Any] = {}
        places: dict[fx.Node, int] = {}
        for node in needed_nodes(graph):
            facts = facts_of(node)
            if facts.kind is Kind.STATIC:
                constants[node] = self._constant(interpreter, node, constants)
                continue
            slot = places[node] = len(self._operations)
            self._names.append(facts.name)
            if facts.layout is not None:
                self._slots[facts.name] = slot
                self._layouts[facts.name] = facts.layout
            if facts.kind is Kind.INPUT:
                self._operations.append(None)
                continue

            def argument(value: fx.Node) -> Any:
                return Slot(places[value]) if value in places else constants[value]

            args = fx.node.map_arg(node.args, argument)
            kwargs = fx.node.map_arg(node.kwargs, argument)
            function = _function(graph_module, node)
            self._operations.append(
                Operation(
                    slot=slot,
                    reads=tuple(places[n] for n in node.all_input_nodes if n in places),
                    call=compile_call(function, args, kwargs),
                    call_in_place=_in_place(graph_module, node, args, kwargs),
                    name=facts_of(owners.get(node, node)).name,
                )
            )

    @staticmethod
    def _constant(
        interpreter: fx.Interpreter, node: fx.Node, constants: Mapping[fx.Node, Any]
    ) -> Any:
        """What a node gives whatever the input, computed once."""
        recorded = facts_of(node).value
        if recorded is not None or any(n not in constants for n in node.all_input_nodes):
            return recorded
        interpreter.env = dict(constants)
        with torch.inference_mode():
            return interpreter.run_node(node)


def _execute(steps: Sequence[Step], values: Values) -> None:
    for step in steps:
        values[step.slot] = step.call(values)
        for slot in step.free:
            values[slot] = None


def _function(graph_module: fx.GraphModule, node: fx.Node) -> Callable[..., Any]:
    if node.op == "call_module":
        return graph_module.get_submodule(str(node.target))
    if node.op == "call_method":
        method = str(node.target)
        return lambda tensor, *args, **kwargs: getattr(tensor, method)(*args, **kwargs)
    if not callable(node.target):
        raise RuntimeError(f"node {node.name!r} can't be called: {node.op} {node.target}")
    return node.target


# What these return is theirs alone: no other tensor shares its memory.
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
    """The call that overwrites its first argument, where nobody could tell the difference.

    Whether the first argument dies here depends on the plan and is for that to decide; here it is
    about memory: the argument must own its memory alone and lie in it as the result would, or the
    result's strides, and with them later kernels, would differ from those of the other form.
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
