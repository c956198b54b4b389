"""A detector's run over real nodes: boxes and truth in the log, and quality while it goes on."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from support.small_detector import LABELS, SURFACES, small_detector, small_segmenter

import dapdee_ros.msg as msg
from dapdee_ros.datasets.frame_source import UNLABELLED
from dapdee_ros.datasets.roadscenes import CLASSES
from dapdee_ros.nodes import qos
from dapdee_ros.report.run_log import RunLog
from dapdee_ros.report.summary import summarise

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]

START_S = 90.0


def test_a_run_is_judged_by_its_boxes(ros: RosWorld, tmp_path: Path) -> None:
    model, path = small_detector(tmp_path), tmp_path / "run.json"
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    truths = ros.collect(msg.SceneTruth, "truth", qos.RESULT)
    recorder = ros.start(
        "run_recorder", {"path": str(path), "model": str(model), "print_status": True}
    )
    viewer = ros.start("viewer", {"model": str(model), "http_port": 18080, "least_score": 0.3})
    ros.start("head", {"model": str(model), "deadline_s": 2.0})
    camera = {"source": "roadscenes", "width": 96, "rate_hz": 5.0, "seed": 4}
    ros.start("camera", camera)
    ros.spin_until(lambda: len(results) >= 15 and any(t.boxes for t in truths), START_S, "results")
    ros.spin_until(lambda: "objects" in recorder.output(), START_S, "a status line")
    url = re.search(r"live view: http://localhost:(\d+)", viewer.output())
    assert url is not None, viewer.output()
    address = f"http://127.0.0.1:{url.group(1)}/status.json"
    status: dict[str, Any] = {}

    def judged() -> bool:
        with urllib.request.urlopen(address, timeout=10) as page:
            status.update(json.load(page))
        return status["quality"] is not None

    ros.spin_until(judged, START_S, "a quality")
    assert status["quality_name"] == "mAP"
    assert status["objects_per_frame"] > 0 and status["judged"] == 0
    assert {box["label"] for box in status["answer"]["boxes"]} <= set(LABELS)
    assert all(box["score"] >= 0.3 for box in status["answer"]["boxes"])
    assert recorder.stop() == 0, recorder.output()
    log = RunLog.load(path)
    assert log.task == "detection" and log.labels == list(LABELS)
    by_number = {result.frame_number: result for result in results}
    by_stamp = {(t.header.stamp.sec, t.header.stamp.nanosec): t for t in truths}
    known = [f for f in log.frames if f.number in by_number and f.truth is not None]
    assert len(known) >= 8
    for frame in known:
        result = by_number[frame.number]
        assert isinstance(frame.answer, list) and isinstance(frame.truth, list)
        assert [row[0] for row in frame.answer] == list(result.box_classes)
        flat = [side for row in frame.answer for side in row[2:]]
        assert flat == pytest.approx(list(result.boxes), abs=0.01)
        truth = by_stamp.get((result.header.stamp.sec, result.header.stamp.nanosec))
        if truth is not None:
            # Only cars: the model has no other of the camera's classes.
            cars = sum(number == CLASSES.index("car") for number in truth.box_classes)
            assert [row[0] for row in frame.truth] == [LABELS.index("car")] * cars
    summary = summarise(log)
    assert summary["judged"] >= len(known) and summary["objects_per_frame"] is not None


def test_a_segmenters_run_is_judged_by_its_class_maps(ros: RosWorld, tmp_path: Path) -> None:
    model, path = small_segmenter(tmp_path), tmp_path / "run.json"
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    recorder = ros.start("run_recorder", {"path": str(path), "model": str(model)})
    snapshot = tmp_path / "last.png"
    viewer = ros.start(
        "viewer", {"model": str(model), "http_port": 0, "snapshot_path": str(snapshot)}
    )
    ros.start("head", {"model": str(model), "deadline_s": 2.0})
    ros.start("camera", {"source": "roadscenes", "width": 96, "rate_hz": 5.0, "seed": 4})
    ros.spin_until(lambda: len(results) >= 12, START_S, "results")
    assert recorder.stop() == 0, recorder.output()
    assert viewer.stop() == 0, viewer.output()
    picture = cv2.imread(str(snapshot))
    assert picture is not None and picture.shape == (480, 800, 3)
    log = RunLog.load(path)
    assert log.task == "segmentation" and log.quality_name == "mean IoU"
    by_number = {result.frame_number: result for result in results}
    known = [f for f in log.frames if f.number in by_number and f.truth is not None]
    assert len(known) >= 6
    for frame in known:
        answer, truth = log.records.read(frame.answer), log.records.read(frame.truth)  # type: ignore[arg-type]
        assert answer is not None and truth is not None
        assert answer.class_ids.shape == truth.class_ids.shape == (96, 96)
        rows = np.frombuffer(by_number[frame.number].class_map.data, np.uint8)
        np.testing.assert_array_equal(answer.class_ids.reshape(-1), rows)
        assert {*np.unique(truth.class_ids)} <= {*range(len(SURFACES)), UNLABELLED}
    summary = summarise(log)
    assert summary["judged"] >= len(known) and 0 <= summary["quality"] < 0.9
    assert {*summary["classes"]} <= {*SURFACES} and summary["objects_per_frame"] is None
    assert len(path.read_bytes()) / len(log.frames) < 4000
