"""A model folder, loaded to be run by one of the engines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dapdee_ros.engines.engine import ENGINES, TORCH_MISSING, Engine, EngineError
from dapdee_ros.exits.card import (
    NETWORK_FILE,
    ModelCard,
    ModelFolderError,
    network_bytes,
    read_card,
)

if TYPE_CHECKING:
    from dapdee_ros.engines.onnx_model import OnnxModel


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
    folder: Path | str,
    engine: str = ENGINES[0],
    *,
    threads: int = 1,
    provider: str = "cpu",
    with_calibration: bool = True,
) -> Runnable:
    """Load a model for an engine.

    Args:
        folder: the model folder.
        engine: one of ``ENGINES``.
        threads: threads that compute.
        provider: execution provider of ``onnxruntime``; see ``PROVIDERS``.
        with_calibration: False leaves ``calibration.json`` unread, whatever it holds.

    Raises:
        ModelFolderError: naming the file and what is wrong with it.
        EngineError: if there is no such engine, or it cannot run this model here.
    """
    if engine not in ENGINES:
        raise EngineError(f"there is no engine {engine!r}; choose from {list(ENGINES)}")
    if engine == "torch":
        try:
            import torch

            from dapdee_ros.exits.model_folder import load_model
        except ImportError as error:
            raise EngineError(f"the engine 'torch' {TORCH_MISSING} ({error})") from error
        torch.set_num_threads(threads)
        model = load_model(folder, with_calibration=with_calibration)
        return Runnable(model.card, model.engine)
    try:
        from dapdee_ros.engines.onnxruntime_engine import OnnxRuntimeEngine
    except ImportError as error:
        raise EngineError(
            f"the engine 'onnxruntime' is not installed ({error}): pip install onnx onnxruntime, "
            "or choose engine torch"
        ) from error
    card = read_card(folder, with_calibration=with_calibration)
    network = network_of(card)
    return Runnable(card, OnnxRuntimeEngine(network, threads=threads, providers=[provider]))


def network_of(card: ModelCard) -> OnnxModel:
    """A model's network, to take parts of.

    Raises:
        ModelFolderError: if the file is none, or not that of the card's DAG.
    """
    from dapdee_ros.engines.onnx_model import OnnxError, OnnxModel

    try:
        return OnnxModel.parse(network_bytes(card), card.dag)
    except OnnxError as error:
        raise ModelFolderError(f"{card.path / NETWORK_FILE}: {error}") from error
