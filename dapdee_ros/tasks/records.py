"""Answers and truths as run logs hold them, JSON values, and how they are judged. No torch."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dapdee_ros.codecs.class_maps import inflated_map
from dapdee_ros.datasets.frame_source import UNLABELLED
from dapdee_ros.tasks.average_precision import DetectionEvaluator
from dapdee_ros.tasks.classification import Classifier
from dapdee_ros.tasks.detection import Detections, Detector
from dapdee_ros.tasks.evaluation import AccuracyEvaluator, Evaluator
from dapdee_ros.tasks.mean_iou import SegmentationEvaluator
from dapdee_ros.tasks.segmentation import ClassMap, Segmenter

Record = int | list[Any] | str
"""A class's index; or ``[class, score, left, top, right, bottom]`` of each object; or a class map
as a text, ``HxW`` and its deflated rows in base 64."""

_MOST_PIXELS = 1 << 26

NO_ANSWER = -1
"""Record of a frame without an answer, whatever the task."""


def _class_of(record: Record, classes: int) -> int:
    if not isinstance(record, int) or record >= classes:
        raise ValueError(f"{record!r} is not the number of one of {classes} classes")
    return record


def _objects_of(record: Record, classes: int) -> Detections:
    if not isinstance(record, list) or not all(_is_object(row, classes) for row in record):
        raise ValueError(
            f"{str(record)[:80]} is no list of [class, score, left, top, right, bottom] with "
            f"{classes} classes"
        )
    rows = np.array(record, np.float64).reshape(-1, 6)
    return Detections(rows[:, 2:], rows[:, 1], rows[:, 0])


def _map_of(record: Record, classes: int) -> ClassMap:
    size, _, coded = record.partition(" ") if isinstance(record, str) else ("", "", "")
    height, _, width = size.partition("x")
    try:
        rows, columns = int(height), int(width)
        if not 0 < rows * columns <= _MOST_PIXELS:
            raise ValueError(size)
        found = inflated_map(base64.b64decode(coded, validate=True), (rows, columns))
    except ValueError as error:
        raise ValueError(f"{str(record)[:40]!r} is no class map in base 64") from error
    if found[found != UNLABELLED].max(initial=0) >= classes:
        raise ValueError(f"a class map holds a class that is not one of {classes}")
    return ClassMap(found)


def _is_object(row: Any, classes: int) -> bool:
    return (
        isinstance(row, list)
        and len(row) == 6
        and all(isinstance(v, int | float) and math.isfinite(v) for v in row)
        and row[0] in range(classes)
    )


@dataclass(frozen=True)
class _Kind:
    read: Callable[[Record, int], Any]
    evaluator: Callable[[Sequence[str]], Evaluator]


_KINDS: Mapping[str, _Kind] = {
    Classifier.name: _Kind(_class_of, AccuracyEvaluator),
    Detector.name: _Kind(_objects_of, DetectionEvaluator),
    Segmenter.name: _Kind(_map_of, SegmentationEvaluator),
}


class Records:
    """Reads the records of one task and judges them.

    >>> records = Records("detection", ["car", "bus"])
    >>> car = [[0, 1.0, 10.0, 10.0, 30.0, 30.0]]
    >>> records.judge([([[0, 0.9, 10, 10, 30, 30]], car), ([], []), (-1, car)]).quality()
    1.0
    """

    def __init__(self, task: str, labels: Sequence[str]) -> None:
        """Prepare.

        Args:
            task: its name.
            labels: names of the model's classes.

        Raises:
            ValueError: if there is no such task.
        """
        if task not in _KINDS:
            raise ValueError(f"there is no task {task!r}, only {', '.join(_KINDS)}")
        self._kind, self._labels = _KINDS[task], list(labels)

    def read(self, record: Record) -> Any | None:
        """The answer or truth that a record holds; None for no answer.

        Raises:
            ValueError: if it is not one of this task and these classes.
        """
        if record == NO_ANSWER:
            return None
        return self._kind.read(record, len(self._labels))

    def evaluator(self) -> Evaluator:
        """A fresh one, for what ``read`` gives."""
        return self._kind.evaluator(self._labels)

    def judge(self, pairs: Sequence[tuple[Record, Record]]) -> Evaluator:
        """An evaluator that has judged these answers by these truths.

        Raises:
            ValueError: as ``read`` does.
        """
        evaluator = self.evaluator()
        for answer, truth in pairs:
            evaluator.add(self.read(answer), self.read(truth))
        return evaluator
