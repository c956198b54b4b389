"""Early exits for a detector that there is, which itself is not changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

from dapdee_ros.engines.engine import Engine
from dapdee_ros.engines.onnx_export import exported
from dapdee_ros.engines.onnx_grafts import Graft, grafted
from dapdee_ros.engines.onnx_model import OnnxError
from dapdee_ros.engines.onnx_weights import narrow
from dapdee_ros.exits.card import NETWORK_FILE, ModelCard, ModelFolderError, network_bytes
from dapdee_ros.exits.detector import STRIDES, Predictor
from dapdee_ros.exits.mobile_blocks import conv
from dapdee_ros.exits.model_folder import half_precision, load_weights
from dapdee_ros.exits.model_folder_writer import write_model_folder
from dapdee_ros.graph.dag import ModelDag
from dapdee_ros.graph.trace import trace

_ALMOST = 1e-6
"""How near to 0 or 1 a probability of the network may come before its logit is taken."""


class AddedExitError(ValueError):
    """An exit that cannot be added there; the message says why and what to choose."""


class _Frozen:
    """What computes the network; copies of the exits share it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def __deepcopy__(self, _memo: dict[int, Any]) -> _Frozen:
        return self

    def computed(self, images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Tensors of the network for uint8 ``(B, H, W, 3)``, one image after the other."""
        dag = self.engine.dag
        rows = [
            self.engine.run({dag.input: np.ascontiguousarray(image)[None]}, names)
            for image in images.cpu().numpy()
        ]
        return {
            name: torch.from_numpy(np.concatenate([row[name] for row in rows])).to(images.device)
            for name in names
        }


class AddedExit(nn.Module):
    """A predictor on one tensor of a network: rows as those of ``exits.detector.Predictor``.

    The maps of the other scales are made of that one by pooling, or by repeating its cells.

    Args:
        shape: of the tensor, ``(1, C, H, W)``.
        input_size: height and width of the network's input in pixels.
        width: channels of the predictor.
        classes: number of classes.

    Raises:
        AddedExitError: if the tensor is no map of the image at a stride that is a power of two.
    """

    def __init__(
        self, shape: Sequence[int], input_size: tuple[int, int], width: int, classes: int
    ) -> None:
        super().__init__()
        self._steps = [_steps(shape, input_size, stride) for stride in STRIDES]
        self.stem = conv(shape[1], width, kernel=1)
        self.predictor = Predictor(width, width, classes)

    def forward(self, tap: Tensor) -> Tensor:
        """``(B, cells, 5 + classes)``; scores as logits in training, else as probabilities."""
        level = self.stem(tap)
        maps = []
        for step in self._steps:
            if step > 1:
                maps.append(functional.max_pool2d(level, round(step)))
            elif step < 1:
                up = float(round(1 / step))
                maps.append(functional.interpolate(level, scale_factor=up, mode="nearest"))
            else:
                maps.append(level)
        rows: Tensor = self.predictor(maps)
        return rows


def _steps(shape: Sequence[int], input_size: tuple[int, int], stride: int) -> float:
    """How many cells of a tensor's side make one of a map at a stride; below 1 the inverse."""
    if len(shape) == 4 and shape[0] == 1:
        steps = {side * stride / pixels for side, pixels in zip(shape[2:], input_size, strict=True)}
        step = steps.pop()
        larger = max(step, 1 / step) if step else 0.5
        if not steps and larger == round(larger):
            return step
    raise AddedExitError(
        f"a tensor of shape {tuple(shape)} is no map of an image of "
        f"{input_size[0]}x{input_size[1]} at a stride of 2, 4, 8, ... pixels: choose another tap"
    )


class AddedExits(nn.Module):
    """Exits at some tensors of a network that an engine computes and no training changes.

    Attributes:
        exits: how many exits there are, the network's own as the deepest.
        input_size: height and width of the input in pixels.
        taps: the tensors that the exits read, shallowest first.
    """

    def __init__(
        self, engine: Engine, taps: Sequence[str], input_size: tuple[int, int], width: int
    ) -> None:
        """Fresh exits.

        Args:
            engine: of the network; its exit has one output, rows in YOLOX's layout.
            taps: in any order.
            input_size: height and width of the input in pixels.
            width: channels of the predictors.

        Raises:
            AddedExitError: if the network cannot have an exit at one of the taps.
        """
        super().__init__()
        dag = engine.dag
        self.input_size = input_size
        self.taps = _in_order(dag, taps)
        self.exits = len(self.taps) + 1
        self._frozen = _Frozen(engine)
        self._deepest = dag.exit_sink(len(dag.exits))
        classes = dag.by_name[self._deepest].shape[2] - 5
        self.heads = nn.ModuleList(
            AddedExit(dag.by_name[tap].shape, input_size, width, classes) for tap in self.taps
        )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Rows of every exit, shallowest first, for uint8 ``(B, H, W, 3)``.

        Scores are logits in training, those of the network as well, else probabilities.
        """
        computed = self._frozen.computed(images, [*self.taps, self._deepest])
        rows = [head(computed[tap]) for head, tap in zip(self.heads, self.taps, strict=True)]
        deepest = computed[self._deepest]
        if self.training:
            deepest = torch.cat([deepest[..., :4], deepest[..., 4:].logit(_ALMOST)], -1)
        return (*rows, deepest)


def _in_order(dag: ModelDag, taps: Iterable[str]) -> tuple[str, ...]:
    """The taps by how much is computed before them."""
    work: dict[str, int] = {}
    useful = dag.exit_part(len(dag.exits))
    for tap in taps:
        node = dag.by_name.get(tap)
        if node is None or tap not in useful or node.dtype != "float32":
            what = "no node of the network's exit"
            if node is not None and tap in useful:
                what = node.dtype
            some = [n.name for n in dag.nodes if n.name in useful and len(n.shape) == 4][2:]
            raise AddedExitError(
                f"tap {tap!r} is {what}; choose a float32 map such as "
                f"{', '.join(some[:: max(1, len(some) // 6)])}"
            )
        work[tap] = sum(dag.by_name[name].flops for name in dag.ancestors((tap,)))
    return tuple(sorted(work, key=lambda tap: work[tap]))


def save_with_exits(
    folder: Path | str,
    model: AddedExits,
    *,
    card: ModelCard,
    name: str,
    exit_quality: Sequence[float],
    quality_data: str,
    provenance: dict[str, Any],
) -> ModelCard:
    """Write a model folder of a network and the exits that were added to it.

    The exits' weights are written in half precision and copied back into ``model``; those of the
    network stay as they are. There is no torch module of the whole: it runs as ONNX.

    Args:
        folder: created if it does not exist.
        model: the exits.
        card: of the network; task, labels and input are taken from it.
        name: the model's name.
        exit_quality: of all exits, the network's own last.
        quality_data: description of the data it was measured on.
        provenance: JSON values.

    Raises:
        ModelFolderError: if the exits do not fit the network.
        FileError: if a file cannot be written.
    """
    folder = Path(folder)
    load_weights(model, half_precision(model.state_dict()), str(folder / NETWORK_FILE))
    model.eval()
    grafts = []
    try:
        for head, tap in zip(model.heads, model.taps, strict=True):
            example = torch.zeros(card.dag.by_name[tap].shape)
            of_exit, dag = exported(trace(head, example))
            stored = half_precision(head.state_dict())
            narrow(of_exit, [key for key, v in stored.items() if v.dtype == torch.float16])
            grafts.append(Graft(tap, of_exit, dag))
        base = onnx.load_model_from_string(network_bytes(card))
        network, dag = grafted(base, card.dag, grafts)
    except OnnxError as error:
        raise ModelFolderError(f"{folder / NETWORK_FILE}: {error}") from error
    return write_model_folder(
        folder,
        network=network,
        dag=dag,
        name=name,
        task=card.task,
        labels=card.labels,
        input_spec=card.input_spec,
        exit_quality=exit_quality,
        quality_data=quality_data,
        provenance=provenance,
    )
