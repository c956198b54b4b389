"""Training a classifier: augmented frames, the joint loss of the exits, their accuracy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from dapdee_ros.datasets.split import DataSource, Split
from dapdee_ros.training.losses import JointLoss, rising_weights
from dapdee_ros.training.recipe import Recipe, frame_scale
from dapdee_ros.training.task import Batch, generator_of


class ClassificationTraining:
    """What ``Training`` needs to train a classifier; see ``TrainingTask``.

    Args:
        source: frames.
        recipe: how to train.
        exits: how many exits the network has.
    """

    quality_name = "accuracy"

    def __init__(self, source: DataSource, recipe: Recipe, exits: int) -> None:
        self.source = source
        self.recipe = recipe
        self.loss: nn.Module = JointLoss(
            recipe.exit_weights or rising_weights(exits),
            label_smoothing=recipe.label_smoothing,
            uncertainty=recipe.uncertainty,
            distillation=recipe.distillation,
        )
        self.steps_per_epoch = max(1, source.frames_per_epoch() // recipe.batch_size)
        self.steps = self.steps_per_epoch * recipe.epochs
        self._epoch_frames: tuple[int, Split] | None = None
        self._mean_colour = (255 * torch.tensor(source.mean)).round().to(torch.uint8)
        coins = generator_of(recipe.seed, 0, 2)
        self._coins = torch.randint(2, (source.frames_per_epoch(),), generator=coins)

    def batches(self, epoch: int, first: int) -> Iterator[Batch]:
        """The batches of an epoch in a new order, augmented, from batch ``first`` on."""
        frames = self._frames_of(epoch)
        size = self.recipe.batch_size
        order = torch.randperm(len(frames), generator=generator_of(self.recipe.seed, epoch, 0))
        for place in range(first, self.steps_per_epoch):
            chosen = np.sort(order[place * size : (place + 1) * size].numpy())
            step = epoch * self.steps_per_epoch + place
            yield self._augmented(
                frames.images[chosen], frames.labels[chosen], self._mirrored(chosen, epoch), step
            )

    def loss_of(self, outputs: tuple[Tensor, ...], target: tuple[Tensor, Tensor]) -> Tensor:
        """The joint loss of the exits' logits."""
        loss: Tensor = self.loss(outputs, target[1].to(outputs[0].device))
        return loss

    def figures(
        self, outputs: tuple[Tensor, ...], target: tuple[Tensor, Tensor]
    ) -> tuple[float, ...]:
        """Each exit's accuracy on the batch."""
        right = target[0].to(outputs[0].device)
        return tuple(float((row.argmax(1) == right).float().mean()) for row in outputs)

    def seen(self, epoch: int) -> Split:
        """The epoch's frames."""
        return self._frames_of(epoch)

    def evaluated(self, model: nn.Module, *, part: bool, bf16: bool) -> tuple[float, ...]:
        """Each exit's accuracy on held-out frames, on every fifth if a ``part`` will do."""
        frames = self.source.held_out()
        if part:
            frames = Split(frames.images[::5], frames.labels[::5], frames.description)
        return exit_accuracies(model, frames, bf16=bf16)

    def _frames_of(self, epoch: int) -> Split:
        # Kept, because some sources render an epoch's frames when they are asked.
        if self._epoch_frames is None or self._epoch_frames[0] != epoch:
            self._epoch_frames = (epoch, self.source.train(epoch))
        return self._epoch_frames[1]

    def _mirrored(self, chosen: NDArray[np.int64], epoch: int) -> Tensor:
        """Which frames to mirror, bool: each in every second epoch.

        A coin flip per frame decides in which, so that two epochs show both sides of every frame
        (K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024, section 3.6).
        """
        if not self.source.flip:
            return torch.zeros(len(chosen), dtype=torch.bool)
        return (self._coins[torch.from_numpy(chosen)] + epoch) % 2 == 1

    def _augmented(
        self, images: NDArray[np.uint8], labels: NDArray[np.int64], mirror: Tensor, step: int
    ) -> Batch:
        recipe = self.recipe
        generator = generator_of(recipe.seed, step, 1)
        batch = augment(torch.from_numpy(images), self.source.shift, mirror, generator)
        batch = cut_out(batch, recipe.cutout, self._mean_colour, generator)
        target = torch.from_numpy(labels)
        wanted = target
        if float(torch.rand((), generator=generator)) < recipe.cutmix:
            batch, wanted = cut_mix(batch, target, len(self.source.labels))
        scale = frame_scale(step, self.steps, recipe.start_scale)
        return Batch(shrink(batch, scale), (target, wanted))


def augment(images: Tensor, shift: int, mirror: Tensor, generator: torch.Generator) -> Tensor:
    """Move each frame by up to ``shift`` pixels each way and mirror the chosen ones.

    Args:
        images: uint8 ``(B, H, W, 3)``; edges are repeated where a frame moves in.
        shift: in pixels.
        mirror: bool ``(B,)``, the frames to mirror.
        generator: source of the draws.
    """
    count, height, width, _ = images.shape
    down = torch.randint(-shift, shift + 1, (count, 1), generator=generator)
    right = torch.randint(-shift, shift + 1, (count, 1), generator=generator)
    rows = (torch.arange(height) + down).clamp_(0, height - 1)
    columns = torch.arange(width).expand(count, width)
    columns = torch.where(mirror[:, None], width - 1 - columns, columns)
    columns = (columns + right).clamp_(0, width - 1)
    frame = torch.arange(count)[:, None, None]
    return images[frame, rows[:, :, None], columns[:, None, :]]


def cut_out(images: Tensor, side: int, fill: Tensor, generator: torch.Generator) -> Tensor:
    """Cover a square of each frame, its centre anywhere in the frame.

    Args:
        images: uint8 ``(B, H, W, 3)``.
        side: of the square in pixels; 0 covers nothing.
        fill: uint8 ``(3,)``, what it is covered with.
        generator: source of the draws.
    """
    if not side:
        return images
    count, height, width, _ = images.shape
    top = torch.randint(0, height, (count, 1), generator=generator) - side // 2
    left = torch.randint(0, width, (count, 1), generator=generator) - side // 2
    rows, columns = torch.arange(height) - top, torch.arange(width) - left
    covered = ((rows >= 0) & (rows < side))[:, :, None] & ((columns >= 0) & (columns < side))[
        :, None, :
    ]
    return torch.where(covered[..., None], fill, images)


def cut_mix(images: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Put a box of another frame into each; draws come from torch's global generator.

    Args:
        images: uint8 ``(B, H, W, 3)``.
        labels: int64 ``(B,)``.
        classes: how many classes there are.

    Returns:
        The frames, uint8 ``(B, H, W, 3)``, and their shares of classes, float32 ``(B, classes)``.
    """
    # It brings torch's compiler along, whose import takes as long as torch's own.
    from torchvision.transforms.v2 import CutMix

    mixed, shares = CutMix(num_classes=classes)(images.permute(0, 3, 1, 2), labels)
    return mixed.permute(0, 2, 3, 1), shares


def shrink(images: Tensor, scale: float) -> Tensor:
    """Frames of ``scale`` times the side, averaged: uint8 ``(B, H, W, 3)`` both ways."""
    size = [max(1, round(side * scale)) for side in images.shape[1:3]]
    if size == list(images.shape[1:3]):
        return images
    pixels = images.permute(0, 3, 1, 2).float()
    small = functional.interpolate(pixels, size, mode="bilinear", antialias=True)
    return small.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def logits_of(
    model: nn.Module, images: NDArray[np.uint8], batch_size: int = 256, *, bf16: bool = False
) -> list[NDArray[np.float32]]:
    """Logits of every exit for uint8 ``(N, H, W, 3)``, float32 ``(N, K)`` each.

    ``bf16`` computes in bfloat16: several times faster, for a look on the way.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    rows: list[list[Tensor]] = []
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        for start in range(0, len(images), batch_size):
            batch = torch.from_numpy(images[start : start + batch_size]).to(device)
            rows.append([exit_logits.float().cpu() for exit_logits in model(batch)])
    model.train(was_training)
    return [torch.cat(parts).numpy() for parts in zip(*rows, strict=True)]


def exit_accuracies(model: nn.Module, split: Split, *, bf16: bool = False) -> tuple[float, ...]:
    """Share of frames that each exit gets right, shallowest first."""
    return tuple(
        round(float((logits.argmax(1) == split.labels).mean()), 6)
        for logits in logits_of(model, split.images, bf16=bf16)
    )
