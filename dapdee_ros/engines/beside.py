"""Small networks beside a model's own, such as a bottleneck's parts: with its engine's settings."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import onnx

from dapdee_ros.engines.engine import Array, Engine, EngineError
from dapdee_ros.engines.onnx_model import OnnxError
from dapdee_ros.engines.onnxruntime_engine import OnnxRuntimeEngine
from dapdee_ros.engines.onnxruntime_sessions import small_session
from dapdee_ros.engines.slow_engine import SlowEngine

if TYPE_CHECKING:
    import onnxruntime


class NetworkBeside:
    """A small network in ONNX, compiled when it is prepared or first run.

    It runs with ONNX Runtime, on as many threads and on the execution providers of an engine, and
    as slowly as that is emulated.
    """

    def __init__(self, model: onnx.ModelProto, engine: Engine) -> None:
        """Keep the network; nothing is compiled yet."""
        self._model = model
        self._inputs = [tensor.name for tensor in model.graph.input]
        self._outputs = [tensor.name for tensor in model.graph.output]
        self._slow = engine if isinstance(engine, SlowEngine) else None
        runs = self._slow.wrapped if self._slow else engine
        if isinstance(runs, OnnxRuntimeEngine):
            self._threads, self._providers = runs.threads, runs.providers
        else:
            self._threads, self._providers = _threads_of_torch(), ("cpu",)
        self._session: onnxruntime.InferenceSession | None = None
        self._lock = threading.Lock()

    @property
    def is_ready(self) -> bool:
        """Whether it would start to compute at once."""
        return self._session is not None

    def prepare(self) -> None:
        """Compile it; from any thread.

        Raises:
            EngineError: if it cannot be compiled.
        """
        self._compiled()

    def run(self, given: Mapping[str, Array]) -> dict[str, Array]:
        """Compute all outputs.

        Args:
            given: its inputs by name, of their shapes and dtypes; others are ignored.

        Raises:
            EngineError: if it cannot be compiled, or computed.
        """
        session = self._compiled()
        if self._slow is None:
            return self._computed(session, given)
        return self._slow.stretched(tuple(self._inputs), lambda: self._computed(session, given))

    def _computed(
        self, session: onnxruntime.InferenceSession, given: Mapping[str, Array]
    ) -> dict[str, Array]:
        try:
            results = session.run(self._outputs, {name: given[name] for name in self._inputs})
        except Exception as error:  # ONNX Runtime's own exceptions have no common class
            raise EngineError(f"{self._inputs} -> {self._outputs}: {error}") from error
        return dict(zip(self._outputs, results, strict=True))

    def _compiled(self) -> onnxruntime.InferenceSession:
        with self._lock:
            if self._session is None:
                self._session = small_session(self._model, self._threads, self._providers)
            return self._session


def _threads_of_torch() -> int:
    """As many as the engine torch has."""
    try:
        import torch
    except ImportError:
        return 1
    return int(torch.get_num_threads())


def part_of(
    model: onnx.ModelProto, given: Sequence[str], targets: Iterable[str]
) -> onnx.ModelProto:
    """The operators of a network from some of its values to others.

    Raises:
        OnnxError: if the given values do not suffice, or the network lacks a target.
    """
    graph = model.graph
    producers = {out: place for place, node in enumerate(graph.node) for out in node.output if out}
    weights = {tensor.name: tensor for tensor in graph.initializer}
    described = {value.name: value for value in (*graph.input, *graph.output)}
    places: set[int] = set()
    read: dict[str, None] = {}
    targets = list(targets)
    waiting, seen = list(targets), set(targets)
    while waiting:
        name = waiting.pop()
        if name in given:
            continue
        if name in weights:
            read[name] = None
        elif name in producers:
            places.add(producers[name])
            new = [n for n in graph.node[producers[name]].input if n and n not in seen]
            seen.update(new)
            waiting.extend(new)
        else:
            raise OnnxError(f"{list(targets)} need {name!r} too, beside {list(given)}")
    part = onnx.ModelProto(ir_version=model.ir_version)
    part.opset_import.extend(model.opset_import)
    part.graph.name = "part"
    part.graph.node.extend(graph.node[place] for place in sorted(places))
    part.graph.initializer.extend(weights[name] for name in sorted(read))
    part.graph.input.extend(described[name] for name in given)
    part.graph.output.extend(described[name] for name in targets)
    return part
