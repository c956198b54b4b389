"""Measure how long each node of a network takes on this device."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from dapdee_ros.planning.device_profile import DeviceProfile

if TYPE_CHECKING:
    import torch

    from dapdee_ros.engines.engine import Engine
    from dapdee_ros.graph.dag import ModelDag
    from dapdee_ros.graph.runner import GraphRunner

Progress = Callable[[int, int], None]

# Whole runs are timed in blocks of at least this length: two periods of the usual CPU quota
# (100 ms), so that a block includes its share of the stalls that a quota causes.
_BLOCK_S = 0.2
_STALLED_BELOW = 2 / 3


def device_name() -> str:
    """Description of this machine's processor, for a profile's ``device``."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model") and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()


def measure_profile(
    runner: GraphRunner,
    example: torch.Tensor,
    *,
    model_id: str,
    device: str | None = None,
    threads: int = 1,
    repeats: int = 30,
    budget_s: float = 2.5,
    progress: Progress | None = None,
    note: str = "",
) -> DeviceProfile:
    """Time every node of a network, all exits included.

    A node's time is the median over the repeats, or is proportional to its CPU time if stalls make
    up much of a run (``node_times``). All are then scaled by one factor so that their sum is the
    time of whole runs, which are measured alternately with them; that also removes the cost of
    reading the clock.

    Args:
        runner: the network.
        example: an input of the network.
        model_id: id of the model, for the profile.
        device: description of the machine; None: the processor's name.
        threads: compute threads to use; the process's own setting is restored afterwards.
        repeats: rounds at most, each a block of whole runs and one of timed nodes; no fewer than 3.
        budget_s: seconds after which to stop, once 3 rounds are done.
        progress: called with (rounds done, rounds expected) after each.
        note: stored in the profile.

    Returns:
        The profile, with a time for every node of ``runner.dag``.

    Raises:
        ValueError: if ``repeats`` is below 3 or ``threads`` below 1.
        GraphError: if the example doesn't fit the network.
    """
    if repeats < 3 or threads < 1:
        raise ValueError(f"expected 3 repeats and 1 thread or more, got {repeats} and {threads}")
    import torch

    nodes: dict[str, list[float]] = {}
    busy: dict[str, list[float]] = {}
    given, exits = {runner.dag.input: example}, list(runner.dag.outputs)

    def observe() -> None:
        run, worked = _observed(runner, given, exits)
        for name in run:
            nodes.setdefault(name, []).append(run[name])
            busy.setdefault(name, []).append(worked[name])

    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        run = partial(runner.run, given, exits)
        whole_s = _time_whole(run, observe, repeats, budget_s, progress)
    finally:
        torch.set_num_threads(threads_before)
    seconds = node_times(nodes, busy, whole_s)
    versions = {"torch": str(torch.__version__)}
    name = f"torch {torch.__version__}"
    return _profile(runner.dag, seconds, model_id, device, threads, versions, note, name)


def measure_engine(
    engine: Engine,
    *,
    model_id: str,
    device: str | None = None,
    threads: int = 1,
    repeats: int = 30,
    budget_s: float = 2.5,
    progress: Progress | None = None,
    note: str = "",
) -> DeviceProfile:
    """The same for whatever computes a network; its threads are the engine's own.

    ONNX Runtime fuses nodes into one kernel: its time is that of the one with the most work. What
    is lost where a cut goes between them is measured at a few cuts (``cut_costs``).

    Raises:
        ValueError: if ``repeats`` is below 3 or ``threads`` below 1.
        EngineError: if the network cannot be compiled.
    """
    if repeats < 3 or threads < 1:
        raise ValueError(f"expected 3 repeats and 1 thread or more, got {repeats} and {threads}")
    node = engine.dag.nodes[0]
    image = np.random.default_rng(0).integers(0, 256, node.shape).astype(node.dtype)
    # In this order: the other engine's module imports torch, which need not be there.
    from dapdee_ros.engines.onnxruntime_engine import OnnxRuntimeEngine

    if not isinstance(engine, OnnxRuntimeEngine):
        import torch

        from dapdee_ros.engines.torch_engine import TorchEngine

        if not isinstance(engine, TorchEngine):
            raise TypeError(f"a {type(engine).__name__} cannot be profiled")
        return measure_profile(
            engine.runner,
            torch.from_numpy(image),
            model_id=model_id,
            device=device,
            threads=threads,
            repeats=repeats,
            budget_s=budget_s,
            progress=progress,
            note=note,
        )
    import onnxruntime

    from dapdee_ros.engines.onnxruntime_timing import TimedSession
    from dapdee_ros.runtime.cut_costs import measure_cuts

    timed = TimedSession(engine)
    run = partial(engine.run, {engine.dag.input: image}, engine.dag.outputs)
    whole_s = _time_whole(run, partial(timed.run, image), repeats, budget_s, progress)
    nodes = timed.seconds()
    # Processor time of a kernel is not known; stalls are left out by its fastest run.
    seconds = node_times(nodes, {name: [min(times)] for name, times in nodes.items()}, whole_s)
    versions = {"onnxruntime": onnxruntime.__version__}
    name = engine.name
    profile = _profile(engine.dag, seconds, model_id, device, threads, versions, note, name)
    cut = measure_cuts(engine, image, budget_s / 4)
    return replace(profile, cut_s=cut.fixed_s, cut_s_per_byte=cut.s_per_byte)


def _profile(
    dag: ModelDag,
    seconds: Mapping[str, float],
    model_id: str,
    device: str | None,
    threads: int,
    versions: Mapping[str, str],
    note: str,
    engine: str,
) -> DeviceProfile:
    return DeviceProfile(
        model_id=model_id,
        device=device if device is not None else device_name(),
        threads=threads,
        node_seconds={node.name: seconds.get(node.name, 0.0) for node in dag.nodes},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={**versions, "numpy": np.__version__, "python": platform.python_version()},
        note=note,
        engine=engine,
    )


def node_times(
    measured: Mapping[str, Sequence[float]], busy: Mapping[str, Sequence[float]], whole_s: float
) -> dict[str, float]:
    """The time of each node, adding up to that of a whole run.

    Medians suppress outliers. Under a CPU quota, though, every run has stalls, and each hits
    whichever node is running, often the same one, since runs can synchronise with the quota's
    periods. Then neither medians nor means give a node's time. So if even the nodes' fastest times
    leave more than a third of a run unexplained, the run's time is distributed by the nodes' CPU
    time, which contains no stalls.

    Args:
        measured: seconds of each node, one value per run.
        busy: CPU seconds of each node, one value per run.
        whole_s: seconds of a whole run, measured apart from them.
    """
    stalled = sum(min(values) for values in measured.values()) < _STALLED_BELOW * whole_s
    times = {name: median(values) for name, values in (busy if stalled else measured).items()}
    scale = whole_s / sum(times.values())
    return {name: scale * seconds for name, seconds in times.items()}


def _time_whole(
    run: Callable[[], object],
    observe: Callable[[], object],
    repeats: int,
    budget_s: float,
    progress: Progress | None,
) -> float:
    """Seconds of a whole run; blocks of such runs take turns with blocks of observed ones."""
    clock = time.perf_counter
    started = clock()
    # The first runs allocate memory and let kernels prepare themselves.
    run()
    began = clock()
    run()
    one_s = clock() - began
    block_s = min(_BLOCK_S, budget_s / 6)
    expected = max(3, min(repeats, int(budget_s / (2 * max(block_s, one_s)))))
    whole: list[float] = []
    for done in range(1, expected + 1):
        runs, began = 0, clock()
        while runs == 0 or clock() - began < block_s:
            run()
            runs += 1
        whole.append((clock() - began) / runs)
        began = clock()
        runs = 0
        while runs == 0 or clock() - began < block_s:
            observe()
            runs += 1
        if progress is not None:
            progress(done, expected)
        if done >= 3 and clock() - started > budget_s:
            if progress is not None and done < expected:
                progress(expected, expected)
            break
    return median(whole)


def _observed(
    runner: GraphRunner, given: dict[str, torch.Tensor], exits: list[str]
) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of each node in one run, and this thread's CPU seconds for it."""
    clock, busy_clock = time.perf_counter, time.thread_time
    run: dict[str, float] = {}
    busy: dict[str, float] = {}

    def timed(name: str, operation: Callable[[], Any]) -> Any:
        busy_began, began = busy_clock(), clock()
        result = operation()
        run[name] = run.get(name, 0.0) + clock() - began
        busy[name] = busy.get(name, 0.0) + busy_clock() - busy_began
        return result

    runner.run_observed(given, exits, timed)
    return run, busy
