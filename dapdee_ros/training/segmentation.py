"""Training a segmenter: the joint loss of the exits, their mean IoU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dapdee_ros.datasets.frame_source import SourceFrame
from dapdee_ros.datasets.scene_data import SceneData
from dapdee_ros.exits.networks import segmentation_task
from dapdee_ros.exits.segmenter import SIDE_STEP
from dapdee_ros.tasks.segmentation import ClassMap, Segmenter
from dapdee_ros.training.losses import rising_weights
from dapdee_ros.training.recipe import Recipe
from dapdee_ros.training.scene_truth import true_surfaces
from dapdee_ros.training.scenes import SceneTraining
from dapdee_ros.training.segmentation_loss import SegmentationLoss

_PIXEL_STEP = 2
"""Half the logits' stride."""


class SegmentationTraining(SceneTraining):
    """What ``Training`` needs to train a segmenter; see ``TrainingTask``.

    Args:
        source: frames with their class maps.
        recipe: how to train.
        exits: how many exits the network has.
        workers: processes that render frames beside the training; with 0 it does so itself.
    """

    quality_name = Segmenter.quality_name

    def __init__(self, source: SceneData, recipe: Recipe, exits: int, workers: int = 1) -> None:
        weights = recipe.exit_weights or rising_weights(exits)
        loss = SegmentationLoss(weights, distillation=recipe.distillation, pixel_step=_PIXEL_STEP)
        super().__init__(source, recipe, loss, SIDE_STEP, workers)

    def target_of(self, frames: Sequence[SourceFrame]) -> Tensor:
        """The frames' class maps, uint8 ``(B, H, W)``."""
        return torch.from_numpy(np.stack([true_surfaces(frame).class_ids for frame in frames]))

    def truth_of(self, frame: SourceFrame) -> ClassMap:
        """The frame's class map as a segmenter would answer."""
        return true_surfaces(frame)

    def task(self, shapes: Sequence[tuple[int, ...]]) -> Segmenter:
        """A segmenter of the source's surfaces."""
        of_exits = [[shape] for shape in shapes]
        return Segmenter(self.source.surfaces, segmentation_task(), of_exits, self.source.size)

    def loss_of(self, outputs: tuple[Tensor, ...], target: Tensor) -> Tensor:
        """The joint loss of the exits' logits."""
        loss: Tensor = self.loss(outputs, target.to(outputs[0].device))
        return loss
