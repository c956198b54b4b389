"""A bag through a detector: boxes in pixels of the bag's images, judged as a live run is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bags.made_bags import make_scenes
from rosbags.highlevel import AnyReader
from support.small_detector import LABELS, small_detector, small_segmenter

from dapdee_ros.bags.message_types import message_types
from dapdee_ros.bags.result_bag import TOPICS
from dapdee_ros.bags.shown_answers import INFO_TOPICS, TOPICS_OF
from dapdee_ros.cli.main import main
from dapdee_ros.datasets.roadscenes import CLASSES
from dapdee_ros.report.run_log import RunLog

FRAMES = 12
ROOT = Path(__file__).resolve().parents[2]


def test_a_replay_is_judged_by_its_boxes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = small_detector(tmp_path)
    scenes = make_scenes(tmp_path / "drive", FRAMES)
    out = tmp_path / "out"
    options = ["--model", str(model), "--link", "wifi", "--json", "--out", str(out)]
    policies = ["--policy", "device-only", "--policy", "edge-only"]
    capsys.readouterr()
    assert main(["replay", str(tmp_path / "drive"), *policies, *options]) == 0
    said = json.loads(capsys.readouterr().out)
    for name in ("device-only", "edge-only"):
        log = RunLog.load(out / f"{name}.json")
        assert log.task == "detection" and len(log.frames) == FRAMES
        for frame, scene in zip(log.frames, scenes, strict=True):
            cars = [o.box for o in scene.objects if CLASSES[o.label] == "car"]
            assert isinstance(frame.truth, list)
            assert [row[0] for row in frame.truth] == [LABELS.index("car")] * len(cars)
            assert [tuple(row[2:]) for row in frame.truth] == cars
            boxes = np.array([row[2:] for row in frame.answer]).reshape(-1, 4)  # type: ignore[union-attr]
            # The network sees 16x16 pixels, the image has 96 by 128.
            assert boxes[:, [0, 2]].max(initial=0) > 16 or not len(boxes)
            assert (boxes <= [128, 96, 128, 96]).all()
        # Nothing is lost on the way to an edge in 32-bit floats or as 8-bit images.
        assert log.settings["agreement"] == pytest.approx(1.0)
    assert said["runs"]["device-only"]["summary"]["objects_per_frame"] > 0
    with AnyReader([out / "device-only"], default_typestore=message_types()) as reader:
        results = [c for c in reader.connections if c.topic == "/inference"]
        topics = {c.topic: c.msgtype for c in reader.connections}
        found: list[Any] = [
            reader.deserialize(d, c.msgtype) for c, _, d in reader.messages(results)
        ]
    assert max(result.boxes.max(initial=0) for result in found) > 16
    assert topics["/detections"] == "vision_msgs/msg/Detection2DArray"
    assert topics["/annotations"] == "foxglove_msgs/msg/ImageAnnotations"


def test_others_read_boxes_and_their_drawings(tmp_path: Path) -> None:
    model = small_detector(tmp_path)
    make_scenes(tmp_path / "drive", 3)
    options = ["--model", str(model), "--link", "wifi", "--out", str(tmp_path / "out")]
    assert main(["replay", str(tmp_path / "drive"), "--policy", "device-only", *options]) == 0
    # With the definitions that the bag itself holds, as Foxglove reads it.
    with AnyReader([tmp_path / "out" / "device-only"]) as reader:
        by_topic: dict[str, list[Any]] = {}
        for connection, _, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            by_topic.setdefault(connection.topic, []).append(message)
    results, found = by_topic["/inference"], by_topic["/detections"]
    drawn = by_topic["/annotations"]
    assert len(results) == len(found) == len(drawn) == 3
    for result, array, drawing in zip(results, found, drawn, strict=True):
        assert array.header.stamp == result.header.stamp
        assert array.header.frame_id == "camera"
        sides = result.boxes.reshape(-1, 4)
        assert len(array.detections) == len(sides)
        # The best come first; weak ones are not drawn.
        strong = int((result.box_scores >= 0.25).sum())
        assert len(drawing.points) == len(drawing.texts) == strong
        for k, detection in enumerate(array.detections):
            box = detection.bbox
            left, top, right, bottom = map(float, sides[k])
            assert box.center.position.x == pytest.approx((left + right) / 2)
            assert (box.size_x, box.size_y) == pytest.approx((right - left, bottom - top))
            hypothesis = detection.results[0].hypothesis
            assert hypothesis.class_id == str(result.box_classes[k])
            if k >= strong:
                continue
            corners = [(point.x, point.y) for point in drawing.points[k].points]
            assert corners == [(left, top), (right, top), (right, bottom), (left, bottom)]
            assert drawing.points[k].timestamp == result.header.stamp
            assert drawing.texts[k].text.startswith(LABELS[result.box_classes[k]])
    assert sum(len(drawing.points) for drawing in drawn) > 0
    (label_info,) = by_topic["/label_info"]
    assert [c.class_name for c in label_info.class_map] == list(LABELS)
    assert by_topic["/vision_info"][0].method == "det"


def test_a_replay_of_a_segmenter_is_judged_by_its_class_maps(tmp_path: Path) -> None:
    model = small_segmenter(tmp_path)
    make_scenes(tmp_path / "drive", 4)
    options = ["--model", str(model), "--link", "wifi", "--out", str(tmp_path / "out")]
    assert main(["replay", str(tmp_path / "drive"), "--policy", "edge-only", *options]) == 0
    log = RunLog.load(tmp_path / "out" / "edge-only.json")
    assert log.task == "segmentation" and log.settings["agreement"] == 1.0
    maps = [log.records.read(frame.answer) for frame in log.frames]
    with AnyReader([tmp_path / "out" / "edge-only"]) as reader:
        there = [c for c in reader.connections if c.topic == "/segmentation"]
        found: list[Any] = [reader.deserialize(d, c.msgtype) for c, _, d in reader.messages(there)]
    assert len(maps) == len(found) == 4
    for shown, image in zip(maps, found, strict=True):
        assert shown is not None and (image.height, image.width) == (96, 128)
        np.testing.assert_array_equal(shown.class_ids.reshape(-1), image.data)


def test_the_layout_shows_what_the_bags_hold() -> None:
    layout = json.loads((ROOT / "config" / "foxglove_layout.json").read_text())
    panels = layout["configById"]
    (image,) = [panel for name, panel in panels.items() if name.startswith("Image!")]
    known = {f"/{name}" for name in (*TOPICS, *INFO_TOPICS)}
    known |= {f"/{name}" for topics in TOPICS_OF.values() for name in topics}
    assert image["imageMode"]["imageTopic"] == "/image_raw"
    assert image["imageMode"]["annotations"] == {"/annotations": {"visible": True}}
    paths = re.findall(r'"(/[a-z_]+)[."]', json.dumps(panels))
    assert {*paths} - {"/image_raw"} <= known and len({*paths}) > 3

    def leaves(node: Any) -> list[str]:
        if isinstance(node, str):
            return [node]
        return leaves(node["first"]) + leaves(node["second"])

    assert sorted(leaves(layout["layout"])) == sorted(panels)
