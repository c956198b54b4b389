"""Training a detector: the joint loss of the exits, their mAP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dapdee_ros.datasets.frame_source import SourceFrame
from dapdee_ros.datasets.scene_data import SceneData
from dapdee_ros.exits.detector import STRIDES
from dapdee_ros.exits.networks import detection_task
from dapdee_ros.tasks.detection import Detections, Detector
from dapdee_ros.training.detection_loss import DetectionLoss
from dapdee_ros.training.losses import rising_weights
from dapdee_ros.training.recipe import Recipe
from dapdee_ros.training.scene_truth import true_detections
from dapdee_ros.training.scenes import SceneTraining


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


class DetectionTraining(SceneTraining):
    """What ``Training`` needs to train a detector; see ``TrainingTask``.

    Args:
        source: frames with their objects.
        recipe: how to train.
        exits: how many exits the network has.
        workers: processes that render frames beside the training; with 0 it does so itself.
    """

    quality_name = Detector.quality_name

    def __init__(self, source: SceneData, recipe: Recipe, exits: int, workers: int = 1) -> None:
        weights = recipe.exit_weights or rising_weights(exits)
        loss = DetectionLoss(weights, STRIDES, recipe.distillation)
        super().__init__(source, recipe, loss, STRIDES[-1], workers)

    def target_of(self, frames: Sequence[SourceFrame]) -> Objects:
        """The frames' objects."""
        truths = [true_detections(frame) for frame in frames]
        height, width, _ = frames[0].image.shape
        return Objects(
            [torch.from_numpy(truth.boxes.copy()) for truth in truths],
            [torch.from_numpy(truth.class_ids.astype(np.int64)) for truth in truths],
            (height, width),
        )

    def truth_of(self, frame: SourceFrame) -> Detections:
        """The frame's objects as a detector would answer."""
        return true_detections(frame)

    def task(self, shapes: Sequence[tuple[int, ...]]) -> Detector:
        """A detector of the source's classes."""
        of_exits = [[shape] for shape in shapes]
        return Detector(self.source.labels, detection_task(), of_exits, self.source.size)

    def loss_of(self, outputs: tuple[Tensor, ...], target: Objects) -> Tensor:
        """The joint loss of the exits' rows."""
        device = outputs[0].device
        boxes = [boxes.to(device) for boxes in target.boxes]
        labels = [labels.to(device) for labels in target.labels]
        height, width = target.size
        loss: Tensor = self.loss(outputs, boxes, labels, (height, width))
        return loss
