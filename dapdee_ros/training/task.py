"""What a training needs to know of its task."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class Batch(NamedTuple):
    """Frames of one step.

    Attributes:
        images: uint8 ``(B, H, W, 3)``, augmented.
        target: what the task's loss compares the outputs with.
    """

    images: Tensor
    target: Any


class Frames(Protocol):
    """Frames by their number, perhaps rendered or read only when they are asked for."""

    def __len__(self) -> int:
        """How many there are."""

    def pixels(self, chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Some of the frames, uint8 ``(B, H, W, 3)``."""


class TrainingTask(Protocol):
    """The part of a training that differs from task to task.

    Draws depend on nothing but the recipe's seed, the epoch and the step, so that a resumed
    training goes on with the same frames.

    Attributes:
        quality_name: what ``evaluated`` measures.
        loss: the joint loss of all exits; what it learns is trained with the network.
        steps_per_epoch: how many batches an epoch has.
    """

    quality_name: str
    loss: nn.Module
    steps_per_epoch: int

    def batches(self, epoch: int, first: int) -> Iterator[Batch]:
        """The batches of an epoch (from 0), beginning with number ``first``."""

    def loss_of(self, outputs: tuple[Tensor, ...], target: Any) -> Tensor:
        """The loss, a scalar, from what every exit computed for a batch."""

    def figures(self, outputs: tuple[Tensor, ...], target: Any) -> tuple[float, ...]:
        """For each exit a quality that costs nothing to tell, on the batch; or nothing."""

    def seen(self, epoch: int) -> Frames:
        """The frames of an epoch."""

    def evaluated(self, model: nn.Module, *, part: bool, bf16: bool) -> tuple[float, ...]:
        """Each exit's quality on held-out frames.

        Args:
            model: the network.
            part: a few of the frames will do, for a look on the way.
            bf16: compute in bfloat16: faster, for a look on the way.
        """


def generator_of(seed: int, number: int, purpose: int) -> torch.Generator:
    """Random draws of their own for every use, which therefore need no state in a checkpoint."""
    words = np.random.SeedSequence((seed, number, purpose)).generate_state(2)
    return torch.Generator().manual_seed(int(words[0]) << 20 ^ int(words[1]))
