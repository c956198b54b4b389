"""Training a detector: frames from worker processes, the joint loss of the exits, their mAP."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from dapdee_ros.datasets.roadscenes import SceneFrame
from dapdee_ros.datasets.scene_source import RenderedScenes, SceneSeries
from dapdee_ros.exits.detector import STRIDES
from dapdee_ros.exits.networks import detection_task
from dapdee_ros.tasks.average_precision import DetectionEvaluator
from dapdee_ros.tasks.detection import Detections, Detector
from dapdee_ros.training.detection_loss import DetectionLoss
from dapdee_ros.training.losses import rising_weights
from dapdee_ros.training.recipe import Recipe, frame_scale
from dapdee_ros.training.task import Batch

_EVALUATED_AT_ONCE = 16
_A_PART = 10
"""Every tenth held-out frame will do for a look on the way."""


class Objects(NamedTuple):
    """What the frames of a batch show.

    Attributes:
        boxes: for each frame corners in pixels, float32 ``(m, 4)``.
        labels: for each frame their classes, int64 ``(m,)``.
        size: height and width of the frames in pixels.
    """

    boxes: list[Tensor]
    labels: list[Tensor]
    size: tuple[int, int]


def truth_of(frame: SceneFrame) -> Detections:
    """The objects of a rendered frame as a detector would answer."""
    return Detections(
        np.array([thing.box for thing in frame.objects], np.float32).reshape(-1, 4),
        np.ones(len(frame.objects)),
        np.array([thing.label for thing in frame.objects], np.int32),
    )


class _Batches(Dataset[tuple[Tensor, list[Tensor], list[Tensor]]]):
    """The batches of an epoch by number, rendered where they are asked for."""

    def __init__(self, source: RenderedScenes, epoch: int, sizes: list[tuple[int, int]]) -> None:
        self._source, self._epoch, self._sizes = source, epoch, sizes
        self._batch_size = source.frames_per_epoch() // len(sizes)

    def __getitem__(self, number: int) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        series = self._source.train(self._epoch, self._sizes[number])
        first = number * self._batch_size
        frames = [series[place] for place in range(first, first + self._batch_size)]
        truths = [truth_of(frame) for frame in frames]
        return (
            torch.from_numpy(np.stack([frame.image for frame in frames])),
            [torch.from_numpy(truth.boxes.copy()) for truth in truths],
            [torch.from_numpy(truth.class_ids.astype(np.int64)) for truth in truths],
        )


def _leave_signals_to_the_training(_worker: int) -> None:
    # Ctrl-C reaches all processes of a terminal; the training ends its workers itself.
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, signal.SIG_IGN)


class DetectionTraining:
    """What ``Training`` needs to train a detector; see ``TrainingTask``.

    Args:
        source: frames with their objects.
        recipe: how to train.
        exits: how many exits the network has.
        workers: processes that render frames beside the training; with 0 it does so itself.
    """

    quality_name = Detector.quality_name

    def __init__(
        self, source: RenderedScenes, recipe: Recipe, exits: int, workers: int = 1
    ) -> None:
        self.source = source
        self.recipe = recipe
        self.loss: nn.Module = DetectionLoss(
            recipe.exit_weights or rising_weights(exits), STRIDES, recipe.distillation
        )
        self.steps_per_epoch = max(1, source.frames_per_epoch() // recipe.batch_size)
        self._workers = workers
        self._part: list[SceneFrame] = []

    def batches(self, epoch: int, first: int) -> Iterator[Batch]:
        """The batches of an epoch, rendered ahead by the workers, from batch ``first`` on."""
        sizes = [
            self._size_at(epoch * self.steps_per_epoch + place)
            for place in range(self.steps_per_epoch)
        ]
        loader = DataLoader(
            _Batches(self.source, epoch, sizes),
            batch_size=None,
            sampler=range(first, self.steps_per_epoch),
            num_workers=self._workers,
            worker_init_fn=_leave_signals_to_the_training,
            prefetch_factor=4 if self._workers else None,
        )
        for place, (images, boxes, labels) in enumerate(loader, start=first):
            yield Batch(images, Objects(boxes, labels, sizes[place]))

    def _size_at(self, step: int) -> tuple[int, int]:
        """Height and width of the frames at a step: multiples of the coarsest grid's stride."""
        steps = self.steps_per_epoch * self.recipe.epochs
        scale = frame_scale(step, steps, self.recipe.start_scale)
        height, width = (
            STRIDES[-1] * max(2, round(side * scale / STRIDES[-1])) for side in self.source.size
        )
        return height, width

    def loss_of(self, outputs: tuple[Tensor, ...], target: Objects) -> Tensor:
        """The joint loss of the exits' rows."""
        device = outputs[0].device
        boxes = [boxes.to(device) for boxes in target.boxes]
        labels = [labels.to(device) for labels in target.labels]
        loss: Tensor = self.loss(outputs, boxes, labels, target.size)
        return loss

    def figures(self, outputs: tuple[Tensor, ...], target: Objects) -> tuple[float, ...]:
        """None: an mAP needs many frames."""
        return ()

    def seen(self, epoch: int) -> SceneSeries:
        """The epoch's frames."""
        return self.source.train(epoch)

    def evaluated(self, model: nn.Module, *, part: bool, bf16: bool) -> tuple[float, ...]:
        """Each exit's mAP on held-out frames, on every tenth if a ``part`` will do."""
        held_out = self.source.held_out()
        if not part:
            return self.average_precisions(model, (held_out[k] for k in range(len(held_out))))
        if not self._part:
            self._part = [held_out[place] for place in range(0, len(held_out), _A_PART)]
        return self.average_precisions(model, self._part, bf16=bf16)

    def average_precisions(
        self, model: nn.Module, frames: Iterable[SceneFrame], *, bf16: bool = False
    ) -> tuple[float, ...]:
        """Each exit's mAP on some frames, shallowest first."""
        evaluators: list[DetectionEvaluator] = []
        for outputs, some in _outputs_of(model, frames, bf16):
            if not evaluators:
                shape = (1, *outputs[0].shape[1:])
                task = Detector(
                    self.source.labels, detection_task(), [[shape]] * len(outputs), self.source.size
                )
                evaluators = [task.evaluator() for _ in outputs]
            for place, frame in enumerate(some):
                truth = truth_of(frame)
                for number, rows in enumerate(outputs, start=1):
                    found = task.decode([rows[place : place + 1]], number)
                    evaluators[number - 1].add(found, truth)
        return tuple(round(evaluator.quality(), 6) for evaluator in evaluators)


def _outputs_of(
    model: nn.Module, frames: Iterable[SceneFrame], bf16: bool
) -> Iterator[tuple[list[NDArray[np.float32]], tuple[SceneFrame, ...]]]:
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
