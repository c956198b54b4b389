"""What a frame shows, out of the message that carries it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dapdee_ros.datasets.frame_source import UNLABELLED, Truth
from dapdee_ros.tasks.classification import Classifier
from dapdee_ros.tasks.detection import Detector
from dapdee_ros.tasks.truth import MOST_OBJECTS, true_class_map, true_label, truth_fields

CAMERA = ("car", "bus", "person")
SURFACES = ("sky", "road", "sign")
EMPTY: dict[str, Any] = {
    "class_id": 0, "label": "", "objects_known": False, "boxes": [], "box_classes": [],
    "labels": [], "map_height": 0, "map_width": 0, "class_map": b"", "surfaces": [],
}  # fmt: skip


def message(truth: Truth, **otherwise: Any) -> SimpleNamespace:
    return SimpleNamespace(**{**EMPTY, **truth_fields(truth, CAMERA, SURFACES), **otherwise})


def detector(*labels: str) -> Detector:
    return Detector(labels, {"decoder": "yolo"}, [[(1, 5, 5 + len(labels))]], (32, 32))


TWO = Truth(boxes=[[1, 2, 3.5, 4], [0, 0, 9, 9]], box_labels=[2, 1])


def test_a_class_is_found_by_its_name() -> None:
    assert true_label(message(Truth(2)), ("person", "car")) == 0
    assert true_label(message(Truth(1)), ("person", "car")) is None
    assert true_label(message(TWO), ("", "car")) is None
    task = Classifier(("person", "car"), (1.0,))
    shown = task.truth_in(message(Truth(0)))
    assert shown is not None and task.record(shown) == 1
    assert task.truth_in(message(Truth(1))) is None and task.truth_in(message(TWO)) is None


def test_objects_are_those_whose_classes_the_model_has() -> None:
    shown = detector("dog", "person").truth_in(message(TWO))
    assert shown is not None
    assert shown.boxes.tolist() == [[1, 2, 3.5, 4]] and shown.class_ids.tolist() == [1]
    assert shown.scores.tolist() == [1]


def test_no_objects_are_something_else_than_unknown_ones() -> None:
    empty = detector("car").truth_in(message(Truth(boxes=())))
    assert empty is not None and len(empty) == 0
    assert detector("car").truth_in(message(Truth(1))) is None
    # A model that has none of the classes would be judged by an empty scene.
    assert detector("dog").truth_in(message(TWO)) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"boxes": [1.0, 2.0, 3.0]},
        {"box_classes": [0, 3]},
        {"box_classes": [0, -1]},
        {"box_classes": [0]},
        {"boxes": [0.0, 0, 1, float("nan"), 0, 0, 1, 1]},
        {"boxes": [5.0, 0, 1, 1, 0, 0, 1, 1]},
    ],
)
def test_objects_that_make_no_sense_are_unknown(wrong: dict[str, Any]) -> None:
    assert detector(*CAMERA).truth_in(message(TWO)) is not None
    assert detector(*CAMERA).truth_in(message(TWO, **wrong)) is None


def test_more_objects_than_a_message_holds_are_left_out() -> None:
    crowd = Truth(boxes=np.tile([0, 0, 1, 1], (400, 1)), box_labels=np.zeros(400))
    shown = detector(*CAMERA).truth_in(message(crowd))
    assert shown is not None and len(shown) == MOST_OBJECTS


def test_a_class_map_is_in_the_numbers_of_the_model() -> None:
    there = np.random.default_rng(0).integers(0, 3, (30, 40)).astype(np.uint8)
    there[:3] = UNLABELLED
    found = true_class_map(message(Truth(class_map=there)), ("road", "sky"))
    assert found is not None
    expected = np.array([1, 0, UNLABELLED, *[UNLABELLED] * 253], np.uint8)[there]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "wrong",
    [
        {"class_map": b"damaged"},
        {"map_height": 31},
        {"map_height": 29},
        {"map_height": 2**31, "map_width": 2**31},
        {"map_height": 0},
        {"surfaces": ["other"]},
    ],
)
def test_a_class_map_that_makes_no_sense_is_unknown(wrong: dict[str, Any]) -> None:
    there = Truth(class_map=np.zeros((30, 40), np.uint8))
    assert true_class_map(message(there), SURFACES) is not None
    assert true_class_map(message(there, **wrong), SURFACES) is None


def test_boxes_without_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="2 boxes have 1 classes, expected one each"):
        Truth(boxes=np.zeros((2, 4)), box_labels=[1])
    with pytest.raises(ValueError, match="0 boxes have 1 classes"):
        Truth(box_labels=[1])
