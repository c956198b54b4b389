"""Rendered road scenes as data to train and evaluate detectors on. No torch in here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.datasets.roadscenes import CLASSES, DEFAULT_SIZE, RoadScenes, SceneFrame

SCENES = "roadscenes"
"""What this data is called on the command line."""

_TRAIN_SEED, _HELD_OUT_SEED, _CALIBRATION_SEED = 1, 1_000_001, 1_000_002
_LAST_SEED = 999_999


class SceneSeries:
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

    def __getitem__(self, place: int) -> SceneFrame:
        """One frame with its truth.

        Raises:
            IndexError: if there is no such frame.
        """
        if not 0 <= place < self._count:
            raise IndexError(f"frame {place} of {self._count}")
        return self._scenes.frame(self._start + place)

    def pixels(self, chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Some of the frames by their places, uint8 ``(n, H, W, 3)``."""
        return np.stack([self[int(place)].image for place in chosen])


class RenderedScenes:
    """Road scenes with objects: every epoch gets new ones.

    Attributes:
        labels: names of the classes of objects.
        mean: mean of each colour channel, of values from 0 to 1.
        std: standard deviation of each channel.
        size: height and width of the frames.
    """

    labels = CLASSES
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

    def train(self, epoch: int, size: tuple[int, int] | None = None) -> SceneSeries:
        """Frames to train on in this epoch (from 0), at another size if one is given."""
        count = self._frames_per_epoch
        return SceneSeries(self._seed, size or self.size, epoch * count, count)

    def held_out(self) -> SceneSeries:
        """Frames to evaluate a model on."""
        return SceneSeries(_HELD_OUT_SEED, self.size, 0, self._held_out_frames)

    def calibration(self) -> SceneSeries:
        """Frames to calibrate on."""
        return SceneSeries(_CALIBRATION_SEED, self.size, 0, self._held_out_frames)
