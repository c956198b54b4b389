"""A camera that shows images of a data set, with the objects in them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from dapdee_ros.datasets.coco_folder import open_coco
from dapdee_ros.datasets.frame_source import SourceError, SourceFrame, Truth, resized_map
from dapdee_ros.datasets.labelled_pictures import LabelledPictures
from dapdee_ros.datasets.opencv_pictures import resized
from dapdee_ros.datasets.picture_files import what_is_missing
from dapdee_ros.datasets.split import DataError
from dapdee_ros.datasets.yolo_folder import open_yolo

log = logging.getLogger(__name__)

LAYOUTS: dict[str, Callable[[Path], LabelledPictures]] = {"yolo": open_yolo, "coco": open_coco}


class LabelledSource:
    """The images of a data set in YOLO's or COCO's layout, by their names.

    Args:
        layout: ``yolo`` or ``coco``.
        where: the data set's folder or file.
        loop: restart at the end.
        size: height and width to resize to; 0 keeps the image's.

    Raises:
        SourceError: if the data set cannot be read, or contradicts itself.
    """

    rate_hz: float | None = None

    def __init__(
        self, layout: str, where: Path, *, loop: bool = False, size: tuple[int, int] = (0, 0)
    ) -> None:
        try:
            self._pictures = LAYOUTS[layout](where)
        except DataError as error:
            raise SourceError(str(error)) from error
        self._loop, self._size = loop, size
        self._places = list(range(len(self._pictures)))
        self._next = 0
        self.labels, self.surfaces = self._pictures.labels, self._pictures.surfaces
        self.description = self._pictures.description

    def __iter__(self) -> Iterator[SourceFrame | None]:
        return self

    def __next__(self) -> SourceFrame:
        while self._places:
            if self._next >= len(self._places):
                if not self._loop:
                    raise StopIteration
                self._next = 0
            place = self._places[self._next]
            path = self._pictures.files[place]
            if why := what_is_missing(path):
                log.warning("%s is left out: %s", path, why)
                # For good: a loop should not complain about it every time.
                del self._places[self._next]
                continue
            self._next += 1
            try:
                frame = self._pictures[place]
            except DataError as error:
                raise SourceError(str(error)) from error
            return scaled(frame, self._size)
        raise SourceError(f"none of the {self.description} can be read")

    def close(self) -> None:
        """Nothing to release."""


def scaled(frame: SourceFrame, size: tuple[int, int]) -> SourceFrame:
    """The frame at another size, what it shows too."""
    image, truth = resized(frame.image, size), frame.truth
    if truth is None or image.shape == frame.image.shape:
        return SourceFrame(image, truth)
    (height, width), (before_height, before_width) = image.shape[:2], frame.image.shape[:2]
    boxes, class_map = truth.boxes, truth.class_map
    if boxes is not None:
        scale = np.array([width / before_width, height / before_height] * 2)
        boxes = (boxes * scale).astype(np.float32)
    if class_map is not None:
        class_map = resized_map(class_map, (height, width))
    return SourceFrame(image, Truth(truth.label, boxes, truth.box_labels, class_map))
