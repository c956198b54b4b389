"""Compute parts of a network with ONNX Runtime: the fast engine, and one that needs no torch."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from dapdee_ros.engines.engine import Array, EngineError, NotBatchable, Stages, checked
from dapdee_ros.engines.onnx_batch import check_same, random_frames, with_batch_axis
from dapdee_ros.engines.onnx_model import LEAST_BYTES, OnnxModel, Part, lies_outside, reference
from dapdee_ros.engines.onnxruntime_sessions import (
    provider_named,
    session_options,
    use_common_arena,
)
from dapdee_ros.graph.dag import ModelDag
from dapdee_ros.memory import give_back_memory

PARTS_KEPT = 256

_NEVER_READ = "given"
_BATCHES = "in batches"
_LARGEST_WEIGHT_BYTES = 2**31
_ALIGNMENT = 64


@dataclass(frozen=True)
class _Compiled:
    """A session and its weights, which it does not own."""

    session: onnxruntime.InferenceSession
    weights: Sequence[onnxruntime.OrtValue]


@dataclass(frozen=True)
class _Step:
    """One stage: what it reads and writes, by name, and what computes it if anything has to be."""

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    compiled: _Compiled | None


class OnnxRuntimeEngine:
    """Runs any part of a network in ONNX; see ``Engine`` for what it promises.

    Each part is a session of its own. ONNX Runtime lays weights out for its kernels while it
    optimises a session, and each session would have a copy of its own. So a part is optimised once
    and written down, its weights are put into one pool by their content, and the session that
    runs takes them from there. Parts of the same network mostly lay the same weights out alike.

    A part that was not prepared is compiled when it is run, which takes 10 to 300 ms.

    Attributes:
        dag: the network's DAG.
        name: ONNX Runtime, its version and the providers.
        threads: threads of one operator.
        providers: the execution providers asked for, in order of preference.
    """

    def __init__(
        self, model: OnnxModel, *, threads: int = 1, providers: Sequence[str] = ("cpu",)
    ) -> None:
        """Prepare; nothing is compiled yet.

        Args:
            model: the network.
            threads: threads of one operator, at least 1.
            providers: names of ``PROVIDERS``, the most wanted first; ``cpu`` is always the last.

        Raises:
            EngineError: if a provider is unknown, or the installed wheel lacks it.
        """
        self.dag: ModelDag = model.dag
        self.threads = threads
        self.providers = tuple(dict.fromkeys([*providers, "cpu"]))
        self._providers = [provider_named(name) for name in self.providers]
        self.name = f"onnxruntime {onnxruntime.__version__} {self.providers}"
        self._model = model
        self._pool: dict[bytes, onnxruntime.OrtValue] = {}
        self._steps: OrderedDict[Any, Future[list[_Step]]] = OrderedDict()
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        # A weight that is given by name must seem to lie in a file that is large enough.
        with (model.folder / _NEVER_READ).open("wb") as file:
            file.truncate(_LARGEST_WEIGHT_BYTES)

    # Running -----------------------------------------------------------------------------------

    def run(self, given: Mapping[str, Array], targets: Sequence[str]) -> dict[str, Array]:
        """Compute ``targets`` from ``given``; see ``Engine.run``."""
        return next(self.run_stages(given, [targets]))

    def run_stages(self, given: Mapping[str, Array], stages: Stages) -> Iterator[dict[str, Array]]:
        """Compute several groups of targets one after the other; see ``Engine.run_stages``."""
        checked(self.dag, given)
        steps = self._compiled(given, stages)
        return _stages(steps, dict(given), [list(names) for names in stages])

    def run_batch(
        self, frames: Sequence[Mapping[str, Array]], targets: Sequence[str]
    ) -> list[dict[str, Array]]:
        """Compute the same for several frames at once; see ``Engine.run_batch``."""
        for given in frames:
            checked(self.dag, given)
        (step,) = self._for_batches(frames[0], targets)
        return _together(step, frames, targets)

    # Compiling ---------------------------------------------------------------------------------

    def prepare(self, given: Iterable[str], stages: Stages) -> None:
        """Compile what ``run_stages`` needs; see ``Engine.prepare``."""
        self._compiled(given, stages)

    def is_ready(self, given: Iterable[str], stages: Stages) -> bool:
        """Whether ``run_stages`` would start to compute at once."""
        with self._lock:
            steps = self._steps.get(_key(given, stages))
        return steps is not None and steps.done()

    def prepare_batches(self, given: Iterable[str], targets: Sequence[str]) -> None:
        """Compile a part for batches and check them; see ``Engine.prepare_batches``."""
        self._for_batches(given, targets)

    @property
    def shared_bytes(self) -> int:
        """Bytes of the weights in the pool, which all compiled parts share."""
        with self._lock:
            return sum(value.numpy().nbytes for value in self._pool.values())

    def profiling_session(self, targets: Sequence[str]) -> onnxruntime.InferenceSession:
        """A session from the input to some nodes that notes what each of its kernels takes.

        It has weights of its own; ``end_profiling`` gives the file with what it noted.

        Raises:
            EngineError: if it cannot be compiled.
        """
        options = self._options()
        options.enable_profiling = True
        options.profile_file_prefix = str(self._model.folder / "kernels")
        part = self._model.part([self.dag.input], targets)
        try:
            return self._load(part.model, options)
        except Exception as error:
            raise EngineError(f"ONNX Runtime cannot compile the network: {error}") from error

    def _compiled(self, given: Iterable[str], stages: Stages) -> list[_Step]:
        key = _key(given, stages)
        return self._once(key, lambda: self._compile(key[0], stages))

    def _for_batches(self, given: Iterable[str], targets: Sequence[str]) -> list[_Step]:
        names = frozenset(given)
        key = (names, (_BATCHES, *targets))
        return self._once(key, lambda: self._compile_for_batches(names, targets))

    def _once(self, key: Any, compile: Callable[[], list[_Step]]) -> list[_Step]:
        with self._lock:
            future = self._steps.get(key)
            if mine := future is None:
                future = self._steps[key] = Future()
                while len(self._steps) > PARTS_KEPT:
                    self._steps.popitem(last=False)
            else:
                self._steps.move_to_end(key)
        if mine:
            try:
                future.set_result(compile())
            except BaseException as error:
                with self._lock:
                    self._steps.pop(key, None)
                future.set_exception(error)
        return future.result()

    def _compile_for_batches(self, given: Iterable[str], targets: Sequence[str]) -> list[_Step]:
        part = with_batch_axis(self._model.part(given, targets), self.dag)
        step = _Step(part.inputs, part.outputs, self._session(part))
        frames = random_frames(self.dag, given, 2)
        alone = [self.run(frame, targets) for frame in frames]
        try:
            together = _together(step, frames, targets)
        except Exception as error:  # ONNX Runtime's own exceptions have no common class
            raise NotBatchable(f"it cannot be computed for two frames: {error}") from error
        check_same(alone, together)
        return [step]

    def _compile(self, given: Iterable[str], stages: Stages) -> list[_Step]:
        steps = []
        there = set(given)
        for place, targets in enumerate(stages):
            later = [name for names in stages[place + 1 :] for name in names]
            part = self._model.part(there, [*targets, *self._passed_on(there, targets, later)])
            steps.append(_Step(part.inputs, part.outputs, self._session(part)))
            there.update(part.outputs)
        return steps

    def _passed_on(
        self, given: Iterable[str], targets: Sequence[str], later: Sequence[str]
    ) -> list[str]:
        """What a stage computes on its way that later stages read."""
        if not later:
            return []
        dag = self.dag
        now = dag.ancestors(targets)
        needed = dag.ancestors(later)
        read = {
            name
            for node in dag.nodes
            if node.name in needed and node.name not in now
            for name in node.inputs
        }
        return [name for name in read.union(later) if name in now and name not in set(given)]

    def _session(self, part: Part) -> _Compiled | None:
        if not part.outputs:
            return None
        try:
            return self._compile_part(part)
        except Exception as error:  # ONNX Runtime's own exceptions have no common class
            raise EngineError(
                f"ONNX Runtime cannot compile {list(part.inputs)} -> {list(part.outputs)}: {error}"
            ) from error
        finally:
            give_back_memory()

    def _compile_part(self, part: Part) -> _Compiled:
        if self.providers != ("cpu",):
            return _Compiled(self._load(part.model, self._options()), [])
        options = self._options()
        use_common_arena(options)
        weights = []
        with self._file() as written, self._file() as its_weights:
            self._optimise(part, written, its_weights)
            optimised = onnx.load_model(written, load_external_data=False)
            for place, tensor in enumerate(optimised.graph.initializer):
                if tensor.data_location == onnx.TensorProto.EXTERNAL or lies_outside(tensor):
                    weights.append(self._pooled(tensor))
                    options.add_initializer(tensor.name, weights[-1])
                    optimised.graph.initializer[place].CopyFrom(reference(tensor, _NEVER_READ))
        # Done already; once more would copy the weights again.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return _Compiled(self._load(optimised, options), weights)

    def _optimise(self, part: Part, written: Path, its_weights: Path) -> None:
        """Write a part as ONNX Runtime would run it, its larger weights to a file of their own.

        They are read from there one by one, so that compiling takes little more memory than what
        stays.
        """
        options = self._options()
        options.optimized_model_filepath = str(written)
        entry = "session.optimized_model_external_initializers_"
        options.add_session_config_entry(f"{entry}file_name", its_weights.name)
        options.add_session_config_entry(f"{entry}min_size_in_bytes", str(LEAST_BYTES))
        self._load(part.model, options)

    @contextlib.contextmanager
    def _file(self) -> Iterator[Path]:
        """A file for a model in the folder of the network's weights, removed afterwards."""
        path = self._model.folder / f"{next(self._numbers)}.onnx"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _load(
        self, model: onnx.ModelProto, options: onnxruntime.SessionOptions
    ) -> onnxruntime.InferenceSession:
        with self._file() as path:
            onnx.save(model, path)
            return onnxruntime.InferenceSession(str(path), options, providers=self._providers)

    def _pooled(self, tensor: onnx.TensorProto) -> onnxruntime.OrtValue:
        array = _aligned(onnx.numpy_helper.to_array(tensor, str(self._model.folder)))
        digest = hashlib.sha256(f"{array.dtype} {array.shape} ".encode())
        digest.update(array.data)
        with self._lock:
            value = self._pool.get(digest.digest())
            if value is None:
                value = onnxruntime.OrtValue.ortvalue_from_numpy(array)
                self._pool[digest.digest()] = value
        return value

    def _options(self) -> onnxruntime.SessionOptions:
        options = session_options(self.threads)
        if self.providers == ("cpu",):
            options.add_session_config_entry("session.disable_prepacking", "1")
        return options


def _key(given: Iterable[str], stages: Stages) -> tuple[frozenset[str], Any]:
    return frozenset(given), tuple(tuple(names) for names in stages)


def _stages(
    steps: list[_Step], values: dict[str, Array], stages: list[list[str]]
) -> Iterator[dict[str, Array]]:
    for place, (step, names) in enumerate(zip(steps, stages, strict=True)):
        if step.compiled is not None:
            feeds = {name: values[name] for name in step.reads}
            computed = step.compiled.session.run(list(step.writes), feeds)
            values.update(zip(step.writes, computed, strict=True))
        result = {name: values[name] for name in names}
        later = {name for after in steps[place + 1 :] for name in after.reads}
        later.update(name for after in stages[place + 1 :] for name in after)
        values = {name: value for name, value in values.items() if name in later}
        yield result
        del result


def _together(
    step: _Step, frames: Sequence[Mapping[str, Array]], targets: Sequence[str]
) -> list[dict[str, Array]]:
    """A step for several frames at once, per frame again."""
    computed: dict[str, Array] = {}
    if step.compiled is not None:
        feeds = {name: np.concatenate([given[name] for given in frames]) for name in step.reads}
        results = step.compiled.session.run(list(step.writes), feeds)
        computed = dict(zip(step.writes, results, strict=True))
    parted = {name: np.split(array, len(frames)) for name, array in computed.items()}
    return [
        {name: parted[name][k] if name in parted else given[name] for name in targets}
        for k, given in enumerate(frames)
    ]


def _aligned(array: Array) -> Array:
    """A copy that lies where vector instructions read fastest; elsewhere kernels lose 5 %."""
    memory = np.empty(array.nbytes + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
