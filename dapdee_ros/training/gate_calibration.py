"""Measure exits and gates of detectors and segmenters, and what codecs cost, on held-out frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.exits.calibration import THRESHOLDS
from dapdee_ros.exits.gates import Calibration, CalibrationError, GateCurve
from dapdee_ros.tasks.detection import Detections
from dapdee_ros.tasks.detection_confidence import features_of
from dapdee_ros.tasks.evaluation import Evaluator
from dapdee_ros.tasks.logistic import fit_weights, probability
from dapdee_ros.tasks.segmentation import ClassMap, confidence_features

_BETTER = 0.2
"""Average precision of a frame, times its objects, that makes an answer better than another.

The mAP is of objects, not of frames: where there are many, less of a difference counts.
"""

_BETTER_IOU = 0.02
"""The same of a frame's mean IoU, which varies less."""


@dataclass(frozen=True)
class JudgedExits:
    """What all exits answered to the same frames, as far as gates need it.

    Attributes:
        judged: for each exit and frame what an evaluator said of the answer.
        alone: how good the answer to that frame is on its own, float64 ``(exits, frames)``.
        features: of the answers' confidences, for each exit float64 ``(frames, F)``.
        weights: how much the frames count, float64 ``(frames,)``.
        better: what makes an answer better than another, in units of ``alone`` times weight.
        right_from: from what on the deepest exit's answer counts as right.
    """

    judged: Sequence[Sequence[Any]]
    alone: NDArray[np.float64]
    features: Sequence[NDArray[np.float64]]
    weights: NDArray[np.float64]
    better: float
    right_from: float


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
    weights = np.array([max(len(truth), 1) for truth in truths], np.float64)
    exits = JudgedExits(judged, alone, features, weights, better=_BETTER, right_from=0.5)
    return _calibrated(exits, evaluator, model_id, data)


def calibrate_segmenter(
    frames: Iterable[tuple[Sequence[ClassMap], ClassMap]],
    *,
    evaluator: Callable[[], Evaluator],
    model_id: str,
    data: str,
) -> Calibration:
    """As ``calibrate_detector``, frame by frame: class maps are too large to keep them all.

    Args:
        frames: for each frame what the exits answer, shallowest first, and what it shows.
        evaluator: makes an evaluator of the model's answers.
        model_id: the model that answered.
        data: description of the frames.

    Raises:
        CalibrationError: if there are fewer than 4 frames.
    """
    judge = evaluator().judge
    judged: list[list[Any]] = []
    alone: list[list[float]] = []
    features: list[list[NDArray[np.float64]]] = []
    for answers, truth in frames:
        judgements = [judge(answer, truth) for answer in answers]
        judged.append(judgements)
        alone.append([_iou_alone(judgement, evaluator) for judgement in judgements])
        features.append([confidence_features(answer.score) for answer in answers])
    if len(judged) < 4:
        raise CalibrationError(f"calibration needs at least 4 frames, got {len(judged)}")
    exits = JudgedExits(
        list(zip(*judged, strict=True)),
        np.array(alone).T,
        [np.stack(of_exit) for of_exit in zip(*features, strict=True)],
        np.ones(len(judged)),
        better=_BETTER_IOU,
        right_from=0.75,
    )
    return _calibrated(exits, evaluator, model_id, data)


def _iou_alone(judgement: Any, evaluator: Callable[[], Evaluator]) -> float:
    """The mean IoU of one frame; 1 if nothing of it is known."""
    one = evaluator()
    one.add_judged(judgement)
    quality = one.quality()
    return 1.0 if np.isnan(quality) else quality


def _calibrated(
    exits: JudgedExits, evaluator: Callable[[], Evaluator], model_id: str, data: str
) -> Calibration:
    """Confidences and gate curves; see ``calibrate_detector``."""
    judged, alone, features = exits.judged, exits.alone, exits.features
    count = alone.shape[1]
    # The deepest exit is never worse than itself: its weights say how right it is.
    right = [(alone[-1] - of_exit) * exits.weights <= exits.better for of_exit in alone[:-1]]
    right.append(alone[-1] >= exits.right_from)
    fitted, measured = np.arange(0, count, 2), np.arange(1, count, 2)

    def quality(chosen: Sequence[Any]) -> float:
        fresh = evaluator()
        for judgement in chosen:
            fresh.add_judged(judgement)
        return round(fresh.quality(), 6)

    own = tuple(quality([of_exit[int(k)] for k in measured]) for of_exit in judged)
    if not np.isfinite(own).all():
        raise CalibrationError("none of the frames shows an object that the model knows")
    gates: dict[int, GateCurve] = {}
    for gate in range(1, len(judged)):
        here = gate - 1
        weights = fit_weights(features[here][fitted], right[here][fitted])
        sure = np.array([probability(weights, row) for row in features[here][measured]])
        stops = [sure >= threshold for threshold in THRESHOLDS]
        gates[gate] = GateCurve(
            thresholds=THRESHOLDS,
            share=tuple(round(float(stop.mean()), 6) for stop in stops),
            quality={
                later: _curve(stops, judged[here], judged[later - 1], measured, quality)
                for later in range(gate + 1, len(judged) + 1)
            },
        )
    return Calibration(
        model_id=model_id,
        data=data,
        frames=len(measured),
        exit_quality=own,
        temperatures=(1.0,) * len(judged),
        gates=gates,
        confidences=tuple(fit_weights(f, r) for f, r in zip(features, right, strict=True)),
    )


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
