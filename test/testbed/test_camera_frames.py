"""Frames that the testbed renders beforehand: the same images and truth as the camera's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dapdee_ros.datasets.frame_sources import open_source
from dapdee_ros.datasets.roadscenes import CLASSES, RoadScenes
from dapdee_ros.testbed.camera_frames import scene_frames, sign_frames


def test_rendered_scenes_are_read_back_with_their_boxes(tmp_path: Path) -> None:
    found = scene_frames(tmp_path, count=12)
    source = open_source(found["source"], path=found["path"])
    try:
        assert source.labels == CLASSES
        objects, scenes = 0, RoadScenes(7, sequence_frames=4)
        for number in range(12):
            frame, rendered = next(source), scenes.frame(number)
            assert frame is not None and frame.truth is not None
            assert np.array_equal(frame.image, rendered.image)
            boxes = np.array([found.box for found in rendered.objects]).reshape(-1, 4)
            assert np.allclose(np.array(frame.truth.boxes).reshape(-1, 4), boxes, atol=0.01)
            assert list(frame.truth.box_labels) == [found.label for found in rendered.objects]
            objects += len(boxes)
        assert objects > 5
    finally:
        source.close()


def test_frames_are_rendered_once(tmp_path: Path) -> None:
    for render in (scene_frames, sign_frames):
        first = Path(render(tmp_path, count=2)["path"])
        (first / "kept").write_text("")
        assert Path(render(tmp_path, count=2)["path"]) == first
        assert (first / "kept").exists()
