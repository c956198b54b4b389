"""Average precision of detectors as COCO defines it, by pycocotools. No torch, no ROS.

T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; cocodataset.org,
"Detection evaluation". pycocotools is imported with the first frame that is judged.
"""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dapdee_ros.tasks.evaluation import NAN, Evaluator

if TYPE_CHECKING:
    from dapdee_ros.tasks.detection import Detections

MOST_JUDGED = 100
"""Boxes of a frame and class that are judged, the best; COCO's limit."""

_EVERY_AREA = [0.0, 1e10]
_IOU_50 = 0
"""Place of 0.5 among the least overlaps 0.5, 0.55 to 0.95."""

FrameMatches = Mapping[int, Mapping[str, Any]]
"""For each class that a frame has or was said to have: which boxes were found, at each overlap."""


class DetectionEvaluator(Evaluator):
    """Mean average precision over classes: at overlaps of 0.5 to 0.95 (mAP), and at 0.5 (mAP50).

    Classes that no frame has shown yet do not count.

    >>> from dapdee_ros.tasks.detection import Detections
    >>> car = Detections(np.array([[10, 10, 30, 30]]), np.array([1.0]), np.array([0]))
    >>> evaluator = DetectionEvaluator(("car", "truck"))
    >>> evaluator.add(car, car)
    >>> evaluator.figures()
    {'mAP': 1.0, 'mAP50': 1.0, 'AP car': 1.0, 'AP truck': nan}

    Attributes:
        frames: how many frames have been judged.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        """Prepare; the labels are the classes' names."""
        super().__init__(labels)
        self._judged: list[FrameMatches] = []
        self._figures: dict[str, float] | None = None

    def judge(self, answer: Detections, truth: Detections) -> FrameMatches:
        """Which of the answer's boxes are right.

        Args:
            answer: what the model found.
            truth: what is there, in the same pixels; the scores mean nothing.

        Raises:
            ValueError: if the truth names a class that the model does not know.
        """
        known = range(len(self._labels))
        if not all(class_id in known for class_id in truth.class_ids.tolist()):
            raise ValueError(
                f"the truth names the classes {sorted(set(truth.class_ids.tolist()))}, the model "
                f"knows 0 to {len(known) - 1}: is it a truth of other classes?"
            )
        evaluation = _coco_evaluation([0], range(len(self._labels)))
        present = sorted({*truth.class_ids.tolist(), *answer.class_ids.tolist()} & {*known})
        for class_id in present:
            # Numbers from 1 on, because 0 stands for "no match".
            evaluation._gts[0, class_id] = _annotations(truth, class_id)
            evaluation._dts[0, class_id] = _annotations(answer, class_id)
            evaluation.ious[0, class_id] = evaluation.computeIoU(0, class_id)
        return {
            class_id: evaluation.evaluateImg(0, class_id, _EVERY_AREA, MOST_JUDGED)
            for class_id in present
        }

    def add_judged(self, judgement: FrameMatches) -> None:
        """Count a judged frame."""
        self._judged.append(judgement)
        self.frames += 1
        self._figures = None

    def quality(self) -> float:
        """The mAP; NaN before the first box of a truth."""
        return self.figures()["mAP"]

    def figures(self) -> dict[str, float]:
        """``mAP``, ``mAP50``, and ``AP`` of each class; NaN of what no frame has shown yet."""
        if self._figures is None:
            self._figures = self._accumulated()
        return dict(self._figures)

    def _accumulated(self) -> dict[str, float]:
        classes = range(len(self._labels))
        precision = np.full((1, 1, len(self._labels)), -1.0)
        if self._judged:
            evaluation = _coco_evaluation(range(self.frames), classes)
            evaluation.evalImgs = [of.get(class_id) for class_id in classes for of in self._judged]
            evaluation._paramsEval = copy.deepcopy(evaluation.params)
            with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress
                evaluation.accumulate()
            # COCO's tools add the spacing of floats to every divisor.
            precision = np.round(evaluation.eval["precision"][..., 0, 0], 12)
        shown = precision[_IOU_50, 0] > -1
        if not shown.any():
            return dict.fromkeys(("mAP", "mAP50", *(f"AP {name}" for name in self._labels)), NAN)
        of_class = np.where(shown, precision.mean((0, 1)), NAN)
        return {
            "mAP": float(precision[..., shown].mean()),
            "mAP50": float(precision[_IOU_50][:, shown].mean()),
            **{f"AP {name}": float(of_class[place]) for place, name in enumerate(self._labels)},
        }


def _coco_evaluation(frames: Sequence[int], classes: Sequence[int]) -> Any:
    from pycocotools.cocoeval import COCOeval

    evaluation = COCOeval(iouType="bbox")
    parameters = evaluation.params
    parameters.imgIds, parameters.catIds = list(frames), list(classes)
    parameters.areaRng, parameters.areaRngLbl = [_EVERY_AREA], ["all"]
    parameters.maxDets = [MOST_JUDGED]
    return evaluation


def _annotations(found: Detections, class_id: int) -> list[dict[str, Any]]:
    """Boxes of a class as COCO's tools hold them: left, top, width and height."""
    mine = np.flatnonzero(found.class_ids == class_id)
    boxes = found.boxes[mine].astype(np.float64)
    sides = boxes[:, 2:] - boxes[:, :2]
    return [
        {
            "id": number,
            "bbox": [*corner.tolist(), *side.tolist()],
            "area": float(side.prod()),
            "score": float(score),
            "iscrowd": 0,
            "ignore": 0,
        }
        for number, (corner, side, score) in enumerate(
            zip(boxes[:, :2], sides, found.scores[mine], strict=True), start=1
        )
    ]
