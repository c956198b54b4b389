"""Frames with objects and surfaces as data to train and evaluate on; rendered ones. No torch."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.datasets.frame_source import SourceFrame
from dapdee_ros.datasets.roadscenes import CLASSES, DEFAULT_SIZE, SURFACES, RoadScenes

SCENES = "roadscenes"
"""What this data is called on the command line."""

_TRAIN_SEED, _HELD_OUT_SEED, _CALIBRATION_SEED = 1, 1_000_001, 1_000_002
_LAST_SEED = 999_999


class SceneSeries(Protocol):
    """Some frames, made or read when they are asked for.

    Attributes:
        description: human-readable description.
    """

    description: str

    def __len__(self) -> int:
        """How many frames there are."""

    def __getitem__(self, place: int) -> SourceFrame:
        """One frame with its truth.

        Raises:
            IndexError: if there is no such frame.
            DataError: if it cannot be read.
        """

    def pixels(self, chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Some of the frames by their places, uint8 ``(n, H, W, 3)``."""


class SceneData(Protocol):
    """Frames with objects or surfaces to train and evaluate on.

    Attributes:
        labels: names of the classes of objects.
        surfaces: names of the classes in class maps; empty if there are none.
        size: height and width of the frames.
    """

    labels: tuple[str, ...]
    surfaces: tuple[str, ...]
    size: tuple[int, int]

    @property
    def mean(self) -> tuple[float, float, float]:
        """Mean of each colour channel, of values from 0 to 1."""

    @property
    def std(self) -> tuple[float, float, float]:
        """Standard deviation of each channel."""

    def frames_per_epoch(self) -> int:
        """How many frames ``train`` gives."""

    def train(self, epoch: int, size: tuple[int, int] | None = None) -> SceneSeries:
        """Frames to train on in this epoch (from 0), at another size if one is given."""

    def held_out(self) -> SceneSeries:
        """Frames to evaluate a model on."""

    def calibration(self) -> SceneSeries:
        """Frames to calibrate on; never trained on, not ``held_out`` if there are more."""


class RenderedSeries:
    """Some frames of a series of scenes, each of a drive of its own, rendered when asked for.

    Args:
        seed: of the series.
        size: height and width in pixels.
        start: number of the first frame.
        count: how many there are.

    Attributes:
        description: human-readable description.
    """

    def __init__(self, seed: int, size: tuple[int, int], start: int, count: int) -> None:
        self._scenes = RoadScenes(seed, size, sequence_frames=1)
        self._start, self._count = start, count
        self.description = f"rendered road scenes, seed {seed}, {count} frames"

    def __len__(self) -> int:
        """How many frames there are."""
        return self._count

    def __getitem__(self, place: int) -> SourceFrame:
        """One frame with its truth.

        Raises:
            IndexError: if there is no such frame.
        """
        if not 0 <= place < self._count:
            raise IndexError(f"frame {place} of {self._count}")
        return self._scenes.frame(self._start + place).as_source_frame()

    def pixels(self, chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Some of the frames by their places, uint8 ``(n, H, W, 3)``."""
        return np.stack([self[int(place)].image for place in chosen])


class RenderedScenes:
    """Road scenes with objects: every epoch gets new ones.

    Attributes:
        labels: names of the classes of objects.
        surfaces: names of the classes in class maps.
        mean: mean of each colour channel, of values from 0 to 1.
        std: standard deviation of each channel.
        size: height and width of the frames.
    """

    labels: tuple[str, ...] = CLASSES
    surfaces: tuple[str, ...] = SURFACES
    mean = (0.38, 0.38, 0.37)
    std = (0.20, 0.19, 0.19)

    def __init__(
        self,
        size: tuple[int, int] = DEFAULT_SIZE,
        frames_per_epoch: int = 2_000,
        held_out_frames: int = 2_000,
        seed: int = 0,
    ) -> None:
        """Prepare.

        Args:
            size: height and width of the frames in pixels.
            frames_per_epoch: how many frames ``train`` gives.
            held_out_frames: how many frames to evaluate on, and to calibrate on.
            seed: of the frames to train on, so that a model trained further sees others; those to
                evaluate and to calibrate on are always the same.

        Raises:
            ValueError: if the seed is out of range.
        """
        if not 0 <= seed <= _LAST_SEED:
            raise ValueError(
                f"road scenes to train on have seeds from 0 to {_LAST_SEED}, got {seed}"
            )
        self._seed = _TRAIN_SEED + seed
        self.size = size
        self._frames_per_epoch = frames_per_epoch
        self._held_out_frames = held_out_frames

    def frames_per_epoch(self) -> int:
        """How many frames ``train`` gives."""
        return self._frames_per_epoch

    def train(self, epoch: int, size: tuple[int, int] | None = None) -> RenderedSeries:
        """Frames to train on in this epoch (from 0), at another size if one is given."""
        count = self._frames_per_epoch
        return RenderedSeries(self._seed, size or self.size, epoch * count, count)

    def held_out(self) -> RenderedSeries:
        """Frames to evaluate a model on."""
        return RenderedSeries(_HELD_OUT_SEED, self.size, 0, self._held_out_frames)

    def calibration(self) -> RenderedSeries:
        """Frames to calibrate on."""
        return RenderedSeries(_CALIBRATION_SEED, self.size, 0, self._held_out_frames)
