"""How long each node of a network takes under ONNX Runtime, whose kernels fuse several of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from dapdee_ros.engines.engine import Array
from dapdee_ros.engines.onnxruntime_engine import OnnxRuntimeEngine
from dapdee_ros.graph.dag import ModelDag

_KERNEL = "_kernel_time"
# What ONNX Runtime adds to the name of a kernel that works on another layout of its tensors.
_LAYOUT = "_nchwc"


class TimedSession:
    """A network under ONNX Runtime that notes what each of its kernels takes."""

    def __init__(self, engine: OnnxRuntimeEngine) -> None:
        """Compile it, with every exit.

        Raises:
            EngineError: if it cannot be compiled.
        """
        self._dag = engine.dag
        self._outputs = list(engine.dag.outputs)
        self._session: onnxruntime.InferenceSession = engine.profiling_session(self._outputs)

    def run(self, image: Array) -> None:
        """Compute every exit once, and note it."""
        self._session.run(self._outputs, {self._dag.input: image})

    def seconds(self) -> dict[str, list[float]]:
        """By node, what it took in each run; nodes that were fused into others are left out.

        It can be asked once, after the last run.
        """
        path = Path(self._session.end_profiling())
        try:
            events = json.loads(path.read_text(encoding="utf-8"))
        finally:
            path.unlink(missing_ok=True)
        kernels: dict[str, list[float]] = {}
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith(_KERNEL):
                name = event["name"].removesuffix(_KERNEL)
                kernels.setdefault(name, []).append(1e-6 * event["dur"])
        return _by_node(self._dag, kernels)


def _by_node(dag: ModelDag, kernels: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """Kernels' times as those of the node of each fused group that has the most work."""
    named: dict[str, list[list[float]]] = {}
    waiting: list[list[float]] = []
    # In the order in which they run. One that only changes a layout counts to the next one.
    for name, times in kernels.items():
        owner = name.removesuffix(_LAYOUT).rpartition("#")[0] or name.removesuffix(_LAYOUT)
        waiting.append(times)
        if owner in dag.by_name:
            named.setdefault(owner, []).extend(waiting)
            waiting = []
    if waiting and named:
        named[next(reversed(named))].extend(waiting)
    result: dict[str, list[float]] = {}
    for owner, lists in named.items():
        node = max(_fused(dag, owner, named), key=lambda name: dag.by_name[name].flops)
        total = [sum(times) for times in zip(*lists, strict=False)]
        so_far = result.get(node, [0.0] * len(total))
        result[node] = [a + b for a, b in zip(so_far, total, strict=False)]
    return result


def _fused(dag: ModelDag, owner: str, named: Mapping[str, Any]) -> Sequence[str]:
    """The nodes that a kernel computes: its own, and those before it without one of their own."""
    found, waiting = [owner], [owner]
    while waiting:
        for name in dag.by_name[waiting.pop()].inputs:
            if name not in named and name != dag.input and name not in found:
                found.append(name)
                waiting.append(name)
    return found
