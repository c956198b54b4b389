"""A bag through a detector: boxes in pixels of the bag's images, judged as a live run is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bags.made_bags import make_scenes
from rosbags.highlevel import AnyReader
from support.small_detector import LABELS, small_detector

from dapdee_ros.bags.message_types import message_types
from dapdee_ros.cli.main import main
from dapdee_ros.datasets.roadscenes import CLASSES
from dapdee_ros.report.run_log import RunLog

FRAMES = 12


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
        found: list[Any] = [
            reader.deserialize(d, c.msgtype) for c, _, d in reader.messages(results)
        ]
    assert max(result.boxes.max(initial=0) for result in found) > 16
