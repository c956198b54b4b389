"""Quality of answers: by hand for small cases, and against COCO's own evaluation for large ones."""

from __future__ import annotations

import contextlib
import io
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from dapdee_ros.tasks.average_precision import MOST_JUDGED, DetectionEvaluator
from dapdee_ros.tasks.classification import Classifier
from dapdee_ros.tasks.detection import Detections, Detector
from dapdee_ros.tasks.evaluation import AccuracyEvaluator

LABELS = ("car", "person", "sign")


def found(*rows: tuple[float, ...]) -> Detections:
    """Rows of left, top, right, bottom, score and class."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5])


def evaluated(*frames: tuple[Detections | None, Detections]) -> dict[str, float]:
    evaluator = DetectionEvaluator(LABELS)
    for answer, truth in frames:
        evaluator.add(answer, truth)
    return evaluator.figures()


A, B = (10, 10, 30, 40), (50, 20, 90, 60)


def test_tasks_bring_their_evaluators() -> None:
    detector = Detector(LABELS, {"decoder": "yolo"}, [[(1, 2, 8)]], (64, 96))
    evaluator = detector.evaluator()
    assert evaluator is not detector.evaluator()
    of_class = [f"AP {name}" for name in LABELS]
    assert list(evaluator.figures()) == [detector.quality_name, "mAP50", *of_class]
    classifier = Classifier(LABELS, (1.0,))
    assert next(iter(classifier.evaluator().figures())) == classifier.quality_name


def test_accuracy_is_that_of_the_frames_with_an_answer() -> None:
    classifier = Classifier(LABELS, (1.0,))
    evaluator = classifier.evaluator()
    assert math.isnan(evaluator.quality())
    sure = classifier.decode([np.array([[0.0, 4.0, 0.0]], np.float32)], 1)
    for answer, truth in ((sure, 1), (sure, 2), (None, 0), (sure, sure)):
        evaluator.add(answer, truth)
    assert evaluator.frames == 3
    assert evaluator.quality() == pytest.approx(2 / 3)
    figures = evaluator.figures()
    assert (figures["accuracy person"], figures["accuracy sign"]) == (1.0, 0.0)
    assert math.isnan(figures["accuracy car"])


def test_a_truth_of_other_classes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"true class is 3, the model knows 0 to 2"):
        AccuracyEvaluator(LABELS).add(0, 3)
    with pytest.raises(ValueError, match=r"truth names the classes \[1, 7\], the model knows 0 to"):
        DetectionEvaluator(LABELS).add(found(), found((*A, 1, 7), (*B, 1, 1)))


def test_boxes_that_are_all_right() -> None:
    truth = found((*A, 1, 0), (*B, 1, 2))
    figures = evaluated((truth, truth), (found(), found()))
    assert (figures["mAP"], figures["mAP50"], figures["AP car"]) == (1.0, 1.0, 1.0)
    assert math.isnan(figures["AP person"])


def test_without_any_box_of_a_truth_nothing_is_known() -> None:
    for frames in ([], [(found((*A, 0.9, 0)), found())], [(None, found((*A, 1, 0)))]):
        figures = evaluated(*frames)
        assert all(math.isnan(value) for value in figures.values()), frames


def test_a_dropped_frame_is_not_judged_and_an_empty_answer_is() -> None:
    truth = found((*A, 1, 0))
    assert evaluated((truth, truth), (None, truth))["mAP"] == 1.0
    # Half of the boxes found: precision is 1 up to a recall of 0.5, 51 of COCO's 101 points.
    assert evaluated((truth, truth), (found(), truth))["mAP"] == pytest.approx(51 / 101)


def test_a_box_where_nothing_is_costs_by_its_score() -> None:
    truth, wrong = found((*A, 1, 0)), (*B, 0.9, 0)
    assert evaluated((found((*A, 0.8, 0), wrong), truth))["mAP"] == pytest.approx(0.5)
    assert evaluated((found((*A, 0.95, 0), wrong), truth))["mAP"] == 1.0
    # Also in a frame that shows nothing.
    assert evaluated((found((*A, 0.8, 0)), truth), (found(wrong), found()))["mAP"] == pytest.approx(
        0.5
    )


def test_a_box_that_overlaps_by_0_6_counts_for_three_of_ten_thresholds() -> None:
    truth = found((0, 0, 100, 10, 1, 1))
    figures = evaluated((found((0, 0, 62, 10, 0.9, 1)), truth))
    assert (figures["mAP"], figures["mAP50"]) == (pytest.approx(0.3), 1.0)


def test_the_class_counts() -> None:
    figures = evaluated((found((*A, 0.9, 1)), found((*A, 1, 0))))
    assert figures["mAP"] == 0.0
    assert math.isnan(figures["AP person"])


def test_two_boxes_on_one_object_are_one_right_and_one_wrong() -> None:
    twice = found((*A, 0.9, 0), (*A, 0.8, 0), (*B, 0.7, 0))
    figures = evaluated((twice, found((*A, 1, 0), (*B, 1, 0))))
    assert figures["mAP"] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_only_the_best_boxes_of_a_frame_are_judged() -> None:
    many = [(200.0, 200, 210, 210, 0.9 - 0.001 * k, 0) for k in range(MOST_JUDGED)]
    truth = found((*A, 1, 0))
    within = evaluated((found(*many[1:], (*A, 0.1, 0)), truth))["mAP"]
    assert within == pytest.approx(1 / MOST_JUDGED)
    assert evaluated((found(*many, (*A, 0.1, 0)), truth))["mAP"] == 0.0


def test_frames_can_be_judged_apart_and_mixed() -> None:
    """As gates need it: each frame ends at one of two exits."""
    truth = found((*A, 1, 0))
    evaluator = DetectionEvaluator(LABELS)
    good, bad = evaluator.judge(truth, truth), evaluator.judge(found((*B, 0.9, 0)), truth)
    for mix, expected in (((good, good), 1.0), ((bad, bad), 0.0)):
        fresh = DetectionEvaluator(LABELS)
        for judgement in mix:
            fresh.add_judged(judgement)
        assert (fresh.frames, fresh.quality()) == (2, expected)


def _random_frames(count: int) -> list[tuple[Detections, Detections]]:
    draws = np.random.default_rng(4)
    frames = []
    for _ in range(count):
        corners = draws.uniform(0, 200, (draws.integers(0, 7), 2))
        boxes = np.concatenate([corners, corners + draws.uniform(8, 90, corners.shape)], 1)
        truth = found(*((*box, 1, draws.integers(0, 3)) for box in boxes))
        moved = np.repeat(truth.boxes, 2, 0) + draws.normal(0, 5, (2 * len(truth), 4))
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        # Few different scores, so that many are equal.
        scores = draws.integers(1, 10, len(moved)) / 10
        classes = np.where(draws.random(len(moved)) < 0.8, np.repeat(truth.class_ids, 2), 1)
        order = np.argsort(-scores, kind="stable")
        frames.append((Detections(moved[order], scores[order], classes[order]), truth))
    return frames


def test_as_coco_evaluates_the_same_boxes() -> None:
    """The whole of pycocotools, by its files' own layout, with its ties and areas."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    frames = _random_frames(60)
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for number, (answer, truth) in enumerate(frames, start=1):
        for into, what in ((annotations, truth), (results, answer)):
            for box, score, class_id in zip(*what.arrays, strict=True):
                left, top, right, bottom = box.astype(float).tolist()
                sides = [right - left, bottom - top]
                into.append(
                    {
                        "id": len(into) + 1,
                        "image_id": number,
                        "category_id": int(class_id),
                        "bbox": [left, top, *sides],
                        "area": sides[0] * sides[1],
                        "iscrowd": 0,
                        "score": float(score),
                    }
                )
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": number} for number in range(1, len(frames) + 1)],
            "categories": [{"id": number} for number in range(len(LABELS))],
            "annotations": annotations,
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    figures = evaluated(*frames)
    assert 0.05 < figures["mAP"] < 0.95
    np.testing.assert_allclose((figures["mAP"], figures["mAP50"]), evaluation.stats[:2], atol=1e-9)


def test_nothing_is_imported_or_printed_before_a_frame_is_judged(
    capfd: pytest.CaptureFixture[str],
) -> None:
    code = (
        "import sys; from dapdee_ros.tasks.task import Task;"
        "from dapdee_ros.tasks.average_precision import DetectionEvaluator as E;"
        "assert E(('car',)).quality() != 0; assert 'pycocotools' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    evaluated((found((*A, 0.9, 0)), found((*A, 1, 0))))
    assert capfd.readouterr().out == ""
