"""Labelled frames in memory, and the interface of their sources. No torch in here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class DataError(ValueError):
    """Data that is missing or not as requested; the message says what to do."""


@dataclass(frozen=True)
class Split:
    """Frames with their labels.

    Attributes:
        images: uint8 ``(N, H, W, 3)``, red, green, blue.
        labels: int64 ``(N,)``.
        description: human-readable description.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    description: str

    def __len__(self) -> int:
        return len(self.labels)

    def pixels(self, chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Some of the frames by their places, uint8 ``(n, H, W, 3)``."""
        return self.images[chosen]


class DataSource(Protocol):
    """A source of training and held-out frames.

    Attributes:
        labels: class names.
        size: height and width of the frames.
        mean: mean of each colour channel, of values from 0 to 1.
        std: standard deviation of each channel.
        flip: whether a mirrored frame keeps its class.
        shift: how many pixels a frame may be shifted in training.
    """

    labels: tuple[str, ...]
    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    flip: bool
    shift: int

    def frames_per_epoch(self) -> int:
        """How many frames ``train`` gives."""

    def train(self, epoch: int) -> Split:
        """Frames to train on in this epoch (from 0)."""

    def held_out(self) -> Split:
        """Frames to evaluate the model on; never trained on."""

    def calibration(self) -> Split:
        """Frames to calibrate on; never trained on, not ``held_out`` if there are more."""
