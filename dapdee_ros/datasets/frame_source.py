"""What every source of a camera's frames offers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.codecs.picture_file import read_picture

UNLABELLED = 255
"""What a class map holds where nobody said what there is."""


def resized_map(class_map: NDArray[np.uint8], size: tuple[int, ...]) -> NDArray[np.uint8]:
    """A class map ``(H, W)`` with other rows and columns; classes cannot be averaged.

    Each new pixel has the class of the one that its middle lies in.

    >>> resized_map(np.array([[1, 2]], np.uint8), (2, 4)).tolist()
    [[1, 1, 2, 2], [1, 1, 2, 2]]
    """
    if class_map.shape == size:
        return class_map
    rows, columns = (
        (2 * np.arange(there) + 1) * own // (2 * there)
        for own, there in zip(class_map.shape, size, strict=True)
    )
    return np.ascontiguousarray(class_map[rows][:, columns])


class SourceError(ValueError):
    """A source that cannot be opened or read; the message says what was expected."""


@dataclass(frozen=True, eq=False)
class Truth:
    """What an image shows, as far as it is known.

    Attributes:
        label: its class, an index into the source's ``labels``; None if it has no one class.
        boxes: float32 ``(n, 4)``: left, top, right and bottom of every object in pixels of the
            image; None if the objects are unknown, empty if there are none.
        box_labels: int32 ``(n,)``: their classes, indices into the source's ``labels``.
        class_map: uint8 ``(H, W)``: the class of every pixel, an index into the source's
            ``surfaces`` or ``UNLABELLED``; None if it is unknown.

    Raises:
        ValueError: if boxes and their classes do not fit.

    >>> Truth(boxes=[[1, 2, 3, 4]], box_labels=[0]).boxes.shape
    (1, 4)
    """

    label: int | None = None
    boxes: NDArray[np.float32] | Any | None = None
    box_labels: NDArray[np.int32] | Any = ()
    class_map: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        labels = np.array(self.box_labels, np.int32).reshape(-1)
        object.__setattr__(self, "box_labels", labels)
        if self.boxes is None and not len(labels):
            return
        boxes = np.array(() if self.boxes is None else self.boxes, np.float32).reshape(-1, 4)
        object.__setattr__(self, "boxes", boxes)
        if len(boxes) != len(labels):
            raise ValueError(f"{len(boxes)} boxes have {len(labels)} classes, expected one each")


@dataclass(frozen=True)
class SourceFrame:
    """One frame.

    Attributes:
        image: uint8 ``(H, W, 3)``, red, green, blue, contiguous.
        truth: what it shows, or None if nothing is known.
        file: the JPEG that has these pixels, if the source has one and was asked for it.
    """

    image: NDArray[np.uint8]
    truth: Truth | None = None
    file: bytes | None = None


class FileFrame(SourceFrame):
    """A frame that is a JPEG; decoded only if somebody wants its pixels.

    Args:
        file: the JPEG.
    """

    def __init__(self, file: bytes) -> None:
        object.__setattr__(self, "file", file)
        object.__setattr__(self, "truth", None)

    @property
    def image(self) -> NDArray[np.uint8]:
        """Its pixels; raises PictureFileError if it cannot be decoded."""
        assert self.file is not None
        return read_picture(np.frombuffer(self.file, np.uint8))


class FrameSource(Protocol):
    """What every source offers.

    Attributes:
        labels: names of the classes of images and objects, empty if the truth is unknown.
        surfaces: names of the classes in class maps, empty if there are none.
        rate_hz: the source's own rate, or None if it has none.
        description: human-readable description.
    """

    labels: tuple[str, ...]
    surfaces: tuple[str, ...]
    rate_hz: float | None
    description: str

    def __iter__(self) -> Iterator[SourceFrame | None]: ...

    def __next__(self) -> SourceFrame | None: ...

    def close(self) -> None:
        """Release the device or file."""
