"""Mean IoU of segmenters over all frames together. No torch, no ROS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.datasets.frame_source import UNLABELLED, resized_map
from dapdee_ros.tasks.evaluation import NAN, Evaluator

if TYPE_CHECKING:
    from dapdee_ros.tasks.segmentation import ClassMap

PixelCounts = NDArray[np.int64]
"""``(3, classes)``: pixels of each class named rightly, named at all, and true."""


class SegmentationEvaluator(Evaluator):
    """Intersection over union of each class, counted over all frames, and the mean over classes.

    M. Everingham et al., "The Pascal Visual Object Classes Challenge: A Retrospective", IJCV 2015,
    section 2.4. Pixels whose truth is unknown do not count, nor do classes that no frame has shown
    yet.

    >>> from dapdee_ros.tasks.segmentation import ClassMap
    >>> evaluator = SegmentationEvaluator(("road", "car", "tree"))
    >>> evaluator.add(ClassMap([[0, 0, 1, 1]]), ClassMap([[0, 0, 0, 1]]))
    >>> {name: round(value, 3) for name, value in evaluator.figures().items()}
    {'mean IoU': 0.583, 'IoU road': 0.667, 'IoU car': 0.5, 'IoU tree': nan}

    Attributes:
        frames: how many frames have been judged.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        """Prepare; the labels are the classes' names."""
        super().__init__(labels)
        self._counts = np.zeros((3, len(self._labels)), np.int64)

    def judge(self, answer: ClassMap, truth: ClassMap) -> PixelCounts:
        """How many pixels of each class are right.

        Args:
            answer: what the model said.
            truth: what is there. If it has other rows and columns, both maps are of the same
                image, and each of its pixels is compared with the cell that its middle lies in.

        Raises:
            ValueError: if the truth names a class that the model does not know.
        """
        classes = len(self._labels)
        right, said = truth.class_ids, resized_map(answer.class_ids, truth.class_ids.shape)
        known = right != UNLABELLED
        right, said = right[known].astype(np.int64), said[known]
        if right.size and right.max() >= classes:
            raise ValueError(
                f"the truth names the class {right.max()}, the model knows 0 to {classes - 1}: is "
                "it a truth of other classes?"
            )
        # What the model does not know cannot be right, but takes the place of what would be.
        said = np.minimum(said, classes)
        pairs = np.bincount(right * (classes + 1) + said, minlength=classes * (classes + 1))
        table = pairs.reshape(classes, classes + 1)
        return np.stack([table[:, :classes].diagonal(), table[:, :classes].sum(0), table.sum(1)])

    def add_judged(self, judgement: PixelCounts) -> None:
        """Count a judged frame."""
        self._counts += judgement
        self.frames += 1

    def quality(self) -> float:
        """The mean IoU; NaN before the first pixel of a truth."""
        return self.figures()["mean IoU"]

    def figures(self) -> dict[str, float]:
        """``mean IoU`` and ``IoU`` of each class; NaN of what no frame has shown yet."""
        both, said, right = self._counts
        shown = right > 0
        of_class = np.where(shown, both / np.maximum(said + right - both, 1), NAN)
        return {
            "mean IoU": float(of_class[shown].mean()) if shown.any() else NAN,
            **{f"IoU {name}": float(of_class[place]) for place, name in enumerate(self._labels)},
        }
