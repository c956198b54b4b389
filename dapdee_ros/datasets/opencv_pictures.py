"""Images and videos through OpenCV, which is imported only when first needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.datasets.picture_files import what_is_missing
from dapdee_ros.datasets.split import DataError


def read_picture(path: Path, size: tuple[int, int] = (0, 0)) -> NDArray[np.uint8] | None:
    """The image in a file as uint8 ``(H, W, 3)`` rgb, or None if it cannot be read."""
    cv2 = quiet_cv2()
    try:
        data = np.fromfile(path, np.uint8)
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except (OSError, cv2.error):
        return None
    if bgr is None and path.suffix.lower() == ".gif":
        bgr = _first_of_gif(path)
    return None if bgr is None else bgr_to_rgb(bgr, size)


def required_picture(path: Path, cure: str = "remove it or replace it") -> NDArray[np.uint8]:
    """The image in a file of a data set, uint8 ``(H, W, 3)`` rgb.

    Args:
        path: the file.
        cure: what to do if it cannot be read, for the error.

    Raises:
        DataError: if it cannot be read; says why.
    """
    why = what_is_missing(path)
    image = None if why else read_picture(path)
    if image is None:
        raise DataError(
            f"{path} cannot be read as an image: {why or 'its format is not supported'}; {cure}"
        )
    return image


def _first_of_gif(path: Path) -> NDArray[np.uint8] | None:
    """The first frame of a GIF, which OpenCV reads from 4.11 on; uint8 ``(H, W, 3)`` bgr."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"), np.uint8)[..., ::-1]
    except OSError:
        return None


def bgr_to_rgb(bgr: NDArray[Any], size: tuple[int, int] = (0, 0)) -> NDArray[np.uint8]:
    """An OpenCV image as uint8 ``(H, W, 3)`` rgb.

    Args:
        bgr: uint8 ``(H, W)`` or ``(H, W, 3)``.
        size: height and width to resize to. If one of them is 0 it follows from the other, if both
            are the image keeps its size.
    """
    import cv2

    if bgr.ndim == 2:
        bgr = cv2.cvtColor(bgr, cv2.COLOR_GRAY2BGR)
    return np.asarray(cv2.cvtColor(resized(bgr, size), cv2.COLOR_BGR2RGB), np.uint8)


def resized(picture: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """A uint8 image ``(H, W, 3)`` with another height and width; see ``bgr_to_rgb``."""
    import cv2

    height, width = size
    if not height and not width:
        return picture
    height = height or max(1, round(picture.shape[0] * width / picture.shape[1]))
    width = width or max(1, round(picture.shape[1] * height / picture.shape[0]))
    if (height, width) == picture.shape[:2]:
        return picture
    shrinks = height <= picture.shape[0] and width <= picture.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (width, height), interpolation=how))


def quiet_cv2() -> Any:
    """OpenCV on one thread and without its own messages: this package reports the errors itself."""
    import cv2

    cv2.setNumThreads(1)
    if hasattr(cv2, "utils") and hasattr(cv2.utils, "logging"):
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


def open_capture(source: str, backend: int | None = None, settings: Sequence[int] = ()) -> Any:
    """A ``cv2.VideoCapture`` of a file, device or address, opened or not.

    Args:
        source: what to open.
        backend: one of ``cv2.CAP_*``; None leaves it to OpenCV.
        settings: properties and their values, one after the other.
    """
    cv2 = quiet_cv2()
    return cv2.VideoCapture(source, cv2.CAP_ANY if backend is None else backend, list(settings))
