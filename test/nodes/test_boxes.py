"""A detector over real nodes: boxes in pixels of the image, wherever they were computed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support.small_detector import LABELS, small_detector

import dapdee_ros.msg as msg
from dapdee_ros.exits.runnable import load_runnable
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.images import rgb_to_image
from dapdee_ros.runtime.network_input import network_input, placement
from dapdee_ros.tasks.detection import Detections
from dapdee_ros.tasks.task import task_of

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]

START_S = 90.0
HEIGHT, WIDTH = 48, 64


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A detector with random weights, letterboxed to 16x16."""
    return small_detector(tmp_path)


def scene() -> np.ndarray:
    return np.random.default_rng(8).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def expected(model: Path) -> Detections:
    """What is found without nodes, in pixels of the scene."""
    runnable = load_runnable(model, "onnxruntime")
    card, rgb = runnable.card, scene()
    given = {card.dag.input: network_input(rgb, card.input_spec)}
    (names,) = card.dag.exits
    outputs = runnable.engine.run(given, names)
    task = task_of(card)
    found = task.decode([outputs[name] for name in names], 1)
    return task.in_source(found, placement((HEIGHT, WIDTH), card.input_spec).to_source)


def boxes_of(result: msg.InferenceResult) -> np.ndarray:
    return np.array(result.boxes, np.float32).reshape(-1, 4)


@pytest.mark.parametrize("place", ["PLACE_CAR", "PLACE_EDGE"])
def test_boxes_are_in_pixels_of_the_image(ros: RosWorld, model: Path, place: str) -> None:
    wanted = expected(model)
    assert len(wanted) >= 2
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    options: dict[str, Any] = {"model": str(model), "engine": "onnxruntime"}
    ros.start("head", {**options, "deadline_s": 2.0})
    ros.start("edge", options)
    sends = "exit=1 boundary=image codec=f32" if place == "PLACE_EDGE" else "exit=1 device-only"
    ros.start("manager", {"model": str(model), "pinned_plan": sends, "deadline_s": 2.0})
    node = ros.node("source")
    publisher = node.create_publisher(type(image_of(node)), "image_raw", 1)
    node.create_timer(0.2, lambda: publisher.publish(image_of(node)))
    at = getattr(msg.InferenceResult, place)
    ros.spin_until(lambda: sum(r.place == at for r in results) >= 3, START_S, "results come")
    for result in results:
        assert result.header.frame_id == "camera"
        assert result.box_classes.tolist() == wanted.class_ids.tolist()
        np.testing.assert_allclose(boxes_of(result), wanted.boxes, atol=1e-2)
        np.testing.assert_allclose(result.box_scores, wanted.scores, atol=1e-4)
        assert boxes_of(result).max() <= WIDTH and boxes_of(result)[:, 3].max() <= HEIGHT
        assert result.class_id == wanted.class_ids[0]
        assert result.label == LABELS[result.class_id]


def image_of(node: Any) -> Any:
    return rgb_to_image(scene(), node.get_clock().now().to_msg(), "camera")
