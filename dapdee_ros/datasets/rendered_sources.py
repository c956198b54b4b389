"""Cameras that render what they see: road signs, and road scenes with objects."""

from __future__ import annotations

from collections.abc import Iterator

from dapdee_ros.datasets.frame_source import SourceError, SourceFrame, Truth


class SignSource:
    """Endless rendered road-sign scenes, a new one per frame.

    Args:
        seed: names the series of scenes.
        size: height and width in pixels; if one of them is 0 the image is square, if both are it
            has the default size.

    Raises:
        SourceError: if the seed is negative or the size too small.
    """

    USUAL_SIDE = 128
    rate_hz: float | None = None
    surfaces: tuple[str, ...] = ()

    def __init__(self, seed: int, size: tuple[int, int] = (0, 0)) -> None:
        from dapdee_ros.datasets.roadsigns import LABELS, RoadSigns

        height, width = _sides(size, self.USUAL_SIDE)
        try:
            self._signs = RoadSigns(seed, (height, width))
        except ValueError as error:
            raise SourceError(f"road signs: {error}") from error
        self._index = 0
        self.labels = LABELS
        self.description = f"rendered road signs, seed {seed}, {width}x{height}"

    def __iter__(self) -> Iterator[SourceFrame | None]:
        return self

    def __next__(self) -> SourceFrame:
        frame = self._signs.frame(self._index)
        self._index += 1
        return SourceFrame(frame.image, Truth(frame.label))

    def close(self) -> None:
        """Nothing to release."""


class SceneSource:
    """An endless drive along rendered roads: sequences in which objects come nearer.

    Args:
        seed: names the series of sequences.
        size: height and width in pixels; if one of them is 0 the image is square, if both are it
            has the default size.

    Raises:
        SourceError: if the seed is negative or the size too small.
    """

    USUAL_SIDE = 320

    def __init__(self, seed: int, size: tuple[int, int] = (0, 0)) -> None:
        from dapdee_ros.datasets.roadscenes import CLASSES, FRAME_S, SURFACES, RoadScenes

        height, width = _sides(size, self.USUAL_SIDE)
        try:
            self._scenes = RoadScenes(seed, (height, width))
        except ValueError as error:
            raise SourceError(f"road scenes: {error}") from error
        self._index = 0
        self.labels: tuple[str, ...] = CLASSES
        self.surfaces: tuple[str, ...] = SURFACES
        self.rate_hz: float | None = 1 / FRAME_S
        self.description = f"rendered road scenes, seed {seed}, {width}x{height}"

    def __iter__(self) -> Iterator[SourceFrame | None]:
        return self

    def __next__(self) -> SourceFrame:
        frame = self._scenes.frame(self._index)
        self._index += 1
        return frame.as_source_frame()

    def close(self) -> None:
        """Nothing to release."""


def _sides(size: tuple[int, int], usual: int) -> tuple[int, int]:
    side = max(size) or usual
    return size[0] or side, size[1] or side
