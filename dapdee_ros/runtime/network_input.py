"""From a picture of any size to the one uint8 batch that networks take."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class NetworkInputError(ValueError):
    """A picture that cannot be made into a network's input; the message says why."""


def network_input(rgb: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize a picture to what the network was trained on.

    The whole picture is kept and its sides are scaled each by its own factor: a sign at the edge
    must not be cut off, and signs seen at an angle are part of the training.

    Args:
        rgb: uint8 ``(H, W, 3)``, any size.
        size: height and width of the network's input.

    Returns:
        uint8 ``(1, height, width, 3)``, contiguous; it may share its memory with ``rgb``.

    Raises:
        NetworkInputError: if the picture has another shape or dtype, or the size is not positive.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise NetworkInputError(f"expected a uint8 array (H, W, 3), got {rgb.dtype} {rgb.shape}")
    height, width = size
    if min(size) < 1:
        raise NetworkInputError(f"the network's input must have positive sides, got {size}")
    if rgb.shape[:2] != (height, width):
        import cv2

        shrinks = rgb.shape[0] >= height and rgb.shape[1] >= width
        # Averaging areas when shrinking: interpolation would skip pixels and turn noise into signs.
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        rgb = np.asarray(cv2.resize(rgb, (width, height), interpolation=how), np.uint8)
    return np.ascontiguousarray(rgb)[None]
