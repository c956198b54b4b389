"""Measure the exits and gates of a detector, and what codecs cost it, on held-out frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.exits.calibration import THRESHOLDS
from dapdee_ros.exits.gates import Calibration, CalibrationError, GateCurve
from dapdee_ros.tasks.detection import Detections
from dapdee_ros.tasks.detection_confidence import features_of, fit_weights, probability
from dapdee_ros.tasks.evaluation import Evaluator

_BETTER = 0.05
"""Average precision of a frame that makes an answer better than another; less is chance."""


def calibrate_detector(
    answers: Sequence[Sequence[Detections]],
    truths: Sequence[Detections],
    *,
    evaluator: Callable[[], Evaluator],
    size: tuple[int, int],
    model_id: str,
    data: str,
) -> Calibration:
    """Quality, confidence and gate curves from the answers of all exits to the same frames.

    The confidences are fitted on every second frame, and the gates measured with them on the
    others: the share that really stops, and the quality of all when the others really go on. The
    exits' quality is that on the same frames, so that what a gate loses can be told. The
    confidences that are stored are fitted on all frames.

    Args:
        answers: for each exit, shallowest first, what it finds in each frame.
        truths: what each frame shows.
        evaluator: makes an evaluator of the model's answers.
        size: height and width of the network's input in pixels.
        model_id: the model that answered.
        data: description of the frames.

    Raises:
        CalibrationError: if there are fewer than 4 frames or no objects in half of them, or the
            answers are not of the same frames.
    """
    count = len(truths)
    if count < 4 or not answers or any(len(row) != count for row in answers):
        raise CalibrationError(
            f"calibration needs the answers of all exits to the same frames, at least 4, got "
            f"{[len(row) for row in answers]} answers for {count} frames"
        )
    judge = evaluator().judge
    judged = [
        [judge(answer, truth) for answer, truth in zip(row, truths, strict=True)] for row in answers
    ]
    alone = np.array(
        [
            [
                _quality_alone(answer, truth, judgement, evaluator)
                for answer, truth, judgement in zip(row, truths, of_row, strict=True)
            ]
            for row, of_row in zip(answers, judged, strict=True)
        ]
    )
    features = [
        np.stack([features_of(answer.boxes, answer.scores, size) for answer in row])
        for row in answers
    ]
    # The deepest exit is never worse than itself: its weights say how right it is.
    right = [alone[-1] <= of_exit + _BETTER for of_exit in alone[:-1]]
    right.append(alone[-1] >= 0.5)
    fitted, measured = np.arange(0, count, 2), np.arange(1, count, 2)

    def quality(chosen: Sequence[Any]) -> float:
        fresh = evaluator()
        for judgement in chosen:
            fresh.add_judged(judgement)
        return round(fresh.quality(), 6)

    own = tuple(quality([of_exit[k] for k in measured]) for of_exit in judged)
    if not np.isfinite(own).all():
        raise CalibrationError("none of the frames shows an object that the model knows")
    gates: dict[int, GateCurve] = {}
    for gate in range(1, len(answers)):
        here = gate - 1
        weights = fit_weights(features[here][fitted], right[here][fitted])
        sure = np.array([probability(weights, row) for row in features[here][measured]])
        stops = [sure >= threshold for threshold in THRESHOLDS]
        gates[gate] = GateCurve(
            thresholds=THRESHOLDS,
            share=tuple(round(float(stop.mean()), 6) for stop in stops),
            quality={
                later: _curve(stops, judged[here], judged[later - 1], measured, quality)
                for later in range(gate + 1, len(answers) + 1)
            },
        )
    return Calibration(
        model_id=model_id,
        data=data,
        frames=len(measured),
        exit_quality=own,
        temperatures=(1.0,) * len(answers),
        gates=gates,
        confidences=tuple(fit_weights(f, r) for f, r in zip(features, right, strict=True)),
    )


class BoxesCompared:
    """Compares the quality of a detector's exit with and without a codec.

    Args:
        decode: makes an answer of the exit's output.
        truths: what each frame shows.
        evaluator: makes an evaluator of the model's answers.
    """

    def __init__(
        self,
        decode: Callable[[NDArray[Any]], Detections],
        truths: Sequence[Detections],
        evaluator: Callable[[], Evaluator],
    ) -> None:
        self._decode, self._truths = decode, truths
        self._plain, self._coded = evaluator(), evaluator()

    def add(self, frame: int, plain: NDArray[Any], coded: NDArray[Any]) -> None:
        """Judge the answers to a frame."""
        for outputs, into in ((plain, self._plain), (coded, self._coded)):
            into.add(self._decode(outputs), self._truths[frame])

    def changes(self) -> tuple[int, int]:
        """As many frames as the lost mAP is worth, and as many as the one won."""
        lost = self._plain.quality() - self._coded.quality()
        frames = 0 if np.isnan(lost) else round(lost * self._plain.frames)
        return max(frames, 0), max(-frames, 0)


def _curve(
    stops: Sequence[NDArray[np.bool_]],
    early: Sequence[Any],
    late: Sequence[Any],
    measured: NDArray[np.int64],
    quality: Callable[[Sequence[Any]], float],
) -> tuple[float, ...]:
    """The quality of all frames for each choice of those that stop."""
    found: list[float] = []
    for place, stop in enumerate(stops):
        if place and (stop == stops[place - 1]).all():
            found.append(found[-1])
            continue
        pairs = zip(stop, measured, strict=True)
        found.append(quality([early[k] if ends else late[k] for ends, k in pairs]))
    return tuple(found)


def _quality_alone(
    answer: Detections, truth: Detections, judgement: Any, evaluator: Callable[[], Evaluator]
) -> float:
    """How good the answer to one frame is, 0 to 1."""
    if not len(truth):
        return 1.0 - float(answer.scores.max()) if len(answer) else 1.0
    one = evaluator()
    one.add_judged(judgement)
    return one.quality()
