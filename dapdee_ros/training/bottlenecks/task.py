"""The training of a bottleneck, on frames without labels; see ``training.task``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dapdee_ros.training.bottlenecks.trainee import MEASURED_FRAMES, Trainee
from dapdee_ros.training.recipe import Recipe
from dapdee_ros.training.task import Batch, Frames, generator_of

STEPS_PER_EPOCH = 50
"""Between two checkpoints."""

BOTTLENECK_RECIPE = Recipe(
    epochs=60,
    batch_size=8,
    optimiser="adamw",
    learning_rate=1.5e-3,
    weight_decay=0.0,
    label_smoothing=0.0,
    average_decay=0.99,
)
"""What trains a bottleneck."""

_CROP_SHARE, _CROP_STEP, _LEAST_CROP = 0.6, 32, 128


class BottleneckTraining:
    """What ``Training`` needs to train a ``Trainee``; see ``TrainingTask``.

    Args:
        trainee: the bottleneck.
        frames: to train on.
        recipe: how to train.
        crop: height and width of what is cut out of every frame, in pixels; None: whole frames.
    """

    quality_name = "bytes"

    def __init__(
        self, trainee: Trainee, frames: Frames, recipe: Recipe, crop: tuple[int, int] | None
    ) -> None:
        self.loss: nn.Module = nn.Identity()
        self.steps_per_epoch = STEPS_PER_EPOCH
        self._trainee, self._frames = trainee, frames
        self._recipe, self._crop = recipe, crop

    def first_frames(self) -> Tensor:
        """Some frames to measure the boundary on, spread over all, uint8 ``(n, H, W, 3)``."""
        count = min(MEASURED_FRAMES, len(self._frames))
        places = np.linspace(0, len(self._frames) - 1, count).astype(np.int64)
        return torch.from_numpy(np.ascontiguousarray(self._frames.pixels(places)))

    def batches(self, epoch: int, first: int) -> Iterator[Batch]:
        """The batches of an epoch from number ``first`` on: frames at random, cut and mirrored."""
        for place in range(first, self.steps_per_epoch):
            step = epoch * self.steps_per_epoch + place
            generator = generator_of(self._recipe.seed, step, 4)
            count = self._recipe.batch_size
            chosen = torch.randint(len(self._frames), (count,), generator=generator).numpy()
            order = np.argsort(chosen, kind="stable")
            images = self._frames.pixels(chosen[order])
            yield Batch(torch.from_numpy(self._cut(images, generator)), None)

    def _cut(self, images: NDArray[np.uint8], generator: torch.Generator) -> NDArray[np.uint8]:
        _, height, width, _ = images.shape
        high, wide = self._crop or (height, width)
        pieces = []
        for image in images:
            top = int(torch.randint(height - high + 1, (), generator=generator))
            left = int(torch.randint(width - wide + 1, (), generator=generator))
            piece = image[top : top + high, left : left + wide]
            mirrored = bool(torch.rand((), generator=generator) < 0.5)
            pieces.append(piece[:, ::-1] if mirrored else piece)
        return np.ascontiguousarray(np.stack(pieces))

    def loss_of(self, outputs: tuple[Tensor, ...], target: Any) -> Tensor:
        """Distance from the frozen network, and bytes by their weight."""
        return self._trainee.loss(outputs)

    def figures(self, outputs: tuple[Tensor, ...], target: Any) -> tuple[float, ...]:
        """Bytes per frame, mean over the points, and the error of the exits' outputs."""
        return float(outputs[3].detach().mean()), float(outputs[2].detach().mean())

    def seen(self, epoch: int) -> Frames:
        """The frames to train on, the same in every epoch."""
        return self._frames

    def evaluated(self, model: nn.Module, *, part: bool, bf16: bool) -> tuple[float, ...]:
        """Nothing: quality is measured at every point, by ``calibrated_points``."""
        return ()


def usual_crop(trainee: Trainee, size: tuple[int, int], dense: bool) -> tuple[int, int] | None:
    """What to cut out of frames to train faster: three fifths of each side.

    None, that is whole frames, if they are small, or the network takes no others.

    Args:
        trainee: the bottleneck.
        size: height and width of the network's input.
        dense: whether the network's answers are about places, so that a part of a frame has some.
    """
    height, width = (
        max(_CROP_STEP, round(_CROP_SHARE * s / _CROP_STEP) * _CROP_STEP) for s in size
    )
    if not dense or min(size) <= _LEAST_CROP:
        return None
    return (height, width) if takes(trainee, (height, width)) else None


def takes(trainee: Trainee, size: Sequence[int]) -> bool:
    """Whether the frozen network can be run on several frames of a size at once."""
    try:
        with torch.no_grad(), torch.random.fork_rng():
            trainee(torch.zeros(2, *size, 3, dtype=torch.uint8))
    except RuntimeError:
        return False
    return True
