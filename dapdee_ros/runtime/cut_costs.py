"""What cutting a network costs an engine that fuses its nodes, measured at a few cuts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import TYPE_CHECKING

from dapdee_ros.engines.engine import Array
from dapdee_ros.estimation.cost_fit import Fit, fit

if TYPE_CHECKING:
    from dapdee_ros.engines.engine import Engine
    from dapdee_ros.graph.dag import ModelDag

CUTS = 4
"""Cuts that are measured; each takes compiling two parts."""

_LEAST_ROUNDS = 3


def measure_cuts(engine: Engine, image: Array, budget_s: float) -> Fit:
    """What one tensor at a cut costs each side: seconds, and seconds per byte.

    The runs of head and tail of a few cuts through one tensor take turns with runs of the whole.
    What the two take more than the whole is what the cut costs, and half of that each side; how it
    grows with the tensor is a line through the cuts. Compiling comes on top of the budget.

    Args:
        engine: the network's.
        image: an input of it.
        budget_s: how long to run.

    Returns:
        The line; 0 where no single tensor cuts the network.

    Raises:
        EngineError: if a part cannot be compiled.
    """
    dag = engine.dag
    exit_number = len(dag.exits)
    chosen = spread_cuts(dag, exit_number, CUTS)
    if not chosen:
        return Fit(0.0, 0.0)
    outputs, given = dag.exit_outputs(exit_number), {dag.input: image}
    arrived = [engine.run(given, [name]) for name in chosen]
    runs: list[Callable[[], object]] = [lambda: engine.run(given, outputs)]
    for name, tensors in zip(chosen, arrived, strict=True):
        runs.append(lambda name=name: engine.run(given, [name]))  # type: ignore[misc]
        runs.append(lambda tensors=tensors: engine.run(tensors, outputs))  # type: ignore[misc]
    seconds = _in_turns(runs, budget_s)
    cost_s = [
        (seconds[2 * k + 1] + seconds[2 * k + 2] - seconds[0]) / 2 for k in range(len(chosen))
    ]
    return fit([dag.by_name[name].output_bytes for name in chosen], cost_s)


def spread_cuts(dag: ModelDag, exit_number: int, count: int) -> list[str]:
    """Nodes whose tensor alone cuts an exit's part in two, from the smallest to the largest.

    Args:
        dag: the network.
        exit_number: the exit.
        count: how many at most, their sizes spread over those that there are.
    """
    part = dag.exit_part(exit_number)
    outputs = {*dag.exit_outputs(exit_number), *dag.image_forms}
    alone = [
        node
        for node in dag.nodes
        if node.name in part
        and node.inputs
        and node.name not in outputs
        and dag.boundary(dag.ancestors([node.name]), exit_number) == (node.name,)
    ]
    alone.sort(key=lambda node: node.output_bytes)
    if len(alone) <= count:
        return [node.name for node in alone]
    places = [round(k * (len(alone) - 1) / max(1, count - 1)) for k in range(count)]
    return [alone[place].name for place in places]


def _in_turns(runs: Sequence[Callable[[], object]], budget_s: float) -> list[float]:
    """Median seconds of each, all once per round."""
    clock = time.perf_counter
    for run in runs:
        run()  # allocates, and compiles
    took: list[list[float]] = [[] for _ in runs]
    began_s = clock()
    while len(took[0]) < _LEAST_ROUNDS or clock() - began_s < budget_s:
        for run, seconds in zip(runs, took, strict=True):
            called_s = clock()
            run()
            seconds.append(clock() - called_s)
    return [median(seconds) for seconds in took]
