"""Answers as logs hold them: read back, judged, and judged while the run goes on."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dapdee_ros.tasks.classification import Classification, Classifier
from dapdee_ros.tasks.detection import Detections, Detector
from dapdee_ros.tasks.records import NO_ANSWER, Record, Records
from dapdee_ros.tasks.running_quality import MOST_FRAMES, RunningQuality
from dapdee_ros.tasks.segmentation import ClassMap, Segmenter

LABELS = ("car", "bus", "sign")
CAR: list[Record] = [[0, 1.0, 10.0, 10.0, 30.0, 30.0]]


def found(count: int, seed: int = 0) -> Detections:
    draws = np.random.default_rng(seed)
    corners = draws.uniform(0, 50, (count, 2))
    boxes = np.concatenate([corners, corners + draws.uniform(1, 50, (count, 2))], 1)
    return Detections(boxes, draws.uniform(0, 1, count), draws.integers(0, 3, count))


@pytest.mark.parametrize("count", [0, 1, 30])
def test_boxes_come_back_as_near_as_they_are_written(count: int) -> None:
    task = Detector(LABELS, {"decoder": "yolo"}, [[(1, 5, 8)]], (64, 64))
    answer = found(count)
    record = json.loads(json.dumps(task.record(answer)))
    back = Records("detection", LABELS).read(record)
    assert isinstance(back, Detections)
    np.testing.assert_allclose(back.boxes, answer.boxes, atol=0.0051)
    np.testing.assert_allclose(back.scores, answer.scores, atol=5.1e-5)
    assert back.class_ids.tolist() == answer.class_ids.tolist()
    assert task.record(None) == NO_ANSWER


def test_a_class_map_comes_back_as_it_was() -> None:
    task = Segmenter(LABELS, {"cell_px": 1}, [[(1, 3, 4, 5)]], (4, 5))
    answer = ClassMap(np.arange(20).reshape(4, 5) % 3, 0.5)
    record = json.loads(json.dumps(task.record(answer)))
    records = Records("segmentation", LABELS)
    back = records.read(record)
    assert isinstance(back, ClassMap) and np.array_equal(back.class_ids, answer.class_ids)
    assert records.judge([(record, record), (NO_ANSWER, record)]).quality() == 1.0
    wrong: list[Record] = [3, [], "", "4x5", "4x5 ???", record.replace("4x5", "4x6"), "9999x9999 "]
    for other in wrong:
        with pytest.raises(ValueError, match="is no class map in base 64"):
            records.read(other)
    with pytest.raises(ValueError, match="holds a class that is not one of 1"):
        Records("segmentation", LABELS[:1]).read(record)


def test_a_class_is_its_number() -> None:
    task = Classifier(LABELS, (1.0,))
    answer = Classification(2, 0.5, (2, 0), (0.5, 0.3))
    assert task.record(answer) == Records("classification", LABELS).read(2) == 2
    assert Records("classification", LABELS).read(NO_ANSWER) is None


@pytest.mark.parametrize(
    "wrong",
    [3, "text", [[0, 1.0, 1, 2, 3]], [[3, 1.0, 1, 2, 3, 4]], [[0, "1", 1, 2, 3, 4]], [7],
     [[0, float("nan"), 1, 2, 3, 4]], [[0.5, 1.0, 1, 2, 3, 4]], [["0", 1.0, 1, 2, 3, 4]]],
)  # fmt: skip
def test_what_is_no_record_of_the_task_is_refused(wrong: Record) -> None:
    with pytest.raises(ValueError, match=r"is no list of \[class, score, left"):
        Records("detection", LABELS).read(wrong)
    with pytest.raises(ValueError, match="is not the number of one of 3 classes"):
        Records("classification", LABELS).read(wrong)
    with pytest.raises(ValueError, match="there is no task 'cooking', only classification, det"):
        Records("cooking", LABELS)


def test_empty_scenes_count_once_something_was_there() -> None:
    records = Records("detection", LABELS)
    assert np.isnan(records.judge([([], []), ([], [])]).quality())
    evaluator = records.judge([([], []), (CAR, CAR), (NO_ANSWER, CAR), (CAR, [])])
    assert evaluator.frames == 3
    # Of two boxes with the same score one is right; nothing is there in the last frame.
    assert 0.4 < evaluator.quality() <= 1


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 0.01  # what summing up takes
        return self.now_s


def test_a_running_quality_is_the_one_of_the_end_and_is_summed_up_rarely() -> None:
    clock = Clock()
    running = RunningQuality(Records("detection", LABELS), clock)
    assert running.quality is None and running.objects_per_frame is None
    running.add(CAR, CAR)
    running.add([], None)
    assert running.quality == 1.0 and running.objects_per_frame == 0.5 and running.judged == 1
    running.add([], CAR)
    assert running.quality == 1.0  # too early to sum up again
    clock.now_s += 1.0
    pairs: list[tuple[Record, Record]] = [(CAR, CAR), ([], CAR)]
    assert running.quality == Records("detection", LABELS).judge(pairs).quality() < 1
    with pytest.raises(ValueError, match="is no list of"):
        running.add(3, CAR)


def test_a_running_quality_forgets() -> None:
    running = RunningQuality(Records("classification", LABELS))
    for _ in range(MOST_FRAMES):
        running.add(0, 1)
    assert running.quality == 0.0
    for _ in range(MOST_FRAMES):
        running.add(1, 1)
    running._again_s = 0.0
    assert running.quality == 1.0 and running.judged == 2 * MOST_FRAMES
