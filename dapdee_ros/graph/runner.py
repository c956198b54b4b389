"""Runs any part of a network: from any sufficient tensors to any requested tensors."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import fx

from dapdee_ros.graph.compilation import compile_graph
from dapdee_ros.graph.dag import GraphError, ModelDag
from dapdee_ros.graph.facts import dag_of
from dapdee_ros.graph.fold import fold_batch_norms
from dapdee_ros.graph.layout import lay_out
from dapdee_ros.graph.plan import Missing, Plan, Step, Values, make_plan
from dapdee_ros.graph.trace import TracedModel

PLANS_KEPT = 1024
Observer = Callable[[str, Callable[[], Any]], Any]


class GraphRunner:
    """Runs any part of a traced network, in inference mode, with one copy of the weights.

    With ``fold_batch_norm`` each batch norm after a convolution is folded into it once, here. That
    changes results by rounding: this runner's own full run, not the module it came from, is the
    unsplit network that a head and its tail agree with bit for bit.

    Args:
        traced: the network.
        fold_batch_norm: see above.
        use_up: take the weights over from ``traced``, which cannot be run or made a runner of
            again. If there is no other reference to the traced module, this avoids a second copy of
            all folded weights. The module itself is left as it is.

    Attributes:
        dag: the network as it runs here; where batch norms are folded it has fewer nodes than the
            traced model's.
    """

    def __init__(
        self, traced: TracedModel, fold_batch_norm: bool = True, *, use_up: bool = False
    ) -> None:
        graph = fx.Graph()
        output = graph.graph_copy(traced.graph_module.graph, {})
        graph.output(output)
        graph_module = fx.GraphModule(traced.graph_module, graph)
        if fold_batch_norm:
            fold_batch_norms(graph_module, use_up=use_up)
        self.dag: ModelDag = dag_of(graph)
        compiled = compile_graph(graph_module)
        self._operations = compiled.operations
        self._names = compiled.names
        self._slots = compiled.slots
        self._layouts = compiled.layouts
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
        outputs and either stop (close the iterator) or go on at no extra cost.

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
                f"tensor {name!r} should be {layout.dtype_name} {layout.shape}, but it is "
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


def _execute(steps: Sequence[Step], values: Values) -> None:
    for step in steps:
        values[step.slot] = step.call(values)
        for slot in step.free:
            values[slot] = None
