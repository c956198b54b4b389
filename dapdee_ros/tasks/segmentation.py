"""The task of naming a class for every pixel: a class map."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.codecs.class_maps import MOST_CELLS, ClassMapError, deflated_map, inflated_map
from dapdee_ros.datasets.frame_source import UNLABELLED
from dapdee_ros.tasks.logistic import probability
from dapdee_ros.tasks.mean_iou import SegmentationEvaluator
from dapdee_ros.tasks.options import OptionError, Options
from dapdee_ros.tasks.segment_decoders import Cells, make_decoder
from dapdee_ros.tasks.truth import true_class_map

ToSource = Callable[[NDArray[np.float32]], NDArray[np.float32]]

MOST_CLASSES = UNLABELLED

OPTIONS = ("name", "decoder", "cell_px")
_MOST_SCORE = 1.001
"""Scores travel as float32, which may round 1 up."""


@dataclass(frozen=True, eq=False)
class ClassMap:
    """What one exit says of every place of one frame; the array cannot be written to.

    Attributes:
        class_ids: uint8 ``(H, W)``: index of each cell's class. Of an answer about a network's
            input each cell is ``cell_px`` pixels wide and high; of one about an image, and of the
            truth, one pixel. ``UNLABELLED`` occurs only in the truth.
        score: the mean IoU that the probabilities let one expect, 0 to 1; 0 if it is not known.
        sure: the calibrated confidence of an answer that was decoded here, which no message holds.

    >>> ClassMap(np.zeros((2, 3))) == ClassMap(np.zeros((2, 3)), 0.5), ClassMap(np.ones((1, 2)))
    (False, ClassMap(class_ids=array([[1, 1]], dtype=uint8), score=0.0))
    """

    class_ids: NDArray[Any]
    score: float = 0.0
    sure: float | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        class_ids = np.asarray(self.class_ids, np.uint8)
        if class_ids.ndim != 2 or not class_ids.size:
            raise ValueError(f"a class map has rows and columns, got the shape {class_ids.shape}")
        if class_ids.flags.writeable:
            class_ids = class_ids.copy()
            class_ids.setflags(write=False)
        object.__setattr__(self, "class_ids", class_ids)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ClassMap)
            and self.score == other.score
            and np.array_equal(self.class_ids, other.class_ids)
        )

    def __hash__(self) -> int:
        return hash((self.score, self.class_ids.shape, self.class_ids.tobytes()))

    def commonest(self) -> int:
        """The class of most cells, the lowest of several; -1 if all are ``UNLABELLED``."""
        counts = np.bincount(self.class_ids.reshape(-1), minlength=UNLABELLED + 1)[:UNLABELLED]
        return int(counts.argmax()) if counts.any() else -1


class Segmenter:
    """Names the class of every place from a network's scores.

    >>> task = Segmenter(("road", "car"), {"cell_px": 2}, [[(1, 2, 1, 2)]], (2, 4))
    >>> answer = task.decode([np.array([[[[1, 0]], [[0, 2]]]], np.float32)], 1)
    >>> answer.class_ids.tolist(), round(answer.score, 2)
    ([[0, 1]], 0.67)

    Attributes:
        name: ``segmentation``.
        quality_name: ``mean IoU``.
        labels: the classes' names.
        map_size: rows and columns of an answer's map.
    """

    name = "segmentation"
    quality_name = "mean IoU"

    def __init__(
        self,
        labels: Sequence[str],
        options: Mapping[str, Any],
        shapes: Sequence[Sequence[Sequence[int]]],
        size: tuple[int, int],
        confidences: Sequence[Sequence[float]] = (),
    ) -> None:
        """Prepare.

        Args:
            labels: the classes' names.
            options: ``decoder``: what the outputs hold (``tasks.segment_decoders``); ``cell_px``:
                pixels of the network's input per cell of a class map, 1 unless given.
            shapes: of each exit's outputs.
            size: height and width of the network's input in pixels.
            confidences: of each exit the weights of ``confidence_features``; none if the exits are
                not calibrated.

        Raises:
            OptionError: if an option is unknown or wrong, or does not fit the outputs.
        """
        unknown = sorted(set(options) - set(OPTIONS))
        if unknown:
            raise OptionError(f"a segmenter has no options {unknown}; it has {list(OPTIONS)}")
        if not 1 <= len(labels) <= MOST_CLASSES:
            raise OptionError(
                f"a segmenter needs the names of 1 to {MOST_CLASSES} classes (--labels), got "
                f"{len(labels)}"
            )
        if any(len(of) != len(confidence_features(0.5)) for of in confidences):
            raise OptionError(
                f"the exits' confidences have {[len(of) for of in confidences]} weights, expected "
                f"{len(confidence_features(0.5))} each: calibrate the model again"
            )
        self._confidences = tuple(confidences)
        self.labels = tuple(labels)
        self._size = size
        self.map_size = _map_size(Options(options).positive("cell_px", 1.0), size)
        decoder = str(options.get("decoder", "logits"))
        self._decode = [
            make_decoder(decoder, [tuple(shape) for shape in of], len(labels), self.map_size)
            for of in shapes
        ]

    def decode(self, outputs: Sequence[NDArray[Any]], exit_number: int) -> ClassMap:
        """The most likely class of every cell."""
        cells: Cells = self._decode[exit_number - 1](outputs[0])
        sure = None
        if self._confidences:
            features = confidence_features(cells.score)
            sure = probability(self._confidences[exit_number - 1], features)
        return ClassMap(cells.class_ids, cells.score, sure)

    def confidence(self, answer: ClassMap) -> float:
        """The calibrated confidence of an answer that was decoded here.

        Of any other, and without a calibration: the mean IoU that the probabilities let one expect.
        """
        return answer.score if answer.sure is None else answer.sure

    def record(self, answer: ClassMap | None) -> Any:
        """``HxW`` and the map, deflated, in base 64."""
        if answer is None:
            return -1
        height, width = answer.class_ids.shape
        deflated = deflated_map(answer.class_ids)
        return f"{height}x{width} {base64.b64encode(deflated).decode()}"

    def fields(self, answer: ClassMap | None) -> dict[str, Any]:
        """The map, and the class that covers most of it with its name."""
        if answer is None:
            return {"class_id": -1}
        most = answer.commonest()
        return {
            "class_id": most,
            "label": self.labels[most],
            "score": answer.score,
            "class_map": answer.class_ids,
        }

    def in_source(self, answer: ClassMap, to_source: ToSource) -> ClassMap:
        """The map of the image: each of its pixels has the class of the cell that it lies in."""
        rows, columns = answer.class_ids.shape
        height, width = self._size
        # Where the cells' borders lie in the image; padding around it has no width there.
        borders = np.zeros((max(rows, columns) + 1, 4), np.float32)
        borders[: rows + 1, 3] = np.linspace(0, height, rows + 1)
        borders[: columns + 1, 2] = np.linspace(0, width, columns + 1)
        moved = to_source(borders)
        row_of = _cell_of(moved[: rows + 1, 3])
        column_of = _cell_of(moved[: columns + 1, 2])
        return replace(answer, class_ids=answer.class_ids[row_of][:, column_of])

    def answer_in(self, message: Any) -> ClassMap | None:
        """What the message says, whether or not this model could; None if it holds no map."""
        if len(message.deflated_class_map):
            try:
                found = inflated_map(message.deflated_class_map, self.map_size)
            except ClassMapError:
                return None
            return ClassMap(found, message.score)
        image = message.class_map
        height, width, step = image.height, image.width, image.step
        if not height or not width or step < width or len(image.data) < step * height:
            return None
        rows = np.frombuffer(image.data, np.uint8, step * height).reshape(height, step)
        return ClassMap(rows[:, :width], message.score)

    def truth_in(self, message: Any) -> ClassMap | None:
        """The class map that a SceneTruth holds, in the model's own classes."""
        found = true_class_map(message, self.labels)
        return None if found is None else ClassMap(found)

    def misfit(self, answer: ClassMap | None) -> str:
        """Why an answer cannot be one of this model, in words; empty if it can."""
        rows, columns = self.map_size
        if answer is None or answer.class_ids.shape != self.map_size:
            return f"it holds no class map of {rows}x{columns} cells"
        if answer.class_ids.max() >= len(self.labels):
            return f"a class that is not among the {len(self.labels)} of the model"
        if not 0 <= answer.score <= _MOST_SCORE:
            return "a score that is no share"
        return ""

    def evaluator(self) -> SegmentationEvaluator:
        """Judges by the mean IoU."""
        return SegmentationEvaluator(self.labels)


def confidence_features(score: float) -> NDArray[np.float64]:
    """What the calibrated confidence of an answer is computed from: a constant, and its score.

    As J. Platt, "Probabilistic Outputs for Support Vector Machines", 1999; the score as log odds.
    """
    inside = min(max(score, 1e-3), 1 - 1e-3)
    return np.array([1.0, np.log(inside / (1 - inside))])


def _map_size(cell_px: float, size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of a map with such cells."""
    if cell_px != int(cell_px) or any(side % int(cell_px) for side in size):
        raise OptionError(
            f"the option 'cell_px' is {cell_px:g}, expected a whole number that divides the "
            f"network's input of {size[0]}x{size[1]} pixels"
        )
    rows, columns = (side // int(cell_px) for side in size)
    if rows * columns > MOST_CELLS:
        raise OptionError(
            f"a class map of {rows}x{columns} cells is too large for the link, the most is "
            f"{MOST_CELLS}: choose a larger 'cell_px' (--option cell_px=4)"
        )
    return rows, columns


def _cell_of(borders: NDArray[np.float32]) -> NDArray[np.intp]:
    """For every pixel of an image's side the cell that its middle lies in.

    Args:
        borders: of the cells in pixels of the image, rising from 0 to its length.
    """
    middles = np.arange(max(1, round(float(borders[-1])))) + 0.5
    found = np.searchsorted(borders, middles, side="right") - 1
    return np.clip(found, 0, len(borders) - 2)
