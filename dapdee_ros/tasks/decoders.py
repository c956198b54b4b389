"""What a detector's outputs say: boxes, scores and classes, by the layout that a name stands for.

All decoders give boxes as corners in pixels of the network's input, before suppression.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.tasks.options import OptionError, Options
from dapdee_ros.tasks.prior_boxes import prior_boxes

Floats = NDArray[np.float32]
Shape = tuple[int, ...]

_LARGEST_EXPONENT = 20.0
"""exp of it is more pixels than any image has."""


class Candidates(NamedTuple):
    """Boxes before suppression.

    Attributes:
        boxes: ``(n, 4)``, left, top, right and bottom in pixels of the network's input.
        scores: ``(n,)``, 0 to 1.
        class_ids: ``(n,)``.
    """

    boxes: Floats
    scores: Floats
    class_ids: NDArray[np.intp]


Decode = Callable[[Sequence[Floats], float], Candidates]
"""From an exit's outputs and the least score to the boxes that have it."""


@dataclass(frozen=True)
class Layout:
    """What a decoder has to fit.

    Attributes:
        shapes: of the exit's outputs, in order.
        size: height and width of the network's input in pixels.
        classes: how many classes there are names for.
    """

    shapes: tuple[Shape, ...]
    size: tuple[int, int]
    classes: int

    def one(self, decoder: str) -> Shape:
        """The shape of the only output.

        Raises:
            OptionError: if there are several.
        """
        if len(self.shapes) != 1:
            raise OptionError(
                f"the decoder {decoder!r} reads one output, the exit has {len(self.shapes)} of "
                f"shapes {list(self.shapes)}: name the one with --exit"
            )
        return self.shapes[0]


def _cells(size: tuple[int, int], strides: Sequence[int]) -> tuple[Floats, Floats]:
    """Left upper corner in cells and stride of every cell of some grids, row by row."""
    corners, of_cell = [], []
    for stride in strides:
        rows, columns = (math.ceil(side / stride) for side in size)
        y, x = np.mgrid[:rows, :columns]
        corners.append(np.stack([x, y], -1).reshape(-1, 2))
        of_cell.append(np.full(rows * columns, stride))
    return np.concatenate(corners).astype(np.float32), np.concatenate(of_cell).astype(np.float32)


def _around(centres: Floats, sides: Floats) -> Floats:
    return np.concatenate([centres - sides / 2, centres + sides / 2], 1)


def _yolox(layout: Layout, options: Options) -> Decode:
    """Rows of x, y, log w, log h (in strides, from their cell on), objectness, class scores.

    Z. Ge et al., "YOLOX: Exceeding YOLO Series in 2021", arXiv 2107.08430; the sigmoids have been
    applied, as its export does.
    """
    strides = options.whole_numbers("strides", (8, 16, 32))
    shape = layout.one("yolox")
    corners, of_cell = _cells(layout.size, strides)
    if shape != (1, len(corners), 5 + layout.classes):
        raise OptionError(
            f"the decoder 'yolox' with strides {list(strides)} and {layout.classes} classes reads "
            f"{(1, len(corners), 5 + layout.classes)}, the output has the shape {shape}: check "
            "--strides and --labels, or choose another --decoder"
        )

    def decode(outputs: Sequence[Floats], least: float) -> Candidates:
        rows = outputs[0][0]
        class_ids = rows[:, 5:].argmax(1)
        scores = rows[:, 4] * rows[np.arange(len(rows)), 5 + class_ids]
        kept = np.flatnonzero(scores >= least)
        stride = of_cell[kept, None]
        centres = (rows[kept, :2] + corners[kept]) * stride
        sides = np.exp(np.minimum(rows[kept, 2:4], _LARGEST_EXPONENT)) * stride
        return Candidates(_around(centres, sides), scores[kept], class_ids[kept])

    return decode


def _yolo(layout: Layout, options: Options) -> Decode:
    """Rows or columns of centre x, y, width, height, perhaps objectness, and class scores.

    The layouts that YOLOv5 to YOLOv7 (with objectness) and YOLOv8 to YOLO11 (without, and
    transposed) export; which one it is shows in the shape. ``box_scale`` is what makes pixels of
    the boxes, 1 unless they are relative to the image.
    """
    box_scale = options.positive("box_scale", 1.0)
    shape, classes = layout.one("yolo"), layout.classes
    widths = (5 + classes, 4 + classes)
    in_rows = len(shape) == 3 and shape[0] == 1 and shape[2] in widths
    if not in_rows and not (len(shape) == 3 and shape[0] == 1 and shape[1] in widths):
        raise OptionError(
            f"the decoder 'yolo' with {classes} classes reads (1, boxes, {5 + classes}) or (1, "
            f"{4 + classes}, boxes), the output has the shape {shape}: check --labels, or choose "
            "another --decoder"
        )
    has_objectness = (shape[2] if in_rows else shape[1]) == 5 + classes

    def decode(outputs: Sequence[Floats], least: float) -> Candidates:
        rows = outputs[0][0] if in_rows else outputs[0][0].T
        first = 5 if has_objectness else 4
        class_ids = rows[:, first:].argmax(1)
        scores = rows[np.arange(len(rows)), first + class_ids]
        if has_objectness:
            scores = scores * rows[:, 4]
        kept = np.flatnonzero(scores >= least)
        boxes = _around(rows[kept, :2], rows[kept, 2:4]) * np.float32(box_scale)
        return Candidates(boxes, scores[kept], class_ids[kept])

    return decode


def _fastestdet(layout: Layout, options: Options) -> Decode:
    """One grid of objectness, offset, size and class scores: ``(1, 5 + classes, rows, columns)``.

    X. Ma, FastestDet (github.com/dog-qiuqiu/FastestDet, utils/tool.py): a box's centre is its cell
    plus tanh of the offset, its sides are sigmoids of the image's, its score is
    objectness^0.6 * class^0.4.
    """
    shape = layout.one("fastestdet")
    if len(shape) != 4 or shape[:2] != (1, 5 + layout.classes):
        raise OptionError(
            f"the decoder 'fastestdet' with {layout.classes} classes reads (1, "
            f"{5 + layout.classes}, rows, columns), the output has the shape {shape}: check "
            "--labels, or choose another --decoder"
        )
    rows, columns = shape[2:]
    y, x = np.mgrid[:rows, :columns].reshape(2, -1).astype(np.float32)
    cells = np.stack([x, y], 1)
    height, width = layout.size
    cell = np.array([width / columns, height / rows], np.float32)
    whole = np.array([width, height], np.float32)

    def decode(outputs: Sequence[Floats], least: float) -> Candidates:
        values = outputs[0][0].reshape(5 + layout.classes, -1).T
        class_ids = values[:, 5:].argmax(1)
        best = values[np.arange(len(values)), 5 + class_ids]
        scores = np.maximum(values[:, 0], 0) ** 0.6 * np.maximum(best, 0) ** 0.4
        kept = np.flatnonzero(scores >= least)
        centres = (cells[kept] + np.tanh(values[kept, 1:3])) * cell
        sides = _sigmoid(values[kept, 3:5]) * whole
        return Candidates(_around(centres, sides), scores[kept].astype(np.float32), class_ids[kept])

    return decode


def _ssd(layout: Layout, options: Options) -> Decode:
    """Offsets of prior boxes ``(1, n, 4)`` and class logits ``(1, n, 1 + classes)``.

    W. Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016; the first class is the
    background. Prior boxes from ``maps`` ([rows, columns] of each), ``scales`` (one more than
    maps, relative to the image) and ``ratios`` (aspect ratios per map beside 1 and their inverses),
    as torchvision makes them; offsets are divided by ``weights``.
    """
    maps = options.pairs("maps")
    priors = prior_boxes(maps, options.numbers("scales"), options.lists("ratios"), layout.size)
    weights = np.array(options.numbers("weights", (10.0, 10.0, 5.0, 5.0)), np.float32)
    wanted = ((1, len(priors), 4), (1, len(priors), 1 + layout.classes))
    if layout.shapes != wanted or weights.shape != (4,) or not (weights > 0).all():
        raise OptionError(
            f"the decoder 'ssd' with these prior boxes, {layout.classes} classes and 4 positive "
            f"weights reads the outputs {list(wanted)}, the exit has {list(layout.shapes)}: check "
            "--labels and the options of the prior boxes"
        )
    centres, sides = (priors[:, :2] + priors[:, 2:]) / 2, priors[:, 2:] - priors[:, :2]

    def decode(outputs: Sequence[Floats], least: float) -> Candidates:
        offsets, logits = outputs[0][0] / weights, outputs[1][0]
        scaled = np.exp(logits - logits.max(1, keepdims=True))
        chances = (scaled / scaled.sum(1, keepdims=True))[:, 1:]
        # A prior box may be several classes, as in torchvision.
        kept, class_ids = np.nonzero(chances >= least)
        moved = centres[kept] + offsets[kept, :2] * sides[kept]
        grown = np.exp(np.minimum(offsets[kept, 2:], _LARGEST_EXPONENT)) * sides[kept]
        return Candidates(_around(moved, grown), chances[kept, class_ids], class_ids)

    return decode


def _sigmoid(values: Floats) -> Floats:
    return (0.5 * (1 + np.tanh(0.5 * values))).astype(np.float32)


DECODERS: Mapping[str, Callable[[Layout, Options], Decode]] = {
    "yolox": _yolox,
    "yolo": _yolo,
    "fastestdet": _fastestdet,
    "ssd": _ssd,
}
"""By the name that a model's card gives."""

DECODER_OPTIONS = ("strides", "box_scale", "maps", "scales", "ratios", "weights")
"""Options that some decoder reads."""


def make_decoder(options: Mapping[str, Any], layout: Layout) -> Decode:
    """The decoder that a card's options name, if it fits the outputs.

    Args:
        options: ``decoder``, and what that one reads.
        layout: of the exit's outputs.

    Raises:
        OptionError: if there is no such decoder, an option is wrong, or the outputs are of another
            layout.
    """
    name = options.get("decoder")
    if not isinstance(name, str) or name not in DECODERS:
        raise OptionError(f"there is no decoder {name!r}; choose from {', '.join(DECODERS)}")
    return DECODERS[name](layout, Options(options))
