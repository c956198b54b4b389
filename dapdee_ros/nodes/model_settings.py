"""The settings of the processes that compute."""

from __future__ import annotations

from dataclasses import dataclass

from dapdee_ros.core.settings import setting
from dapdee_ros.engines.engine import EDGE_ENGINES, ENGINES, PROVIDERS, RAY
from dapdee_ros.engines.slow_engine import MOST_SLOWDOWN
from dapdee_ros.process_table import DEFAULT_MODEL

_ENGINE_HELP = (
    "What computes the network: onnxruntime, or torch (needs PyTorch and takes 1.5 to 3 times as "
    "long, but a tail of a head is the whole network bit for bit; the two engines' answers agree "
    "to 1e-4 of the largest value). Car and edge may differ."
)


@dataclass(frozen=True)
class ModelSettings:
    """Settings of the processes that compute: head and edge."""

    model: str = setting(
        DEFAULT_MODEL,
        "Model to run: an installed one's name, or the path of a model folder. Car and edge need "
        "the same one.",
        on_configure=True,
        note="a name, or a model folder; the same for head, manager and edge",
    )
    autostart: bool = setting(True, "Configure and activate automatically.")
    threads: int = setting(
        0,
        "Threads that compute the network; 0 takes half of the cores.",
        bounds=(0, 256),
        on_configure=True,
        note="inference threads; 0: half of the cores",
    )
    engine: str = setting(
        ENGINES[0],
        _ENGINE_HELP,
        choices=ENGINES,
        on_configure=True,
        note="onnxruntime, or torch: slower, bit for bit, needs PyTorch",
    )
    execution_provider: str = setting(
        "cpu",
        "Execution provider of engine onnxruntime; those other than cpu need another wheel of ONNX "
        "Runtime.",
        choices=tuple(PROVIDERS),
        on_configure=True,
        note="of onnxruntime: cpu, cuda, tensorrt or openvino",
    )
    reliable: bool = setting(
        True,
        "Send tensors reliably, so that lost packets are resent; false: best effort. Both sides "
        "must agree.",
        note="resend lost packets of a tensor; the same on both sides",
    )
    emulated_slowdown: float = setting(
        1.0,
        "Emulate a processor this many times slower than this one, by waiting after every "
        "computation; 1 is off. For experiments without the slow machine.",
        bounds=(1.0, MOST_SLOWDOWN),
        on_configure=True,
        note="emulate a processor this many times slower; 1: off",
    )


@dataclass(frozen=True)
class EdgeModelSettings(ModelSettings):
    """The same for the edge, which may leave computing to other machines."""

    engine: str = setting(
        ENGINES[0],
        f"{_ENGINE_HELP} With {RAY}, replicas on a Ray cluster compute, with onnxruntime "
        "(docs/ray.md).",
        choices=EDGE_ENGINES,
        on_configure=True,
        note="onnxruntime; torch: slower, bit for bit, needs PyTorch; ray: on a Ray cluster",
    )
