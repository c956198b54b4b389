"""Converts an image of any size to a network's uint8 input batch, and boxes there and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.datasets.frame_source import UNLABELLED, SourceFrame, Truth, resized_map
from dapdee_ros.exits.image_input import InputSpec


class NetworkInputError(ValueError):
    """An image that cannot be converted to a network's input; the message says why."""


@dataclass(frozen=True)
class Placement:
    """Where an image lies in a network's input.

    Attributes:
        source: height and width of the image in pixels.
        left: where it begins in the input, in pixels of the input.
        top: the same downwards.
        width: what it is resized to, in pixels of the input.
        height: the same for its height.
    """

    source: tuple[int, int]
    left: int
    top: int
    width: int
    height: int

    def to_source(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes of the network's input as boxes of the image.

        Args:
            boxes: ``(n, 4)``, left, top, right and bottom in pixels of the network's input.

        Returns:
            float32 ``(n, 4)`` in pixels of the image, cut at its edges.

        >>> placed = placement((480, 640), InputSpec((320, 320), (0,) * 3, (1,) * 3, "letterbox"))
        >>> placed.to_source(np.array([[0, 40, 160, 300]], np.float32)).tolist()
        [[0.0, 0.0, 320.0, 480.0]]
        """
        height, width = self.source
        scale = np.array([width / self.width, height / self.height] * 2)
        moved = (boxes - np.array([self.left, self.top] * 2)) * scale
        return np.clip(moved, 0, [width, height, width, height]).astype(np.float32)

    def to_input(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes of the image as boxes of the network's input; undoes ``to_source``."""
        height, width = self.source
        scale = np.array([self.width / width, self.height / height] * 2)
        return (boxes * scale + np.array([self.left, self.top] * 2)).astype(np.float32)


def placement(source: tuple[int, int], spec: InputSpec) -> Placement:
    """Where an image of ``source`` (height, width) pixels lies in a network's input."""
    height, width = spec.size
    if spec.resize == "stretch":
        return Placement(source, 0, 0, width, height)
    scale = min(height / source[0], width / source[1])
    inner_height = min(height, max(1, int(source[0] * scale)))
    inner_width = min(width, max(1, int(source[1] * scale)))
    if spec.resize == "letterbox_corner":
        return Placement(source, 0, 0, inner_width, inner_height)
    left, top = (width - inner_width) // 2, (height - inner_height) // 2
    return Placement(source, left, top, inner_width, inner_height)


def network_input(rgb: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.uint8]:
    """Bring an image to the network's input size, stretched or letterboxed.

    The whole image is kept: a sign at the edge must not be cut off.

    Args:
        rgb: uint8 ``(H, W, 3)``, any size.
        spec: how the network wants it.

    Returns:
        uint8 ``(1, height, width, 3)``, contiguous, RGB; it may share its memory with ``rgb``.

    Raises:
        NetworkInputError: if the image has another shape or dtype.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise NetworkInputError(f"expected a uint8 array (H, W, 3), got {rgb.dtype} {rgb.shape}")
    placed = placement((rgb.shape[0], rgb.shape[1]), spec)
    inner = _resized(rgb, placed.height, placed.width)
    if inner.shape[:2] == spec.size:
        return np.ascontiguousarray(inner)[None]
    whole = np.full((1, *spec.size, 3), spec.pad_value, np.uint8)
    bottom, right = placed.top + placed.height, placed.left + placed.width
    whole[0, placed.top : bottom, placed.left : right] = inner
    return whole


def frame_as_input(frame: SourceFrame, spec: InputSpec) -> SourceFrame:
    """An image and what it shows, both as they are in a network's input.

    Where the input is padded nothing is known of surfaces: the class map is ``UNLABELLED``.

    Raises:
        NetworkInputError: if the image has another shape or dtype.
    """
    image, truth = network_input(frame.image, spec)[0], frame.truth
    if truth is None or image.shape == frame.image.shape:
        return SourceFrame(image, truth)
    placed = placement((frame.image.shape[0], frame.image.shape[1]), spec)
    boxes = None if truth.boxes is None else placed.to_input(truth.boxes)
    class_map = None
    if truth.class_map is not None:
        class_map = np.full(spec.size, UNLABELLED, truth.class_map.dtype)
        bottom, right = placed.top + placed.height, placed.left + placed.width
        inner = resized_map(truth.class_map, (placed.height, placed.width))
        class_map[placed.top : bottom, placed.left : right] = inner
    return SourceFrame(image, Truth(truth.label, boxes, truth.box_labels, class_map))


def _resized(rgb: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    if rgb.shape[:2] == (height, width):
        return rgb
    import cv2

    shrinks = rgb.shape[0] >= height and rgb.shape[1] >= width
    # Averaging areas when shrinking: interpolation would skip pixels and turn noise into signs.
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(rgb, (width, height), interpolation=how), np.uint8)
