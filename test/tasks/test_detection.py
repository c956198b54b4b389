"""Detectors' outputs become boxes; what does not fit is refused before anything runs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dapdee_ros.tasks.detection import MOST_BOXES, Detections, Detector
from dapdee_ros.tasks.options import OptionError
from dapdee_ros.tasks.prior_boxes import prior_boxes
from dapdee_ros.tasks.task import NO_ANSWER

LABELS = ("car", "person", "sign")
SIZE = (64, 96)


def detector(decoder: str, *shapes: tuple[int, ...], **options: Any) -> Detector:
    return Detector(LABELS, {"decoder": decoder, **options}, [shapes], SIZE)


def slow_suppression(
    boxes: np.ndarray, scores: np.ndarray, class_ids: np.ndarray, iou: float
) -> list[int]:
    """Non-maximum suppression as the definition has it: places of what is left, best first."""
    left: list[int] = []
    for place in np.argsort(-scores, kind="stable"):
        x1, y1, x2, y2 = boxes[place]
        for other in left:
            a1, b1, a2, b2 = boxes[other]
            shared = max(0, min(x2, a2) - max(x1, a1)) * max(0, min(y2, b2) - max(y1, b1))
            joint = (x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1) - shared
            if class_ids[place] == class_ids[other] and shared > iou * joint:
                break
        else:
            left.append(int(place))
    return left


def yolox_rows(strides: tuple[int, ...] = (8, 16, 32)) -> int:
    return sum((SIZE[0] // s) * (SIZE[1] // s) for s in strides)


def test_yolox_places_boxes_from_their_cells_on() -> None:
    rows = np.zeros((1, yolox_rows(), 8), np.float32)
    # The cell of stride 16 in row 1, column 2: after 8 * 12 cells of stride 8.
    place = 8 * 12 + 1 * 6 + 2
    rows[0, place] = [0.5, 0.25, np.log(2), np.log(1), 0.9, 0.1, 0.8, 0.3]
    found = detector("yolox", rows.shape).decode([rows], 1)
    x, y = (2 + 0.5) * 16, (1 + 0.25) * 16
    np.testing.assert_allclose(found.boxes, [[x - 16, y - 8, x + 16, y + 8]], atol=1e-4)
    assert found.class_ids.tolist() == [1]
    np.testing.assert_allclose(found.scores, [0.72], atol=1e-6)


@pytest.mark.parametrize("objectness", [True, False])
@pytest.mark.parametrize("transposed", [True, False])
def test_yolo_reads_rows_or_columns_with_objectness_or_without(
    objectness: bool, transposed: bool
) -> None:
    rows = np.array(
        [[48, 32, 20, 10, 0.5, 0.1, 0.2, 0.8], [9, 9, 4, 4, 0.1, 0.9, 0, 0]], np.float32
    )
    if not objectness:
        rows = np.delete(rows, 4, 1)
        rows[1, 4:] = 0.1
    output = rows.T[None] if transposed else rows[None]
    found = detector("yolo", output.shape, score=0.3).decode([output], 1)
    assert found.boxes.tolist() == [[38, 27, 58, 37]]
    assert found.class_ids.tolist() == [2]
    assert found.scores[0] == pytest.approx(0.4 if objectness else 0.8)


def test_yolo_with_relative_boxes() -> None:
    output = np.array([[[0.5, 0.5, 0.25, 0.5, 0.9, 0, 0]]], np.float32)
    task = Detector(LABELS, {"decoder": "yolo", "box_scale": 64}, [[output.shape]], (64, 64))
    assert task.decode([output], 1).boxes.tolist() == [[24, 16, 40, 48]]


def test_fastestdet_as_its_authors_decode_it() -> None:
    rng = np.random.default_rng(2)
    output = rng.uniform(-1, 1, (1, 8, 4, 6)).astype(np.float32)
    output[:, 0], output[:, 5:] = rng.random((4, 6)), rng.random((3, 4, 6))
    found = detector("fastestdet", output.shape, score=0.0, iou=1.0).decode([output], 1)
    wanted = []
    for y in range(4):
        for x in range(6):
            values = output[0, :, y, x]
            score = values[0] ** 0.6 * values[5:].max() ** 0.4
            w, h = (1 / (1 + np.exp(-values[3:5]))) * [96, 64]
            cx, cy = (np.tanh(values[1]) + x) / 6 * 96, (np.tanh(values[2]) + y) / 4 * 64
            box = np.clip([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], 0, [96, 64, 96, 64])
            wanted.append((score, values[5:].argmax(), *box))
    wanted.sort(key=lambda row: -row[0])
    np.testing.assert_allclose(found.scores, [row[0] for row in wanted], rtol=1e-5)
    assert found.class_ids.tolist() == [row[1] for row in wanted]
    np.testing.assert_allclose(found.boxes, [row[2:] for row in wanted], atol=1e-3)


MAPS, SCALES, RATIOS = [[4, 6], [2, 3]], [0.2, 0.5, 0.9], [[2], [2, 3]]


def test_prior_boxes_are_torchvisions() -> None:
    torch = pytest.importorskip("torch")
    from dapdee_ros.graph.torchvision_import import torchvision

    module = pytest.importorskip("torchvision.models.detection.anchor_utils")
    del torchvision
    generator = module.DefaultBoxGenerator([[int(r) for r in of] for of in RATIOS], scales=SCALES)
    cells = generator._grid_default_boxes(MAPS, list(SIZE), torch.float32)
    centres, sides = cells[:, :2].numpy(), cells[:, 2:].numpy()
    whole = np.array([SIZE[1], SIZE[0]] * 2, np.float32)
    wanted = np.concatenate([centres - sides / 2, centres + sides / 2], 1) * whole
    pairs = [(rows, columns) for rows, columns in MAPS]
    np.testing.assert_allclose(prior_boxes(pairs, SCALES, RATIOS, SIZE), wanted, atol=1e-3)


def test_ssd_moves_its_prior_boxes() -> None:
    priors = prior_boxes([(r, c) for r, c in MAPS], SCALES, RATIOS, SIZE)
    offsets = np.zeros((1, len(priors), 4), np.float32)
    logits = np.zeros((1, len(priors), 4), np.float32)
    logits[..., 0] = 9
    place = 50
    offsets[0, place] = [1, 0, 5 * np.log(2), 0]
    logits[0, place] = [0, 0, 9, 0]
    options = {"maps": MAPS, "scales": SCALES, "ratios": RATIOS}
    found = detector("ssd", offsets.shape, logits.shape, **options).decode([offsets, logits], 1)
    x1, y1, x2, y2 = priors[place]
    x, width = (x1 + x2) / 2 + 0.1 * (x2 - x1), 2 * (x2 - x1)
    wanted = np.clip([x - width / 2, y1, x + width / 2, y2], 0, [96, 64, 96, 64])
    np.testing.assert_allclose(found.boxes, [wanted], atol=1e-3)
    assert found.class_ids.tolist() == [1]


def test_suppression_is_per_class_and_what_the_definition_says() -> None:
    rng = np.random.default_rng(7)
    for _ in range(20):
        count = int(rng.integers(1, 60))
        rows = np.zeros((1, count, 8), np.float32)
        rows[0, :, :2] = rng.uniform(20, 44, (count, 2))
        rows[0, :, 2:4] = rng.uniform(4, 30, (count, 2))
        rows[0, :, 4:] = rng.uniform(0.1, 1, (count, 4))
        found = detector("yolo", rows.shape, score=0.05, iou=0.5).decode([rows], 1)
        scores = rows[0, :, 4] * rows[0, :, 5:].max(1)
        class_ids = rows[0, :, 5:].argmax(1)
        half = rows[0, :, 2:4] / 2
        boxes = np.concatenate([rows[0, :, :2] - half, rows[0, :, :2] + half], 1)
        boxes = np.clip(boxes, 0, [96, 64, 96, 64])
        kept = [p for p in slow_suppression(boxes, scores, class_ids, 0.5) if scores[p] >= 0.05]
        np.testing.assert_allclose(found.boxes, boxes[kept], atol=1e-4)
        assert found.class_ids.tolist() == class_ids[kept].tolist()


def test_whatever_a_network_puts_out_boxes_are_sound() -> None:
    task = detector("yolox", (1, yolox_rows(), 8), score=0.0)
    for value in (np.nan, np.inf, -np.inf, 1e30, -1e30):
        rows = np.full((1, yolox_rows(), 8), value, np.float32)
        found = task.decode([rows], 1)
        assert not task.misfit(found)
    rng = np.random.default_rng(1)
    rows = rng.normal(0, 5, (1, yolox_rows(), 8)).astype(np.float32)
    found = task.decode([np.abs(rows)], 1)
    assert 0 < len(found) <= MOST_BOXES
    assert not task.misfit(found)


def test_an_empty_scene_is_an_answer_that_no_gate_trusts() -> None:
    task = detector("yolo", (1, 5, 8))
    found = task.decode([np.zeros((1, 5, 8), np.float32)], 1)
    assert (len(found), found.boxes.shape) == (0, (0, 4))
    assert task.confidence(found) == 0
    assert task.record(found) == []
    assert not task.misfit(found)


def test_confidence_rises_with_how_decided_the_scores_are() -> None:
    task = detector("yolo", (1, 5, 8))

    def of(*scores: float) -> float:
        boxes = np.tile([0, 0, 4, 4], (len(scores), 1))
        return task.confidence(Detections(boxes, np.array(scores), np.zeros(len(scores))))

    assert of(0.5) == pytest.approx(0)
    assert of(0.9) == pytest.approx(0.8)
    assert of(0.9, 0.5) < of(0.9, 0.7) < of(0.9)


def test_detections_cannot_be_changed_and_compare_by_value() -> None:
    boxes = np.array([[0, 0, 4, 4]], np.float32)
    found = Detections(boxes, np.array([0.5]), np.array([1]))
    boxes[:] = 9
    assert found.boxes.tolist() == [[0, 0, 4, 4]]
    with pytest.raises(ValueError, match="read-only"):
        found.scores[0] = 1
    assert found == Detections(found.boxes, found.scores, found.class_ids)
    assert found != Detections()
    assert len({found, Detections(*found.arrays), Detections()}) == 2
    with pytest.raises(ValueError, match="not of the same objects"):
        Detections(boxes, np.zeros(2), np.zeros(2))


@pytest.mark.parametrize(
    ("boxes", "scores", "classes", "why"),
    [
        ([[0, 0, 4, 4]], [0.5], [3], "not among the 3"),
        ([[0, 0, 4, 4]], [0.5], [-1], "not among the 3"),
        ([[0, 0, 4, 4]], [1.5], [0], "no probability"),
        ([[0, 0, 4, 4]], [np.nan], [0], "no probability"),
        ([[0, 0, 400, 4]], [0.5], [0], "not inside 64x96"),
        ([[5, 0, 4, 4]], [0.5], [0], "not inside"),
        ([[np.nan, 0, 4, 4]], [0.5], [0], "not inside"),
        ([[0, 0, 4, 4]] * 301, [0.5] * 301, [0] * 301, "301 boxes"),
    ],
)
def test_answers_that_cannot_be_are_named(
    boxes: list[Any], scores: list[float], classes: list[int], why: str
) -> None:
    task = detector("yolo", (1, 5, 8))
    assert why in task.misfit(Detections(np.array(boxes), np.array(scores), np.array(classes)))
    assert "not of the same length" in task.misfit(None)


@pytest.mark.parametrize(
    ("options", "shapes", "why"),
    [
        ({}, [(1, 5, 8)], "no decoder None; choose from yolox, yolo, fastestdet, ssd"),
        ({"decoder": "yolo9"}, [(1, 5, 8)], "no decoder 'yolo9'"),
        ({"decoder": "yolo"}, [(1, 5, 9)], r"\(1, boxes, 8\) or \(1, 7, boxes\)"),
        ({"decoder": "yolo"}, [(1, 5, 8), (1, 5, 8)], "reads one output, the exit has 2"),
        ({"decoder": "yolox"}, [(1, yolox_rows(), 9)], "and 3 classes reads .* check --strides"),
        ({"decoder": "yolox", "strides": [8]}, [(1, yolox_rows(), 8)], r"strides \[8\]"),
        ({"decoder": "yolox", "strides": [0]}, [(1, 96, 8)], "expected whole numbers"),
        ({"decoder": "yolox", "strides": "8"}, [(1, 96, 8)], "expected a list"),
        ({"decoder": "fastestdet"}, [(1, 85, 22, 22)], r"\(1, 8, rows, columns\)"),
        ({"decoder": "ssd"}, [(1, 9, 4), (1, 9, 4)], "'maps' is missing"),
        (
            {"decoder": "ssd", "maps": MAPS, "scales": SCALES, "ratios": RATIOS},
            [(1, 9, 4), (1, 9, 4)],
            "these prior boxes",
        ),
        ({"decoder": "yolo", "score": 2}, [(1, 5, 8)], "'score' is 2.0, expected 0 to 1"),
        ({"decoder": "yolo", "score": "high"}, [(1, 5, 8)], "finite number"),
        ({"decoder": "yolo", "speed": 1}, [(1, 5, 8)], r"no options \['speed'\]"),
    ],
)
def test_options_that_do_not_fit_are_refused_at_once(
    options: dict[str, Any], shapes: list[tuple[int, ...]], why: str
) -> None:
    with pytest.raises(OptionError, match=why):
        Detector(LABELS, options, [shapes], SIZE)


def test_messages_hold_boxes_and_nothing_about_them_is_trusted() -> None:
    task = detector("yolo", (1, 5, 8))
    boxes = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    found = Detections(boxes, np.array([0.5, 0.25]), np.array([2, 0]))
    fields = task.fields(found)
    assert (fields["class_id"], fields["label"], fields["score"]) == (2, "sign", 0.5)
    assert set(fields) <= set(NO_ANSWER)
    message = SimpleNamespace(**{**NO_ANSWER, **fields})
    assert task.answer_in(message) == found
    empty = task.answer_in(SimpleNamespace(**{**NO_ANSWER, **task.fields(Detections())}))
    assert empty == Detections() and not task.misfit(empty)
    message.boxes = message.boxes[:-1]
    assert task.misfit(task.answer_in(message))
    message.boxes = (np.nan,) * 8
    assert "not inside" in task.misfit(task.answer_in(message))


def test_boxes_move_to_the_image_and_classes_stay() -> None:
    task = detector("yolo", (1, 5, 8))
    found = Detections(np.array([[0, 0, 4, 4]]), np.array([0.5]), np.array([1]))
    moved = task.in_source(found, lambda boxes: boxes * 10)
    assert moved.boxes.tolist() == [[0, 0, 40, 40]]
    assert (moved.class_ids.tolist(), moved.scores.tolist()) == ([1], [0.5])
