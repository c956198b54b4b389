"""What a bottleneck's answers are compared with: the truth, or the network's own answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.exits.calibration import ClassesCompared
from dapdee_ros.tasks.classification import Classifier
from dapdee_ros.tasks.detection import Detections
from dapdee_ros.tasks.task import Task
from dapdee_ros.training.answers_compared import AnswersCompared
from dapdee_ros.training.bottlenecks.calibration import Comparison, passes
from dapdee_ros.training.bottlenecks.trainee import Trainee
from dapdee_ros.training.task import Frames

_SURE = 0.3
"""Score from which a box that the network finds counts as an object, where nobody knows better."""


def own_answers(trainee: Trainee, frames: Frames, task: Task) -> list[Any]:
    """What the deepest exit answers, in place of a truth; classes' indices of a classifier."""
    deepest = trainee.exits[-1]
    found = []
    for _, outputs in passes(trainee, frames):
        for row in outputs[-1].numpy():
            answer = task.decode([row[None]], deepest)
            if isinstance(answer, Detections):
                sure = answer.scores >= _SURE
                answer = Detections(answer.boxes[sure], answer.scores[sure], answer.class_ids[sure])
            found.append(int(answer.class_id) if task.name == Classifier.name else answer)
    return found


def comparisons(task: Task, truths: Sequence[Any]) -> Callable[[int], Comparison]:
    """Makes comparisons for exits, of answers to frames that show this.

    Args:
        task: the model's.
        truths: answers, or classes' indices of a classifier, one per frame.
    """
    if task.name == Classifier.name:
        labels: NDArray[np.int64] = np.array(truths, np.int64)
        return lambda number: ClassesCompared(labels)
    return lambda number: AnswersCompared(
        lambda outputs: task.decode(outputs, number), truths, task.evaluator
    )
