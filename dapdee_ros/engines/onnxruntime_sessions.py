"""Sessions of ONNX Runtime, with the settings that all networks here run with."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import onnx
import onnxruntime

from dapdee_ros.engines.engine import PROVIDERS, EngineError

_WHEELS = {
    "cuda": "onnxruntime-gpu",
    "tensorrt": "onnxruntime-gpu",
    "openvino": "onnxruntime-openvino",
}

_AS_REQUESTED = 1
"""The arena grows by what is asked for, not by powers of two."""


def small_session(
    model: onnx.ModelProto, threads: int, providers: Sequence[str]
) -> onnxruntime.InferenceSession:
    """A session of a small network with weights of its own.

    Args:
        model: the network.
        threads: threads of one operator.
        providers: names of ``PROVIDERS``.

    Raises:
        EngineError: if it cannot be compiled.
    """
    options = session_options(threads)
    if tuple(providers) == ("cpu",):
        use_common_arena(options)
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(),
            options,
            providers=[provider_named(name) for name in providers],
        )
    except Exception as error:  # ONNX Runtime's own exceptions have no common class
        raise EngineError(f"ONNX Runtime cannot compile a network: {error}") from error


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """Options of a session whose operators run on so many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # A thread that spins takes the core from the other nodes of the car.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # An arena per session would keep each part's largest tensors for good.
    options.enable_cpu_mem_arena = False
    return options


@functools.cache
def _common_arena() -> None:
    """Make the arena that all parts of a process take their tensors from, once."""
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu",
        onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR,
        0,
        onnxruntime.OrtMemType.DEFAULT,
    )
    limits = {
        "max_mem": 0,
        "arena_extend_strategy": _AS_REQUESTED,
        "initial_chunk_size_bytes": -1,
        "max_dead_bytes_per_chunk": -1,
    }
    onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg(limits))


def use_common_arena(options: onnxruntime.SessionOptions) -> None:
    """Have a session take its tensors from the arena that all parts share.

    The system's allocator would keep what each of many parts needed, in fragments.
    """
    _common_arena()
    options.add_session_config_entry("session.use_env_allocators", "1")


def provider_named(name: str) -> str:
    """ONNX Runtime's name of an execution provider.

    Raises:
        EngineError: if there is none of that name, or the installed wheel lacks it.
    """
    if name not in PROVIDERS:
        raise EngineError(f"there is no execution provider {name!r}; choose from {[*PROVIDERS]}")
    there = onnxruntime.get_available_providers()
    if PROVIDERS[name] not in there:
        has = [short for short, long in PROVIDERS.items() if long in there]
        raise EngineError(
            f"the installed ONNX Runtime has no execution provider {name!r} (it has {has}): "
            f"install the wheel {_WHEELS[name]} instead of onnxruntime"
        )
    return PROVIDERS[name]
