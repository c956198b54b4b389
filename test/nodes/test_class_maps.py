"""A segmenter over real nodes: a class for every pixel of the image, wherever it was computed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from cli.test_import import segmenter
from sensor_msgs.msg import Image

import dapdee_ros.msg as msg
from dapdee_ros.cli.main import main
from dapdee_ros.exits.runnable import load_runnable
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.images import image_to_rgb, rgb_to_image
from dapdee_ros.runtime.network_input import network_input, placement
from dapdee_ros.tasks.segmentation import ClassMap
from dapdee_ros.tasks.task import task_of

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]

START_S = 90.0
HEIGHT, WIDTH = 48, 64
LABELS = ("road", "car", "person")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A segmenter with random weights, letterboxed to 16x16."""
    path = segmenter().save(tmp_path / "net.onnx")
    options = ["--task", "segmentation", "--resize", "letterbox", "--mean", "0.5"]
    names = ["--labels", ",".join(LABELS), "--out", str(tmp_path / "seg")]
    assert main(["import", str(path), *options, *names]) == 0
    return tmp_path / "seg"


def scene() -> np.ndarray:
    return np.random.default_rng(8).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def expected(model: Path) -> ClassMap:
    """The class map without nodes, in pixels of the scene."""
    runnable = load_runnable(model, "onnxruntime")
    card, rgb = runnable.card, scene()
    given = {card.dag.input: network_input(rgb, card.input_spec)}
    (names,) = card.dag.exits
    outputs = runnable.engine.run(given, names)
    task = task_of(card)
    found = task.decode([outputs[name] for name in names], 1)
    moved = task.in_source(found, placement((HEIGHT, WIDTH), card.input_spec).to_source)
    assert isinstance(moved, ClassMap)
    return moved


def image_of(node: Any) -> Any:
    return rgb_to_image(scene(), node.get_clock().now().to_msg(), "camera")


@pytest.mark.parametrize("place", ["PLACE_CAR", "PLACE_EDGE"])
def test_class_maps_are_of_the_image(ros: RosWorld, model: Path, place: str) -> None:
    wanted = expected(model)
    assert len(np.unique(wanted.class_ids)) == len(LABELS)
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    answers = ros.collect(msg.InferenceResult, "edge_result", qos.tensor_qos(True, 10))
    maps = ros.collect(Image, "segmentation", qos.RESULT)
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
        found = result.class_map
        assert found.encoding == "mono8" and found.header == result.header
        assert result.header.frame_id == "camera"
        np.testing.assert_array_equal(image_to_rgb(found)[:, :, 0], wanted.class_ids)
        assert result.score == pytest.approx(wanted.score, abs=1e-4)
        assert result.label == LABELS[result.class_id] == LABELS[wanted.commonest()]
        assert not result.deflated_class_map
    ros.spin_until(lambda: maps, 20.0, "a map on its own")
    for of_frame in maps:
        assert (of_frame.encoding, of_frame.header.frame_id) == ("mono8", "camera")
        np.testing.assert_array_equal(image_to_rgb(of_frame)[:, :, 0], wanted.class_ids)
    for answer in answers:
        # Over the link the map is of the network's input, and small.
        assert not answer.class_map.data and 8 < len(answer.deflated_class_map) < 16 * 16
