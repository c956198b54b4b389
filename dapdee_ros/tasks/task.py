"""What every task can do, whatever it answers. No torch, no ROS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.exits.card import MODEL_FILE, ModelCard, ModelFolderError
from dapdee_ros.tasks.classification import Classifier
from dapdee_ros.tasks.detection import Detector
from dapdee_ros.tasks.evaluation import Evaluator
from dapdee_ros.tasks.options import OptionError
from dapdee_ros.tasks.segmentation import Segmenter

ToSource = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""From boxes ``(n, 4)`` in pixels of the network's input to boxes in pixels of the image."""


NO_ANSWER: dict[str, Any] = {
    "class_id": -1,
    "label": "",
    "score": 0.0,
    "top_classes": np.empty(0, np.int32),
    "top_scores": np.empty(0, np.float32),
    "boxes": np.empty(0, np.float32),
    "box_classes": np.empty(0, np.int32),
    "box_scores": np.empty(0, np.float32),
    "class_map": np.empty((0, 0), np.uint8),
}
"""What a task's ``fields`` leaves out: the fields of an InferenceResult without an answer."""


class Task(Protocol):
    """Turns an exit's outputs into an answer, and judges answers.

    An answer is a value of the task's own, immutable; to everybody else it is opaque.

    Attributes:
        name: what the task is called in a model's card.
        quality_name: what its figure of merit is called.
    """

    name: str
    quality_name: str

    def decode(self, outputs: Sequence[NDArray[Any]], exit_number: int) -> Any:
        """An answer from what an exit computed for one frame.

        Args:
            outputs: the exit's outputs in the order of the model, each with a first axis of 1.
            exit_number: which exit it was, 1 is the shallowest.
        """

    def confidence(self, answer: Any) -> float:
        """How sure an answer is, 0 to 1; a gate ends a frame from its threshold on."""

    def record(self, answer: Any | None) -> Any:
        """An answer or a truth as run logs hold it (``tasks.records.Record``); -1 for none."""

    def fields(self, answer: Any | None) -> dict[str, Any]:
        """An answer as the fields of an InferenceResult that belong to the task.

        Texts may be longer than the message allows; sequences are tuples of int or of float. A
        ``class_map`` is uint8 ``(H, W)``: how it travels depends on the way that it goes.
        """

    def in_source(self, answer: Any, to_source: ToSource) -> Any:
        """An answer about the network's input as one about the image it was made from.

        Args:
            answer: with places in pixels of the network's input, if it has any.
            to_source: turns boxes of the input into boxes of the image.
        """

    def answer_in(self, message: Any) -> Any | None:
        """The answer that an InferenceResult holds, or None; nothing about it is trusted."""

    def truth_in(self, message: Any) -> Any | None:
        """What a SceneTruth says, as an answer in this model's own classes about the image.

        None if it says nothing that this task answers; nothing about it is trusted.
        """

    def misfit(self, answer: Any) -> str:
        """Why an answer that came over the network cannot be one of this model, in words.

        Empty if it can. Nothing about the answer is trusted.
        """

    def evaluator(self) -> Evaluator:
        """A fresh evaluator of answers of this model; its truth is as ``Evaluator.judge`` says."""


def task_of(card: ModelCard) -> Task:
    """The task that a model was made for.

    Raises:
        ModelFolderError: if there is no such task, or its options do not fit the model.
    """
    name = card.task["name"]
    if name == Classifier.name:
        calibration = card.calibration
        temperatures = calibration.temperatures if calibration else (1.0,) * len(card.dag.exits)
        return Classifier(card.labels, temperatures)
    if name in (Detector.name, Segmenter.name):
        shapes = [[card.dag.by_name[output].shape for output in of] for of in card.dag.exits]
        confidences = card.calibration.confidences if card.calibration else ()
        kind = Detector if name == Detector.name else Segmenter
        try:
            return kind(card.labels, card.task, shapes, card.input_size, confidences)
        except OptionError as error:
            raise ModelFolderError(f"{card.path / MODEL_FILE}: {error}") from error
    raise ModelFolderError(
        f"{card.path / MODEL_FILE} is for the task {name!r}; this version knows "
        f"{Classifier.name!r}, {Detector.name!r} and {Segmenter.name!r}"
    )
