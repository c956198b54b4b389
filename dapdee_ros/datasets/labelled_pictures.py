"""Images in files, with the objects that they show. No torch in here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.datasets.frame_source import SourceFrame, Truth
from dapdee_ros.datasets.opencv_pictures import required_picture
from dapdee_ros.datasets.split import DataError

Shown = Callable[[Iterable[Path]], Iterable[Path]]
"""Passes files on while it shows how far one has got."""

TruthOf = Callable[[tuple[int, int]], Truth]
"""From an image's height and width in pixels to what it shows."""

_NEARLY = 1.0
"""Pixels by which a box may be outside its image: tools round."""


@dataclass(frozen=True)
class LabelledPictures:
    """Image files with their objects, read when they are asked for.

    Attributes:
        files: the images.
        truths: of each image, from its size.
        labels: names of the objects' classes.
        surfaces: names of the classes in class maps, empty if there are none.
        description: human-readable description.
    """

    files: tuple[Path, ...]
    truths: tuple[TruthOf, ...]
    labels: tuple[str, ...]
    description: str
    surfaces: tuple[str, ...] = ()

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.files)

    def __getitem__(self, place: int) -> SourceFrame:
        """One image with what it shows.

        Raises:
            DataError: if it cannot be read, or a box is outside it.
        """
        path = self.files[place]
        image = required_picture(path, "remove it and its labels, or replace it")
        return SourceFrame(image, self.truths[place]((image.shape[0], image.shape[1])))


def boxes_inside(
    boxes: NDArray[np.float32], size: tuple[int, int], where: Sequence[str]
) -> NDArray[np.float32]:
    """Boxes cut at the image's edges, which they may cross by a rounding error.

    Args:
        boxes: ``(n, 4)``, left, top, right and bottom in pixels.
        size: height and width of the image.
        where: for each box what names it in an error.

    Raises:
        DataError: if one lies outside.
    """
    height, width = size
    limits = np.array([width, height, width, height], np.float32)
    outside = ~((boxes >= -_NEARLY) & (boxes <= limits + _NEARLY)).all(1)
    if outside.any():
        first = int(outside.argmax())
        left, top, right, bottom = boxes[first]
        raise DataError(
            f"{where[first]}: the box from ({left:.1f}, {top:.1f}) to ({right:.1f}, {bottom:.1f}) "
            f"is outside the image of {width}x{height} pixels: are the labels of another image, or "
            "in another unit?"
        )
    return np.clip(boxes, 0, limits)


def unshown(files: Iterable[Path]) -> Iterable[Path]:
    """Shows nothing of how far one has got."""
    return files
