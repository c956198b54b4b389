"""Training on frames with objects or surfaces, whatever is to be found in them."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from dapdee_ros.datasets.frame_source import SourceFrame
from dapdee_ros.datasets.scene_data import SceneData, SceneSeries
from dapdee_ros.tasks.task import Task
from dapdee_ros.training.recipe import Recipe, frame_scale
from dapdee_ros.training.task import Batch

_EVALUATED_AT_ONCE = 16
_A_PART = 10
"""Every tenth held-out frame will do for a look on the way."""


class _Batches(Dataset[tuple[Tensor, Any]]):
    """The batches of an epoch by number, rendered or read where they are asked for."""

    def __init__(self, training: SceneTraining, epoch: int, sizes: list[tuple[int, int]]) -> None:
        self._training, self._epoch, self._sizes = training, epoch, sizes
        self._batch_size = training.source.frames_per_epoch() // len(sizes)

    def __getitem__(self, number: int) -> tuple[Tensor, Any]:
        series = self._training.source.train(self._epoch, self._sizes[number])
        first = number * self._batch_size
        frames = [series[place] for place in range(first, first + self._batch_size)]
        images = torch.from_numpy(np.stack([frame.image for frame in frames]))
        return images, self._training.target_of(frames)


def _leave_signals_to_the_training(_worker: int) -> None:
    # Ctrl-C reaches all processes of a terminal; the training ends its workers itself.
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, signal.SIG_IGN)


class SceneTraining(ABC):
    """What ``Training`` needs, without what an answer is; see ``TrainingTask``.

    Args:
        source: frames with what they show.
        recipe: how to train.
        loss: the joint loss of all exits.
        side_step: the frames' sides are multiples of it, in pixels.
        workers: processes that render frames beside the training; with 0 it does so itself.
    """

    quality_name: str

    def __init__(
        self, source: SceneData, recipe: Recipe, loss: nn.Module, side_step: int, workers: int
    ) -> None:
        self.source = source
        self.recipe = recipe
        self.loss = loss
        self.steps_per_epoch = max(1, source.frames_per_epoch() // recipe.batch_size)
        self._side_step = side_step
        self._workers = workers
        self._part: list[SourceFrame] = []

    @abstractmethod
    def target_of(self, frames: Sequence[SourceFrame]) -> Any:
        """What the loss compares the outputs for some frames with; called in the workers."""

    @abstractmethod
    def truth_of(self, frame: SourceFrame) -> Any:
        """What a frame shows as an answer of the task."""

    @abstractmethod
    def task(self, shapes: Sequence[tuple[int, ...]]) -> Task:
        """The task of a network whose exits put out arrays of these shapes."""

    @abstractmethod
    def loss_of(self, outputs: tuple[Tensor, ...], target: Any) -> Tensor:
        """The loss, a scalar, from what every exit computed for a batch."""

    def batches(self, epoch: int, first: int) -> Iterator[Batch]:
        """The batches of an epoch, rendered ahead by the workers, from batch ``first`` on."""
        sizes = [
            self._size_at(epoch * self.steps_per_epoch + place)
            for place in range(self.steps_per_epoch)
        ]
        loader = DataLoader(
            _Batches(self, epoch, sizes),
            batch_size=None,
            sampler=range(first, self.steps_per_epoch),
            num_workers=self._workers,
            worker_init_fn=_leave_signals_to_the_training,
            prefetch_factor=4 if self._workers else None,
        )
        for images, target in loader:
            yield Batch(images, target)

    def _size_at(self, step: int) -> tuple[int, int]:
        """Height and width of the frames at a step."""
        steps = self.steps_per_epoch * self.recipe.epochs
        scale = frame_scale(step, steps, self.recipe.start_scale)
        height, width = (
            self._side_step * max(2, round(side * scale / self._side_step))
            for side in self.source.size
        )
        return height, width

    def figures(self, outputs: tuple[Tensor, ...], target: Any) -> tuple[float, ...]:
        """None: the quality needs many frames."""
        return ()

    def seen(self, epoch: int) -> SceneSeries:
        """The epoch's frames."""
        return self.source.train(epoch)

    def evaluated(self, model: nn.Module, *, part: bool, bf16: bool) -> tuple[float, ...]:
        """Each exit's quality on held-out frames, on every tenth if a ``part`` will do."""
        held_out = self.source.held_out()
        if not part:
            return self.qualities(model, (held_out[k] for k in range(len(held_out))))
        if not self._part:
            self._part = [held_out[place] for place in range(0, len(held_out), _A_PART)]
        return self.qualities(model, self._part, bf16=bf16)

    def qualities(
        self, model: nn.Module, frames: Iterable[SourceFrame], *, bf16: bool = False
    ) -> tuple[float, ...]:
        """Each exit's quality on some frames, shallowest first."""
        evaluators: list[Any] = []
        for outputs, some in _outputs_of(model, frames, bf16):
            if not evaluators:
                task = self.task([(1, *rows.shape[1:]) for rows in outputs])
                evaluators = [task.evaluator() for _ in outputs]
            for place, frame in enumerate(some):
                truth = self.truth_of(frame)
                for number, rows in enumerate(outputs, start=1):
                    found = task.decode([rows[place : place + 1]], number)
                    evaluators[number - 1].add(found, truth)
        return tuple(round(evaluator.quality(), 6) for evaluator in evaluators)


def _outputs_of(
    model: nn.Module, frames: Iterable[SourceFrame], bf16: bool
) -> Iterator[tuple[list[NDArray[np.float32]], tuple[SourceFrame, ...]]]:
    """What every exit computes for some frames, and these frames, a few at once."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    frames = iter(frames)
    try:
        while some := tuple(islice(frames, _EVALUATED_AT_ONCE)):
            images = torch.from_numpy(np.stack([frame.image for frame in some])).to(device)
            with (
                torch.inference_mode(),
                torch.autocast(device.type, torch.bfloat16, enabled=bf16),
            ):
                outputs = model(images)
            yield [rows.float().cpu().numpy() for rows in outputs], some
    finally:
        model.train(was_training)
