"""What answers and truths show of a scene: objects with names, class maps. No ROS here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Box:
    """One object.

    Attributes:
        label: name of its class.
        left: side of its box in pixels of the image; so are the others.
        top: upper side.
        right: right side.
        bottom: lower side.
        score: 0 to 1; NaN of a truth.
    """

    label: str
    left: float
    top: float
    right: float
    bottom: float
    score: float = math.nan


@dataclass(frozen=True, eq=False)
class NamedMap:
    """A class of every place of the image.

    Attributes:
        cells: uint8 ``(H, W)``.
        labels: the classes' names.
    """

    cells: NDArray[np.uint8]
    labels: Sequence[str]


def boxes_of(
    sides: Sequence[float], classes: Sequence[int], scores: Sequence[float], labels: Sequence[str]
) -> tuple[Box, ...]:
    """Boxes as messages hold them; none if the lists disagree.

    Args:
        sides: left, top, right and bottom of each, one after the other.
        classes: of each.
        scores: of each; empty of a truth.
        labels: names of the classes, as far as they are known.
    """
    if len(sides) != 4 * len(classes) or len(scores) not in (0, len(classes)):
        return ()
    corners = np.asarray(sides, np.float64).reshape(-1, 4).tolist()
    of_each = scores if len(scores) else [math.nan] * len(classes)
    return tuple(
        Box(_name(int(number), labels), left, top, right, bottom, float(score))
        for number, (left, top, right, bottom), score in zip(classes, corners, of_each, strict=True)
        if all(map(math.isfinite, (left, top, right, bottom)))
    )


def map_of(image: Any, labels: Sequence[str]) -> NamedMap | None:
    """The class map of an InferenceResult, a mono8 image; None if there is none."""
    height, width, step = image.height, image.width, image.step
    if not height or not width or step < width or len(image.data) < step * height:
        return None
    rows = np.frombuffer(image.data, np.uint8, step * height).reshape(height, step)
    return NamedMap(rows[:, :width], labels)


def _name(number: int, labels: Sequence[str]) -> str:
    return labels[number] if 0 <= number < len(labels) else f"class {number}"


def counted(boxes: Sequence[Box]) -> str:
    """How many of which classes: ``2 car, 1 stop``, the most frequent first."""
    names = [box.label for box in boxes]
    counts = sorted({name: names.count(name) for name in names}.items(), key=lambda item: -item[1])
    return ", ".join(f"{count} {name}" for name, count in counts)
