"""What a segmenter's output says: the class of every cell of a map, by the kind of its values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.tasks.options import OptionError

_LARGEST = 1e30
"""What stands for values that are not finite: resizing would spread them over their neighbours."""


class Cells(NamedTuple):
    """A decoded output.

    Attributes:
        class_ids: uint8, of the map's size.
        score: the mean IoU that the probabilities let one expect; 0 if there are none.
    """

    class_ids: NDArray[np.uint8]
    score: float


Decode = Callable[[NDArray[Any]], Cells]


def _planes(output: NDArray[Any], channels_first: bool) -> NDArray[np.float32]:
    """Finite values ``(classes, rows, columns)``, contiguous."""
    values = np.asarray(output[0], np.float32)
    if not channels_first:
        values = values.transpose(2, 0, 1)
    values = np.ascontiguousarray(values)
    if not np.isfinite(values).all():
        values = np.nan_to_num(values, nan=-_LARGEST, posinf=_LARGEST, neginf=-_LARGEST)
    return values


def _most_likely(planes: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The highest plane at every cell of a map of another resolution, interpolated linearly.

    Plane by plane: the whole stack in the map's resolution does not fit a small core's cache.
    """
    import cv2

    def resized(plane: NDArray[np.float32]) -> NDArray[np.float32]:
        if plane.shape == size:
            return plane
        shrinks = plane.shape[0] > size[0] or plane.shape[1] > size[1]
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(plane, size[::-1], interpolation=how), np.float32)

    highest = np.array(resized(planes[0]))
    class_ids = np.zeros(size, np.uint8)
    for number, plane in enumerate(planes[1:], start=1):
        values = resized(plane)
        np.putmask(class_ids, values > highest, number)
        np.maximum(highest, values, out=highest)
    return class_ids


def expected_iou(chances: NDArray[np.float32]) -> float:
    """The mean IoU of the most likely classes if the probabilities are right.

    Of each class that is the most likely one somewhere: the expected number of cells that are of it
    and named so, by that of those that are either; then the mean. Rare classes count as much as
    large ones, as in the mean IoU itself.

    Args:
        chances: float32 ``(classes, rows, columns)``, adding up to 1 over the classes.

    >>> sure = np.array([[[1, 0.5]], [[0, 0.5]]], np.float32)
    >>> expected_iou(sure)
    0.75
    """
    classes = len(chances)
    flat = chances.reshape(classes, -1)
    named = flat.argmax(0)
    count = np.bincount(named, minlength=classes)
    highest = flat[named, np.arange(flat.shape[1])]
    both = np.bincount(named, weights=highest, minlength=classes)
    either = count + flat.sum(1) - both
    there = count > 0
    return float(np.clip((both[there] / either[there]).mean(), 0.0, 1.0))


def _softmax(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    scaled = np.exp(planes - planes.max(0))
    return np.asarray(scaled / scaled.sum(0), np.float32)


def _scores(
    decoder: str,
    shape: tuple[int, ...],
    classes: int,
    size: tuple[int, int],
    chances_of: Callable[[NDArray[np.float32]], NDArray[np.float32]],
) -> Decode:
    channels_first = len(shape) == 4 and shape[:2] == (1, classes)
    if not channels_first and not (len(shape) == 4 and (shape[0], shape[3]) == (1, classes)):
        raise OptionError(
            f"the decoder {decoder!r} with {classes} classes reads (1, {classes}, rows, columns) "
            f"or (1, rows, columns, {classes}), the output has the shape {shape}: check --labels, "
            "or choose another --decoder"
        )

    def decode(output: NDArray[Any]) -> Cells:
        planes = _planes(output, channels_first)
        return Cells(_most_likely(planes, size), expected_iou(chances_of(planes)))

    return decode


def _logits(shape: tuple[int, ...], classes: int, size: tuple[int, int]) -> Decode:
    """Scores of the classes before the softmax, at any resolution."""
    return _scores("logits", shape, classes, size, _softmax)


def _probabilities(shape: tuple[int, ...], classes: int, size: tuple[int, int]) -> Decode:
    """Scores of the classes after the softmax, at any resolution."""

    def chances(planes: NDArray[np.float32]) -> NDArray[np.float32]:
        positive = np.maximum(planes, 0)
        return positive / np.maximum(positive.sum(0), np.float32(1e-6))

    return _scores("probabilities", shape, classes, size, chances)


def _class_ids(shape: tuple[int, ...], classes: int, size: tuple[int, int]) -> Decode:
    """Indices of the classes: the network has compared the scores itself."""
    squeezed = shape
    if len(shape) == 4 and 1 in (shape[1], shape[3]):
        squeezed = shape[:1] + (shape[2:] if shape[1] == 1 else shape[1:3])
    if len(squeezed) != 3 or squeezed[0] != 1:
        raise OptionError(
            "the decoder 'class_ids' reads (1, rows, columns) or (1, 1, rows, columns), the output "
            f"has the shape {shape}: choose another --decoder"
        )

    def decode(output: NDArray[Any]) -> Cells:
        import cv2

        given = np.asarray(output).reshape(squeezed[1:])
        if not np.issubdtype(given.dtype, np.integer):
            given = np.nan_to_num(given, nan=0.0)
        class_ids = np.clip(given, 0, classes - 1).astype(np.uint8)
        if class_ids.shape != size:
            resized = cv2.resize(class_ids, size[::-1], interpolation=cv2.INTER_NEAREST)
            class_ids = np.asarray(resized, np.uint8)
        return Cells(class_ids, 0.0)

    return decode


DECODERS: Mapping[str, Callable[[tuple[int, ...], int, tuple[int, int]], Decode]] = {
    "logits": _logits,
    "probabilities": _probabilities,
    "class_ids": _class_ids,
}
"""By the name that a model's card gives."""


def make_decoder(
    decoder: str, shapes: Sequence[tuple[int, ...]], classes: int, size: tuple[int, int]
) -> Decode:
    """The decoder of that name, if it fits an exit's outputs.

    Args:
        decoder: a key of ``DECODERS``.
        shapes: of the exit's outputs.
        classes: how many classes there are names for.
        size: rows and columns of the class map to make.

    Raises:
        OptionError: if there is no such decoder, or the outputs are of another shape.
    """
    if decoder not in DECODERS:
        raise OptionError(f"there is no decoder {decoder!r}; choose from {', '.join(DECODERS)}")
    if len(shapes) != 1:
        raise OptionError(
            f"the decoder {decoder!r} reads one output, the exit has {len(shapes)} of shapes "
            f"{list(shapes)}: name the one with --exit"
        )
    return DECODERS[decoder](shapes[0], classes, size)
