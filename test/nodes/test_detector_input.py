"""Odd images, odd truths and foreign answers to a detector's nodes: said clearly, nothing lost."""

from __future__ import annotations

import json
import re
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from sensor_msgs.msg import Image
from support.small_detector import LABELS, small_detector

import dapdee_ros.msg as msg
from dapdee_ros.exits.card import ModelFolderError, read_card
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.images import rgb_to_image
from dapdee_ros.report.run_log import RunLog
from dapdee_ros.report.summary import summarise
from dapdee_ros.tasks.records import NO_ANSWER

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]

START_S = 90.0


def image(number: int, height: int, width: int) -> Image:
    pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
    return rgb_to_image(pixels, Time(sec=number), "camera")


def odd_images() -> list[Image]:
    """Images of odd sizes, then some that are none."""
    sizes = [(1, 1), (1, 640), (640, 1), (2, 3), (48, 64)]
    good = [image(number, *size) for number, size in enumerate(sizes, start=1)]
    dark = rgb_to_image(np.zeros((48, 64, 3), np.uint8), Time(sec=6), "camera")
    empty, short, odd = image(7, 4, 4), image(8, 4, 4), image(9, 4, 4)
    empty.height, empty.width, empty.data = 0, 0, []
    short.data = short.data[:-20]
    odd.encoding = "yuv_of_mars"
    return [*good, dark, empty, short, odd]


def test_odd_images_are_answered_or_dropped_with_the_reason(ros: RosWorld, tmp_path: Path) -> None:
    model = small_detector(tmp_path)
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    ledgers = ros.collect(msg.FrameLedger, "ledger", qos.LATCHED)
    head = ros.start("head", {"model": str(model), "deadline_s": 2.0, "ledger_period_s": 0.2})
    node = ros.node("source")
    publisher = node.create_publisher(Image, "image_raw", 1)
    ros.spin_until(lambda: publisher.get_subscription_count() > 0, START_S, "the head listens")

    def answered() -> bool:
        publisher.publish(image(100, 48, 64))
        ros.spin_for(0.1)
        return bool(results)

    ros.spin_until(answered, START_S, "the head answers")
    ros.spin_until(lambda: ledgers, START_S, "a ledger")

    def is_accepted(count: int) -> bool:
        return ledgers[-1].accepted >= count

    images = odd_images()
    for shown in images:
        accepted = ledgers[-1].accepted + 1
        publisher.publish(shown)
        ros.spin_until(partial(is_accepted, accepted), 10.0, "it is accepted")
    ros.spin_until(lambda: ledgers[-1].in_flight == 0, 10.0, "all have ended")
    last = ledgers[-1]
    assert last.accepted == last.results + last.drops
    assert last.drops >= 3 and len(last.drop_reasons) >= 1, last.drop_reasons
    by_stamp = {result.header.stamp.sec: result for result in results}
    for shown in images[:6]:
        result = by_stamp[shown.header.stamp.sec]
        boxes = np.array(result.boxes).reshape(-1, 4)
        assert (boxes >= 0).all() and (boxes <= [shown.width, shown.height] * 2).all()
        assert len(result.box_classes) == len(result.box_scores) == len(boxes)
    assert not {7, 8, 9} & {*by_stamp}
    assert head.process.poll() is None and "Traceback" not in head.output()


def foreign(number: int, **fields: Any) -> msg.InferenceResult:
    usual = {"boxes": [1.0, 2.0, 30.0, 40.0], "box_classes": [0], "box_scores": [0.9]}
    result = msg.InferenceResult(frame_number=number, exit=1, latency_s=0.05, **{**usual, **fields})
    result.header.stamp = Time(sec=number)
    return result


def truth(number: int, **fields: Any) -> msg.SceneTruth:
    usual = {
        "class_id": -1, "objects_known": True, "boxes": [1.0, 2.0, 30.0, 40.0],
        "box_classes": [0], "labels": list(LABELS),
    }  # fmt: skip
    shown = msg.SceneTruth(**{**usual, **fields})
    shown.header.stamp = Time(sec=number)
    return shown


WRONG_ANSWERS: list[dict[str, Any]] = [
    {"boxes": [1.0, 2.0]},
    {"box_classes": [99]},
    {"box_classes": [-5]},
    {"box_scores": []},
    {"boxes": [float("nan"), 2.0, 30.0, 40.0]},
]
WRONG_TRUTHS: list[dict[str, Any]] = [
    {"boxes": [1.0]},
    {"box_classes": [99]},
    {"boxes": [float("inf"), 0.0, 0.0, 0.0]},
    {"labels": ["other", "names"]},
    {"objects_known": False},
    {"map_height": 2**31, "map_width": 2**31, "class_map": [1, 2, 3], "boxes": [5.0]},
]


def test_foreign_answers_and_truths_are_recorded_without_their_boxes(
    ros: RosWorld, tmp_path: Path
) -> None:
    model, path = small_detector(tmp_path), tmp_path / "run.json"
    recorder = ros.start("run_recorder", {"path": str(path), "model": str(model)})
    viewer = ros.start("viewer", {"model": str(model), "http_port": 0})
    node = ros.node("source")
    results = node.create_publisher(msg.InferenceResult, "inference", qos.RESULT)
    truths = node.create_publisher(msg.SceneTruth, "truth", qos.RESULT)
    ros.spin_until(
        lambda: results.get_subscription_count() == truths.get_subscription_count() == 2,
        START_S, "both listen",
    )  # fmt: skip
    ros.spin_for(1.0)
    sent = [(truth(n), foreign(n, **w)) for n, w in enumerate(WRONG_ANSWERS, start=1)]
    sent += [(truth(n, **w), foreign(n)) for n, w in enumerate(WRONG_TRUTHS, start=11)]
    sent += [(truth(21), foreign(21)), (truth(22, boxes=[], box_classes=[]), foreign(22))]
    for shown, result in sent:
        truths.publish(shown)
        ros.spin_for(0.05)
        results.publish(result)
        ros.spin_for(0.05)
    time.sleep(0.5)
    assert viewer.process.poll() is None and "Traceback" not in viewer.output()
    assert recorder.stop() == 0, recorder.output()
    assert "Traceback" not in recorder.output()
    assert "recorded without its answer" in recorder.output()
    frames = {frame.number: frame for frame in RunLog.load(path).frames}
    assert len(frames) == len(sent)
    for number in range(1, len(WRONG_ANSWERS) + 1):
        assert frames[number].answer == NO_ANSWER and frames[number].truth is not None
    for number in range(11, 11 + len(WRONG_TRUTHS)):
        assert frames[number].truth is None and len(frames[number].answer) == 1  # type: ignore[arg-type]
    assert len(frames[21].truth or ()) == 1 and frames[22].truth == []  # type: ignore[arg-type]
    # Of one true object one was found; one was found where none is.
    assert summarise(RunLog.load(path))["judged"] == 2


def test_a_model_whose_decoder_does_not_fit_is_refused_by_every_process(
    ros: RosWorld, tmp_path: Path
) -> None:
    model = small_detector(tmp_path)
    card = json.loads((model / "model.json").read_text())
    card["task"] = {"name": "detection", "decoder": "yolox", "strides": [8]}
    (model / "model.json").write_text(json.dumps(card))
    with pytest.raises(ModelFolderError, match="the file was edited") as edited:
        read_card(model)
    # As a tool would write it that knows no better.
    right_id = re.search(r"contents \('(\w+)'\)", str(edited.value))
    assert right_id is not None
    card["model_id"] = right_id[1]
    (model / "model.json").write_text(json.dumps(card))
    for process in ("head", "edge"):
        started = ros.start(process, {"model": str(model)})
        assert started.wait(30.0) == 1
        assert "the decoder 'yolox' with strides [8] and 3 classes" in started.output()
        assert "Traceback" not in started.output()
    recorder = ros.start("run_recorder", {"model": str(model), "path": str(tmp_path / "r.json")})
    assert recorder.wait() == 2 and "the decoder 'yolox'" in recorder.output()
    viewer = ros.start("viewer", {"model": str(model), "http_port": 0})
    assert viewer.wait() == 2 and "the decoder 'yolox'" in viewer.output()
