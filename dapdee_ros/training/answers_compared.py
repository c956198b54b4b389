"""What a codec costs of a quality that is one of many frames, such as an mAP. No torch in here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.exits.codec_losses import Change
from dapdee_ros.tasks.evaluation import Evaluator

_GROUPS = 10
"""Of the frames, each left out once."""


class AnswersCompared:
    """Compares the quality of an exit with and without a codec.

    The standard error of the difference is that of the delete-a-group jackknife (P. Kott, "The
    delete-a-group jackknife", Journal of Official Statistics 17(4), 2001): an mAP is no mean over
    frames, and both answers to a frame are left out together, since most of what varies between
    frames is the same for both.

    Args:
        decode: makes an answer of the exit's outputs.
        truths: what each frame shows.
        evaluator: makes an evaluator of the model's answers.
    """

    def __init__(
        self,
        decode: Callable[[Sequence[NDArray[Any]]], Any],
        truths: Sequence[Any],
        evaluator: Callable[[], Evaluator],
    ) -> None:
        self._decode, self._truths, self._evaluator = decode, truths, evaluator
        self._judge = evaluator().judge
        self._judged: list[tuple[Any, Any]] = []

    def add(self, frame: int, plain: Sequence[NDArray[Any]], coded: Sequence[NDArray[Any]]) -> None:
        """Judge the answers to a frame."""
        truth = self._truths[frame]
        one, other = (self._judge(self._decode(outputs), truth) for outputs in (plain, coded))
        self._judged.append((one, other))

    def change(self) -> Change:
        """What became of the quality; nothing if there is nothing to judge it by."""
        lost = self._lost(self._judged)
        if np.isnan(lost):
            return Change(0.0, 0.0)
        groups = min(_GROUPS, len(self._judged))
        without = np.array(
            [
                self._lost([pair for k, pair in enumerate(self._judged) if k % groups != group])
                for group in range(groups)
            ]
        )
        # A group may hold all that there is to judge by.
        without = without[np.isfinite(without)]
        if len(without) < 2:
            return Change(lost, 0.0)
        error = np.sqrt((len(without) - 1) * without.var())
        return Change(lost, float(min(error, 1.0)))

    def qualities(self) -> tuple[float, float]:
        """The quality without and with the codec, 0 to 1; NaN if there is none."""
        return self._qualities(self._judged)

    def _lost(self, judged: Sequence[tuple[Any, Any]]) -> float:
        plain, coded = self._qualities(judged)
        return plain - coded

    def _qualities(self, judged: Sequence[tuple[Any, Any]]) -> tuple[float, float]:
        plain, coded = self._evaluator(), self._evaluator()
        for one, other in judged:
            plain.add_judged(one)
            coded.add_judged(other)
        return plain.quality(), coded.quality()
