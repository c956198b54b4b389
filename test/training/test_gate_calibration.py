"""Gates of detectors: confidence fitted on some frames, what stops and what it costs on others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from dapdee_ros.exits.gates import Calibration, CalibrationError
from dapdee_ros.tasks.average_precision import DetectionEvaluator
from dapdee_ros.tasks.detection import Detections, Detector
from dapdee_ros.tasks.detection_confidence import FEATURES, features_of
from dapdee_ros.tasks.logistic import fit_weights, probability
from dapdee_ros.tasks.options import OptionError
from dapdee_ros.tasks.segmentation import ClassMap, Segmenter
from dapdee_ros.training.gate_calibration import calibrate_detector, calibrate_segmenter

LABELS = ("car", "sign")
SIZE = (64, 96)


def evaluator() -> DetectionEvaluator:
    return DetectionEvaluator(LABELS)


def scenes(count: int) -> tuple[list[list[Detections]], list[Detections]]:
    """One object each; the deep exit finds all, the shallow one, which is as sure of itself as it
    should be, every second, and three quarters of the box of the others."""
    draws = np.random.default_rng(3)
    truths, shallow, deep = [], [], []
    for number in range(count):
        left, top = draws.uniform(0, 30, 2)
        box = np.array([left, top, left + 20, top + 20])
        label = draws.integers(0, 2, 1)
        truths.append(Detections(box[None], np.ones(1), label))
        deep.append(Detections(box[None], np.array([0.9]), label))
        easy = number // 2 % 2 == 0
        seen = box if easy else box - [0, 0, 5, 0]
        score = draws.uniform(0.8, 1.0) if easy else draws.uniform(0.3, 0.6)
        shallow.append(Detections(seen[None], np.array([score]), label))
    return [shallow, deep], truths


def calibrated(count: int = 80) -> Calibration:
    answers, truths = scenes(count)
    return calibrate_detector(
        answers, truths, evaluator=evaluator, size=SIZE, model_id="m", data="boxes"
    )


def test_frames_that_the_shallow_exit_does_well_stop_there_and_cost_nothing() -> None:
    calibration = calibrated()
    assert calibration.frames == 40
    assert calibration.exit_quality[1] == 1.0
    assert 0.5 < calibration.exit_quality[0] < 0.95
    free = [
        calibration.share(1, threshold)
        for threshold in calibration.thresholds(1)
        if calibration.quality(1, 2, threshold) == 1.0
    ]
    assert max(free) == 0.5
    # Everything stops at a threshold of nothing, and nothing above the last.
    assert calibration.share(1, 0.0) == 1.0
    assert calibration.quality(1, 2, 0.0) == calibration.exit_quality[0]
    shares = [calibration.share(1, t) for t in calibration.thresholds(1)]
    assert shares == sorted(shares, reverse=True)


def test_the_confidence_is_how_often_the_deeper_exit_is_no_better() -> None:
    calibration = calibrated(400)
    answers, _ = scenes(400)
    sure = np.array(
        [
            probability(calibration.confidences[0], features_of(a.boxes, a.scores, SIZE))
            for a in answers[0]
        ]
    )
    easy = np.arange(400) // 2 % 2 == 0
    assert sure[easy].min() > 0.8 and sure[~easy].max() < 0.2


def test_a_difference_counts_as_often_as_there_are_objects() -> None:
    """What one object may lose is too much for each of six."""
    answers: list[list[Detections]] = [[], []]
    truths = []
    for number in range(80):
        many = number // 2 % 2
        count = 6 if many else 1
        corners = np.array([[4.0 + 14 * (k % 3), 4.0 + 26 * (k // 3)] for k in range(count)])
        boxes = np.concatenate([corners, corners + 12], 1)
        classes = np.zeros(count)
        truths.append(Detections(boxes, np.ones(count), classes))
        answers[1].append(Detections(boxes, np.full(count, 0.9), classes))
        # An overlap of 11 / 12: nine of ten thresholds, in either kind of frame.
        answers[0].append(Detections(boxes - [0, 0, 1, 0], np.full(count, 0.9), classes))
    calibration = calibrate_detector(
        answers, truths, evaluator=evaluator, size=SIZE, model_id="m", data=""
    )
    one, six = (
        probability(calibration.confidences[0], features_of(a.boxes, a.scores, SIZE))
        for a in (answers[0][0], answers[0][2])
    )
    assert one > 0.8 and six < 0.2


def test_a_detector_is_as_sure_as_its_exit_was_calibrated() -> None:
    rows = np.zeros((1, 2, 7), np.float32)
    rows[0, 0] = [32, 32, 10, 20, 0.9, 0.1, 0.8]
    shapes = [[rows.shape]] * 2
    flat = (2.0, *[0.0] * (len(FEATURES) - 1))
    by_boxes = (0.0, *[0.0] * 4, 3.0, 0.0, 0.0)
    task = Detector(LABELS, {"decoder": "yolo"}, shapes, SIZE, (flat, by_boxes))
    first, second = (task.decode([rows], number) for number in (1, 2))
    assert first == second
    assert task.confidence(first) == pytest.approx(1 / (1 + np.exp(-2)))
    assert task.confidence(second) == pytest.approx(1 / (1 + np.exp(-3 * np.log(2))))
    # It stays with the answer in pixels of the image; an answer that came over a link has none.
    assert task.confidence(task.in_source(first, lambda boxes: 2 * boxes)) == task.confidence(first)
    uncalibrated = Detector(LABELS, {"decoder": "yolo"}, shapes, SIZE)
    plain = uncalibrated.decode([rows], 1)
    assert task.confidence(Detections(*first.arrays)) == uncalibrated.confidence(plain) < 0.5
    with pytest.raises(OptionError, match="expected 8 each: calibrate the model again"):
        Detector(LABELS, {"decoder": "yolo"}, shapes, SIZE, ((1.0,), (1.0,)))


def test_confidences_are_stored_with_the_calibration() -> None:
    calibration = calibrated()
    values = calibration.to_dict()
    assert Calibration.from_dict(values) == calibration
    assert len(values["confidences"]) == 2
    without = replace(calibration, confidences=())
    assert "confidences" not in without.to_dict()
    assert Calibration.from_dict(without.to_dict()) == without
    for wrong in (((1.0,),), ((1.0,), (float("nan"),))):
        with pytest.raises(CalibrationError, match="2 exits need finite weights"):
            replace(calibration, confidences=wrong)


def test_too_few_frames_or_no_objects_are_refused() -> None:
    answers, truths = scenes(8)
    with pytest.raises(CalibrationError, match=r"at least 4, got \[2, 2\] answers for 2 frames"):
        calibrate_detector(
            [row[:2] for row in answers],
            truths[:2],
            evaluator=evaluator,
            size=SIZE,
            model_id="m",
            data="",
        )
    nothing = [Detections()] * 8
    with pytest.raises(CalibrationError, match="none of the frames shows an object"):
        calibrate_detector(
            [nothing, nothing], nothing, evaluator=evaluator, size=SIZE, model_id="m", data=""
        )


def test_weights_are_found_again_and_stay_small_where_nothing_is_in_doubt() -> None:
    draws = np.random.default_rng(0)
    features = np.column_stack([np.ones(20_000), 3 + 2 * draws.normal(size=(20_000, 2))])
    true = np.array([-1.0, 0.7, -0.4])
    right = draws.random(20_000) < 1 / (1 + np.exp(-features @ true))
    np.testing.assert_allclose(fit_weights(features, right), true, atol=0.1)
    for answer in (True, False):
        weights = fit_weights(features, np.full(20_000, answer))
        assert np.isfinite(weights).all()
        assert (probability(weights, features[0]) > 0.99) == answer
    apart = features[:, 1] > 3
    assert np.abs(fit_weights(features, apart)).max() < 50


def test_an_empty_answer_has_features() -> None:
    found = features_of(np.empty((0, 4), np.float32), np.empty(0, np.float32), SIZE)
    assert found.shape == (len(FEATURES),) and np.isfinite(found).all()
    assert found[1] == 1.0


# Segmenters --------------------------------------------------------------------------------------


def maps(count: int) -> list[tuple[list[ClassMap], ClassMap]]:
    """The deep exit is right; the shallow one knows, by its score, that every second map is bad."""
    draws = np.random.default_rng(5)
    found = []
    for number in range(count):
        truth = draws.integers(0, 2, (8, 12))
        easy = number // 2 % 2 == 0
        seen = truth if easy else np.where(draws.random(truth.shape) < 0.3, 1 - truth, truth)
        score = draws.uniform(0.9, 0.99) if easy else draws.uniform(0.5, 0.8)
        found.append(([ClassMap(seen, score), ClassMap(truth, 0.99)], ClassMap(truth)))
    return found


def segmenter(confidences: Sequence[Sequence[float]] = ()) -> Segmenter:
    return Segmenter(LABELS, {}, [[(1, 2, 2, 3)]] * 2, (8, 12), confidences)


def test_maps_that_the_shallow_exit_does_well_stop_there_and_cost_nothing() -> None:
    made = calibrate_segmenter(
        iter(maps(80)), evaluator=segmenter().evaluator, model_id="m", data="maps"
    )
    assert made.frames == 40 and made.exit_quality[1] == 1.0 and 0.5 < made.exit_quality[0] < 0.9
    free = [
        made.share(1, threshold)
        for threshold in made.thresholds(1)
        if made.quality(1, 2, threshold) == 1.0
    ]
    assert max(free) == 0.5
    read = Calibration.from_dict(made.to_dict())
    assert read == made
    task = segmenter(made.confidences)
    rows = np.stack([np.full((2, 3), 4.0), np.zeros((2, 3))])[None].astype(np.float32)
    sure, unsure = (task.decode([rows * by], 1) for by in (1.0, 0.2))
    assert task.confidence(sure) > 0.8 > 0.2 > task.confidence(unsure)
    assert sure.score == segmenter().decode([rows], 1).score < task.confidence(sure)
    # What came over the network, and what moved to the image.
    assert task.confidence(ClassMap(sure.class_ids, sure.score)) == sure.score
    assert task.in_source(sure, lambda boxes: boxes * 2).sure == sure.sure


def test_calibrations_of_too_few_maps_or_of_another_kind_are_refused() -> None:
    with pytest.raises(CalibrationError, match="at least 4 frames, got 3"):
        calibrate_segmenter(maps(3), evaluator=segmenter().evaluator, model_id="m", data="maps")
    with pytest.raises(OptionError, match=r"have \[3, 3\] weights, expected 2 each"):
        segmenter(((1, 2, 3), (1, 2, 3)))
