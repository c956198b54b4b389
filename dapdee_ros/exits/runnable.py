"""A model folder, loaded to be run by one of the engines."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dapdee_ros.engines.engine import ENGINES, Engine, EngineError
from dapdee_ros.exits.card import ModelCard, ModelFolderError, read_card
from dapdee_ros.files import FileError, own_files

if TYPE_CHECKING:
    from dapdee_ros.engines.onnx_model import OnnxModel

log = logging.getLogger(__name__)

_EXPORT = "1"
"""Changes with whatever changes the exported file."""


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
    if engine == "torch":
        import torch

        from dapdee_ros.exits.model_folder import load_model

        torch.set_num_threads(threads)
        model = load_model(folder)
        return Runnable(model.card, model.engine)
    try:
        from dapdee_ros.engines.onnxruntime_engine import OnnxRuntimeEngine
    except ImportError as error:
        raise EngineError(
            f"the engine 'onnxruntime' is not installed ({error}): pip install onnx onnxruntime, "
            "or choose engine torch"
        ) from error
    card = read_card(folder)
    network = _network(card)
    return Runnable(card, OnnxRuntimeEngine(network, threads=threads, providers=[provider]))


def _network(card: ModelCard) -> OnnxModel:
    """A model in ONNX: exported with torch the first time, then read from the user's files."""
    from dapdee_ros.engines.onnx_model import OnnxError, OnnxModel

    path = own_files() / "networks" / f"{card.model_id[:16]}-{_EXPORT}.onnx"
    if path.is_file():
        try:
            return OnnxModel.load(path, card.dag)
        except OnnxError as error:
            log.warning("exporting again, the kept network cannot be used: %s", error)
    from dapdee_ros.engines.onnx_export import export
    from dapdee_ros.exits.model_folder import check_graph, load_traced

    _, traced = load_traced(card.path)
    try:
        network = export(traced)
    except OnnxError as error:
        raise ModelFolderError(f"{card.path}: {error}") from error
    check_graph(card, network.dag)
    try:
        network.save(path)
    except FileError as error:
        log.warning("the network is not kept for next time: %s", error)
    return network
