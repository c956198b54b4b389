"""The task of finding objects: boxes with a class and a score each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.tasks.average_precision import DetectionEvaluator
from dapdee_ros.tasks.decoders import DECODER_OPTIONS, Candidates, Layout, make_decoder
from dapdee_ros.tasks.detection_confidence import FEATURES, decidedness, features_of
from dapdee_ros.tasks.logistic import probability
from dapdee_ros.tasks.options import OptionError, Options
from dapdee_ros.tasks.truth import true_objects

ToSource = Callable[[NDArray[np.float32]], NDArray[np.float32]]

MOST_BOXES = 300
"""Most boxes that an answer holds; COCO's evaluation reads 100."""

_MOST_CANDIDATES = 4096
_MOST_SCORE = 1.001
"""Scores travel as float32, which may round 1 up."""

OPTIONS = ("name", "decoder", "score", "iou", "most_boxes", *DECODER_OPTIONS)
SCORE, IOU = 0.25, 0.6


@dataclass(frozen=True, eq=False)
class Detections:
    """What one exit finds in one frame, best first; the arrays cannot be written to.

    Attributes:
        boxes: float32 ``(n, 4)``: left, top, right, bottom in pixels of the network's input.
        scores: float32 ``(n,)``, 0 to 1.
        class_ids: int32 ``(n,)``.
        sure: how sure the exit is of them, if it is calibrated; it does not travel.

    >>> found = Detections(np.array([[0, 0, 4, 8]]), np.array([0.5]), np.array([2]))
    >>> len(found), found.boxes.dtype.name, found == Detections(*found.arrays)
    (1, 'float32', True)
    """

    boxes: NDArray[Any] = field(default_factory=lambda: np.empty((0, 4), np.float32))
    scores: NDArray[Any] = field(default_factory=lambda: np.empty(0, np.float32))
    class_ids: NDArray[Any] = field(default_factory=lambda: np.empty(0, np.int32))
    sure: float | None = None

    def __post_init__(self) -> None:
        for name, dtype in (("boxes", np.float32), ("scores", np.float32), ("class_ids", np.int32)):
            array = np.array(getattr(self, name), dtype)
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        if self.boxes.shape != (len(self), 4) or self.class_ids.shape != self.scores.shape:
            raise ValueError(
                f"boxes {self.boxes.shape}, scores {self.scores.shape} and classes "
                f"{self.class_ids.shape} are not of the same objects"
            )

    @property
    def arrays(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Boxes, scores and classes."""
        return self.boxes, self.scores, self.class_ids

    def __len__(self) -> int:
        return self.scores.size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Detections) and all(
            np.array_equal(a, b) for a, b in zip(self.arrays, other.arrays, strict=True)
        )

    def __hash__(self) -> int:
        return hash(tuple(array.tobytes() for array in self.arrays))


class Detector:
    """Finds objects from a detector's outputs.

    >>> options = {"decoder": "yolo", "score": 0.5}
    >>> task = Detector(("cat", "dog"), options, [[(1, 2, 7)]], (64, 64))
    >>> rows = [[[32, 32, 10, 20, 0.9, 0.1, 0.8], [9, 9, 4, 4, 0.1, 0.5, 0.5]]]
    >>> found = task.decode([np.array(rows, np.float32)], 1)
    >>> found.boxes.tolist(), found.class_ids.tolist(), round(float(found.scores[0]), 3)
    ([[27.0, 22.0, 37.0, 42.0]], [1], 0.72)

    Attributes:
        name: ``detection``.
        quality_name: ``mAP``.
        labels: the classes' names.
        score: least score of a box.
    """

    name = "detection"
    quality_name = "mAP"

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
            options: ``decoder`` and what it reads (``tasks.decoders``); ``score``: least score of
                a box; ``iou``: boxes of one class that overlap by more are one object;
                ``most_boxes``: how many are kept, the best.
            shapes: of each exit's outputs.
            size: height and width of the network's input in pixels.
            confidences: of each exit the weights of ``detection_confidence.FEATURES``; none if the
                exits are not calibrated.

        Raises:
            OptionError: if an option is unknown or wrong, or does not fit the outputs.
        """
        unknown = sorted(set(options) - set(OPTIONS))
        if unknown:
            raise OptionError(f"a detector has no options {unknown}; it has {list(OPTIONS)}")
        if not labels:
            raise OptionError("a detector needs the names of its classes (--labels)")
        if confidences and {len(of) for of in confidences} != {len(FEATURES)}:
            raise OptionError(
                f"the exits' confidences have {[len(of) for of in confidences]} weights, expected "
                f"{len(FEATURES)} each: calibrate the model again"
            )
        self.labels = tuple(labels)
        self._size = size
        self._confidences = tuple(confidences)
        numbers = Options(options)
        self.score = numbers.share("score", SCORE)
        self._iou = numbers.share("iou", IOU)
        self._most = min(MOST_BOXES, int(numbers.positive("most_boxes", MOST_BOXES)))
        self._decode = [
            make_decoder(
                options,
                Layout(tuple(tuple(shape) for shape in of_exit), size, len(self.labels)),
            )
            for of_exit in shapes
        ]

    def decode(self, outputs: Sequence[NDArray[Any]], exit_number: int) -> Detections:
        """The boxes with enough score that are left after non-maximum suppression per class."""
        given = [np.asarray(output, np.float32) for output in outputs]
        with np.errstate(all="ignore"):
            found = self._decode[exit_number - 1](given, self.score)
        answer = self._suppressed(found)
        if not self._confidences:
            return answer
        features = features_of(answer.boxes, answer.scores, self._size)
        sure = probability(self._confidences[exit_number - 1], features)
        return replace(answer, sure=sure)

    def _suppressed(self, found: Candidates) -> Detections:
        import cv2

        height, width = self._size
        right_bottom = np.array([width, height, width, height], np.float32)
        sound = np.isfinite(found.boxes).all(1) & np.isfinite(found.scores)
        order = np.argsort(-found.scores[sound], kind="stable")[:_MOST_CANDIDATES]
        scores, class_ids = found.scores[sound][order], found.class_ids[sound][order]
        boxes = np.clip(found.boxes[sound][order], 0, right_bottom)
        if not len(scores):
            return Detections()
        # Side by side, class by class, so that only boxes of one class overlap.
        apart = (class_ids * (width + 1.0))[:, None] * [1.0, 0.0]
        corners = np.concatenate([boxes[:, :2] + apart, boxes[:, 2:] - boxes[:, :2]], 1)
        left = cv2.dnn.NMSBoxes(corners.tolist(), scores.tolist(), 0.0, self._iou)
        kept = np.asarray(left, np.intp).reshape(-1)[: self._most]
        return Detections(boxes[kept], np.minimum(scores[kept], 1), class_ids[kept])

    def confidence(self, answer: Detections) -> float:
        """The calibrated confidence of an answer that was decoded here.

        Of any other, and without a calibration: how far the boxes' scores are from undecided,
        weighted by the scores; 0 for no box.
        """
        return decidedness(answer.scores) if answer.sure is None else answer.sure

    def record(self, answer: Detections | None) -> Any:
        """``[class, score, left, top, right, bottom]`` of each box, to 1e-4 and 0.01 pixels."""
        if answer is None:
            return -1
        return [
            [class_id, round(score, 4), *(round(side, 2) for side in box)]
            for class_id, score, box in zip(
                answer.class_ids.tolist(),
                answer.scores.tolist(),
                answer.boxes.tolist(),
                strict=True,
            )
        ]

    def fields(self, answer: Detections | None) -> dict[str, Any]:
        """The boxes, and the class of the best one with its name and score."""
        if answer is None or not len(answer):
            return {"class_id": -1}
        return {
            "class_id": int(answer.class_ids[0]),
            "label": self.labels[answer.class_ids[0]],
            "score": float(answer.scores[0]),
            "boxes": tuple(answer.boxes.reshape(-1).tolist()),
            "box_classes": tuple(answer.class_ids.tolist()),
            "box_scores": tuple(answer.scores.tolist()),
        }

    def in_source(self, answer: Detections, to_source: ToSource) -> Detections:
        """The same objects with their boxes in pixels of the image."""
        return replace(answer, boxes=to_source(answer.boxes))

    def answer_in(self, message: Any) -> Detections | None:
        """What the message says, whether or not this model could; None if its lists disagree."""
        count = len(message.box_scores)
        if len(message.boxes) != 4 * count or len(message.box_classes) != count:
            return None
        boxes = np.array(message.boxes, np.float32).reshape(-1, 4)
        return Detections(boxes, np.array(message.box_scores), np.array(message.box_classes))

    def truth_in(self, message: Any) -> Detections | None:
        """The objects that a SceneTruth names, in pixels of the image, of this model's classes."""
        found = true_objects(message, self.labels)
        if found is None:
            return None
        boxes, class_ids = found
        return Detections(boxes, np.ones(len(boxes)), class_ids)

    def misfit(self, answer: Detections | None) -> str:
        """Why an answer cannot be one of this model, in words; empty if it can."""
        if answer is None:
            return "its lists of boxes, classes and scores are not of the same length"
        if len(answer) > MOST_BOXES:
            return f"{len(answer)} boxes, more than {MOST_BOXES}"
        if len(answer) and not (
            answer.class_ids.min() >= 0 and answer.class_ids.max() < len(self.labels)
        ):
            return f"a class that is not among the {len(self.labels)} of the model"
        if not ((answer.scores >= 0) & (answer.scores <= _MOST_SCORE)).all():
            return "a score that is no probability"
        height, width = self._size
        inside = (answer.boxes >= 0) & (answer.boxes <= [width, height, width, height])
        if not inside.all() or not (answer.boxes[:, :2] <= answer.boxes[:, 2:]).all():
            return f"a box that is not inside {height}x{width} pixels"
        return ""

    def evaluator(self) -> DetectionEvaluator:
        """Measures the mean average precision."""
        return DetectionEvaluator(self.labels)
