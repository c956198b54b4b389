"""The task of naming one class for each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.exits.gates import softmax
from dapdee_ros.tasks.evaluation import AccuracyEvaluator
from dapdee_ros.tasks.truth import true_label

TOP_K = 5
"""Most classes that an answer names."""

_MOST_SCORE = 1.001
"""Scores travel as float32, which may round 1 up."""


@dataclass(frozen=True)
class Classification:
    """What one exit says of one frame.

    Attributes:
        class_id: index of the most likely class.
        score: its softmax probability, 0 to 1.
        top_classes: the most likely classes, best first.
        top_scores: their probabilities.
    """

    class_id: int
    score: float
    top_classes: tuple[int, ...]
    top_scores: tuple[float, ...]


class Classifier:
    """Names the classes that an exit's logits make likely.

    >>> task = Classifier(("stop", "yield"), (1.0, 2.0))
    >>> answer = task.decode([np.array([[0.0, 3.0]], np.float32)], 2)
    >>> answer.class_id, round(task.confidence(answer), 3), answer.top_classes
    (1, 0.818, (1, 0))
    >>> task.misfit(Classification(7, 0.5, (), ()))
    'a class that is not among the 2 of the model'

    Attributes:
        name: ``classification``.
        quality_name: ``accuracy``.
        labels: the classes' names.
    """

    name = "classification"
    quality_name = "accuracy"

    def __init__(self, labels: Sequence[str], temperatures: Sequence[float]) -> None:
        """Prepare.

        Args:
            labels: the classes' names.
            temperatures: of each exit, by which logits are divided (C. Guo et al., "On Calibration
                of Modern Neural Networks", ICML 2017).
        """
        self.labels = tuple(labels)
        self._temperatures = tuple(temperatures)

    def decode(self, outputs: Sequence[NDArray[np.float32]], exit_number: int) -> Classification:
        """The most likely classes, from one output: logits of shape (1, classes)."""
        (output,) = outputs
        probabilities = softmax(output.reshape(-1), self._temperatures[exit_number - 1])
        best = np.argsort(-probabilities, kind="stable")[:TOP_K]
        return Classification(
            class_id=int(best[0]),
            score=float(probabilities[best[0]]),
            top_classes=tuple(int(c) for c in best),
            top_scores=tuple(float(probabilities[c]) for c in best),
        )

    def confidence(self, answer: Classification) -> float:
        """The largest softmax probability."""
        return answer.score

    def record(self, answer: Classification | None) -> int:
        """The class's index, -1 for no answer."""
        return answer.class_id if answer is not None else -1

    def fields(self, answer: Classification | None) -> dict[str, Any]:
        """The class with its name, the most likely ones, and their probabilities."""
        if answer is None:
            return {"class_id": -1}
        return {
            "class_id": answer.class_id,
            "label": self.labels[answer.class_id],
            "score": answer.score,
            "top_classes": answer.top_classes,
            "top_scores": answer.top_scores,
        }

    def in_source(self, answer: Classification, to_source: object) -> Classification:
        """The same: a class has no place."""
        return answer

    def answer_in(self, message: Any) -> Classification | None:
        """What the message says, whether or not this model could; None if it names no class."""
        if message.class_id < 0:
            return None
        return Classification(
            class_id=message.class_id,
            score=message.score,
            top_classes=tuple(message.top_classes),
            top_scores=tuple(message.top_scores),
        )

    def truth_in(self, message: Any) -> Classification | None:
        """The class that a SceneTruth names; None if this model has no class of that name."""
        label = true_label(message, self.labels)
        return None if label is None else Classification(label, 1.0, (label,), (1.0,))

    def misfit(self, answer: Classification | None) -> str:
        """Why an answer cannot be one of this model, in words; empty if it can."""
        if answer is None:
            return "it names no class"
        known = range(len(self.labels))
        named = (answer.class_id, *answer.top_classes[: TOP_K + 1])
        if not all(class_id in known for class_id in named):
            return f"a class that is not among the {len(known)} of the model"
        if len(answer.top_classes) > TOP_K or len(answer.top_scores) != len(answer.top_classes):
            return f"{len(answer.top_classes)} classes with {len(answer.top_scores)} scores"
        if not all(0 <= score <= _MOST_SCORE for score in (answer.score, *answer.top_scores)):
            return "a score that is no probability"
        return ""

    def evaluator(self) -> AccuracyEvaluator:
        """Counts answers that name the true class."""
        return AccuracyEvaluator(self.labels)
