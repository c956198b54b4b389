"""The frozen network of a model: built by torch, or converted where it came as ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import nn

from dapdee_ros.engines.engine import EngineError
from dapdee_ros.engines.onnxruntime_engine import OnnxRuntimeEngine
from dapdee_ros.exits.card import ModelCard, read_card
from dapdee_ros.exits.model_folder import load_traced
from dapdee_ros.exits.runnable import network_of
from dapdee_ros.graph.dag import ModelDag
from dapdee_ros.training.bottlenecks.frozen import FrozenNetwork, TracedNetwork


class ImportedNetwork:
    """A network that a model folder holds as ONNX alone; see ``FrozenNetwork``.

    It is converted for torch, and compared once with ONNX Runtime, on one frame of noise.

    Args:
        card: the model.

    Raises:
        ModelFolderError: if its network cannot be read.
        EngineError: if torch cannot compute it, or computes something else; names the operator.
    """

    def __init__(self, card: ModelCard) -> None:
        try:
            from dapdee_ros.engines.onnx_to_torch import TorchPart, check_as
        except ImportError as error:
            raise EngineError(
                f"{card.name} came as ONNX, and gradients through it need onnx2torch, which is not "
                f"installed ({error}): pip install 'dapdee_ros[train]'"
            ) from error
        self.card = card
        self.dag: ModelDag = card.dag
        self._network, self._part = network_of(card), TorchPart
        image = np.random.default_rng(0).integers(0, 256, (1, *card.input_size, 3), np.uint8)
        check_as(OnnxRuntimeEngine(self._network), self._network, {card.dag.input: image})

    def part(self, given: Sequence[str], wanted: Sequence[str]) -> nn.Module:
        """See ``FrozenNetwork.part``."""
        return self._part(self._network, given, wanted)


def frozen_network(folder: Path) -> FrozenNetwork:
    """The network of a model folder, for gradients.

    Raises:
        ModelFolderError: naming the file and what is wrong with it.
        EngineError: if torch can neither build nor convert it.
    """
    card = read_card(folder)
    if card.architecture is None:
        return ImportedNetwork(card)
    return TracedNetwork(*load_traced(folder))
