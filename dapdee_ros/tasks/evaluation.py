"""How good answers are, frame by frame and over many frames. No torch, no ROS."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

NAN = float("nan")


class Evaluator(ABC):
    """Compares answers of one model with the truth and sums up.

    A frame is judged on its own (``judge``), which is most of the work; figures come from any
    number of such judgements. So frames can be mixed from several exits and be judged once.

    Attributes:
        frames: how many frames have been judged.
    """

    frames: int = 0

    def __init__(self, labels: Sequence[str]) -> None:
        """Prepare.

        Args:
            labels: names of the model's classes.
        """
        self._labels = tuple(labels)

    @abstractmethod
    def judge(self, answer: Any, truth: Any) -> Any:
        """What one frame contributes to the figures; opaque, for ``add_judged``.

        Args:
            answer: what the model said.
            truth: what is right, a value of the same kind; places in the same pixels.

        Raises:
            ValueError: if the truth names a class that the model does not know.
        """

    @abstractmethod
    def add_judged(self, judgement: Any) -> None:
        """Count a frame that ``judge`` of this or an equal evaluator has judged."""

    def add(self, answer: Any | None, truth: Any) -> None:
        """Judge a frame and count it. A frame without an answer is not judged: quality is that of
        the answers, and how many frames got one is a figure of its own.

        Raises:
            ValueError: as ``judge`` does.
        """
        if answer is not None:
            self.add_judged(self.judge(answer, truth))

    @abstractmethod
    def quality(self) -> float:
        """The task's figure of merit, 0 to 1; NaN while there is nothing to judge it by."""

    @abstractmethod
    def figures(self) -> dict[str, float]:
        """The figure of merit by its name, and what else the task reports, NaN if not known."""


class AccuracyEvaluator(Evaluator):
    """Share of frames whose class is right.

    >>> evaluator = AccuracyEvaluator(("stop", "yield"))
    >>> for answer, truth in ((0, 0), (1, 0), (None, 1)):
    ...     evaluator.add(answer, truth)
    >>> evaluator.figures()
    {'accuracy': 0.5, 'accuracy stop': 0.5, 'accuracy yield': nan}

    Attributes:
        frames: how many frames have been judged.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        """Prepare; the labels are the classes' names."""
        super().__init__(labels)
        self._seen = [0] * len(self._labels)
        self._right = [0] * len(self._labels)

    def judge(self, answer: Any, truth: Any) -> tuple[int, bool]:
        """The true class, and whether the answer is that.

        Args:
            answer: a ``Classification``, or the index of a class.
            truth: likewise.

        Raises:
            ValueError: if the truth is not a class of the model.
        """
        said, right = (int(getattr(value, "class_id", value)) for value in (answer, truth))
        if right not in range(len(self._labels)):
            raise ValueError(
                f"the true class is {right}, the model knows 0 to {len(self._labels) - 1}: is it "
                "a truth of other classes?"
            )
        return right, said == right

    def add_judged(self, judgement: tuple[int, bool]) -> None:
        """Count a judged frame."""
        label, right = judgement
        self._seen[label] += 1
        self._right[label] += right
        self.frames += 1

    def quality(self) -> float:
        """Share of the judged frames that are right; NaN before the first."""
        return sum(self._right) / self.frames if self.frames else NAN

    def figures(self) -> dict[str, float]:
        """The accuracy, and that of the frames of each class."""
        of_class = {
            f"accuracy {label}": right / seen if seen else NAN
            for label, right, seen in zip(self._labels, self._right, self._seen, strict=True)
        }
        return {"accuracy": self.quality(), **of_class}
