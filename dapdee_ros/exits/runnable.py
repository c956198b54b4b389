"""A model folder, loaded to be run by one of the engines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dapdee_ros.engines.engine import ENGINES, Engine, EngineError
from dapdee_ros.exits.card import ModelCard, ModelFolderError


@dataclass(frozen=True)
class Runnable:
    """A model and what computes it.

    Attributes:
        card: what the planner knows of it; its DAG is the engine's.
        engine: computes any part of it; the input is uint8 ``(1, H, W, 3)``.
    """

    card: ModelCard
    engine: Engine


def load_runnable(
    folder: Path | str, engine: str = "torch", *, threads: int = 1, provider: str = "cpu"
) -> Runnable:
    """Load a model for an engine.

    Args:
        folder: the model folder.
        engine: one of ``ENGINES``.
        threads: threads that compute.
        provider: execution provider of ``onnxruntime``; see ``PROVIDERS``.

    Raises:
        ModelFolderError: naming the file and what is wrong with it.
        EngineError: if there is no such engine, or it cannot run this model here.
    """
    if engine not in ENGINES:
        raise EngineError(f"there is no engine {engine!r}; choose from {list(ENGINES)}")
    import torch

    from dapdee_ros.exits.model_folder import check_graph, load_model, load_traced

    torch.set_num_threads(threads)
    if engine == "torch":
        model = load_model(folder)
        return Runnable(model.card, model.engine)
    try:
        from dapdee_ros.engines.onnx_export import export
        from dapdee_ros.engines.onnx_model import OnnxError
        from dapdee_ros.engines.onnxruntime_engine import OnnxRuntimeEngine
    except ImportError as error:
        raise EngineError(
            f"the engine 'onnxruntime' is not installed ({error}): pip install onnx onnxruntime, "
            "or choose engine torch"
        ) from error
    card, traced = load_traced(folder)
    try:
        network = export(traced)
    except OnnxError as error:
        raise ModelFolderError(f"{card.path}: {error}") from error
    check_graph(card, network.dag)
    return Runnable(card, OnnxRuntimeEngine(network, threads=threads, providers=[provider]))
