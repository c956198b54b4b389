"""Converts an image of any size to a network's uint8 input batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class NetworkInputError(ValueError):
    """An image that cannot be converted to a network's input; the message says why."""


def network_input(rgb: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize an image to the network's input size.

    The whole image is kept and each side scaled by its own factor: a sign at the edge must not be
    cut off, and training includes signs seen at an angle.

    Args:
        rgb: uint8 ``(H, W, 3)``, any size.
        size: height and width of the network's input.

    Returns:
        uint8 ``(1, height, width, 3)``, contiguous; it may share its memory with ``rgb``.

    Raises:
        NetworkInputError: if the image has another shape or dtype, or the size is not positive.
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
