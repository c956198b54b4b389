"""The head's answers as vision_msgs: what a program gets that knows nothing of this package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image
from support.colour_detector import LABELS, colour_detector, painted
from vision_msgs.msg import Classification, Detection2DArray, LabelInfo, VisionInfo

import dapdee_ros.msg as msg
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.images import rgb_to_image
from dapdee_ros.nodes.vision_topics import detections_of

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]

START_S = 90.0
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
SIZE = (480, 640)
# Cells of the grid as they lie in the image: 320x240 pixels of the input, 40 below its top.
BLOCKS = {(256, 112, 320, 176): 0, (512, 240, 576, 304): 2}

SUBSCRIBER = """
import json, sys
import rclpy
from rclpy.node import Node
from vision_msgs.msg import Detection2DArray

rclpy.init()
node = Node("subscriber")
def show(message):
    if not message.detections:
        return
    boxes = [
        [d.bbox.center.position.x, d.bbox.center.position.y, d.bbox.size_x, d.bbox.size_y]
        for d in message.detections
    ]
    ids = [d.results[0].hypothesis.class_id for d in message.detections]
    stamp = message.header.stamp
    headers = {(d.header.frame_id, d.header.stamp.sec) for d in message.detections}
    assert headers == {(message.header.frame_id, stamp.sec)}
    assert not [name for name in sys.modules if name.startswith("dapdee")]
    print(json.dumps([boxes, ids, message.header.frame_id, stamp.sec, stamp.nanosec]), flush=True)
    raise SystemExit
node.create_subscription(Detection2DArray, "detections", show, 10)
rclpy.spin(node)
"""


def publish_steadily(ros: RosWorld, image: np.ndarray) -> list[tuple[int, int]]:
    """Publish an image again and again; returns the list of its stamps, which grows."""
    node = ros.node("source")
    publisher = node.create_publisher(Image, "image_raw", 1)
    stamps: list[tuple[int, int]] = []

    def tick() -> None:
        stamp = node.get_clock().now().to_msg()
        stamps.append((stamp.sec, stamp.nanosec))
        publisher.publish(rgb_to_image(image, stamp, "front_camera"))

    node.create_timer(0.2, tick)
    return stamps


def test_a_subscriber_that_knows_only_vision_msgs_gets_boxes_in_pixels_of_the_image(
    ros: RosWorld, tmp_path: Path
) -> None:
    model = colour_detector(tmp_path)
    ros.start("head", {"model": str(model), "deadline_s": 2.0})
    stamps = publish_steadily(ros, painted(SIZE, BLOCKS))
    subscriber = subprocess.Popen(
        [sys.executable, "-c", SUBSCRIBER],
        env={**ros.env, "ROS_DOMAIN_ID": str(ros.domain_id)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        ros.spin_until(lambda: subscriber.poll() is not None, START_S, "the subscriber has a box")
        assert subscriber.stdout is not None
        boxes, ids, frame_id, *stamp = json.loads(subscriber.stdout.read())
    finally:
        subscriber.kill()
        subscriber.wait()
    found = {tuple(box): int(class_id) for box, class_id in zip(boxes, ids, strict=True)}
    assert found == {
        ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top): colour
        for (left, top, right, bottom), colour in BLOCKS.items()
    }
    assert frame_id == "front_camera"
    assert tuple(stamp) in stamps


def test_the_model_and_its_classes_are_latched(ros: RosWorld, tmp_path: Path) -> None:
    model = colour_detector(tmp_path)
    ros.start("head", {"model": str(model), "vision_classes": "name"})
    infos = ros.collect(VisionInfo, "vision_info", LATCHED)
    ros.spin_until(lambda: infos, START_S, "the model is told")
    late = ros.collect(LabelInfo, "label_info", LATCHED)
    ros.spin_until(lambda: late, 20.0, "whoever comes late is told as well")
    (labels,) = late
    assert [(c.class_id, c.class_name) for c in labels.class_map] == list(enumerate(LABELS))
    assert labels.threshold == pytest.approx(0.6)
    assert (infos[0].method, infos[0].database_version) == (read_card(model).name, 1)
    assert infos[0].database_location == "/label_info"
    found = ros.collect(Detection2DArray, "detections", qos.RESULT)
    publish_steadily(ros, painted(SIZE, BLOCKS))
    ros.spin_until(lambda: found, START_S, "detections come")
    names = {d.results[0].hypothesis.class_id for d in found[0].detections}
    assert names == {"red", "blue"}
    assert found[0].detections[0].results[0].hypothesis.score == pytest.approx(1.0)


def test_a_classifier_publishes_its_most_likely_classes(ros: RosWorld) -> None:
    ros.start("head", {"model": "roadsigns", "deadline_s": 2.0})
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    said = ros.collect(Classification, "classification", qos.RESULT)
    labels = ros.collect(LabelInfo, "label_info", LATCHED)
    publish_steadily(ros, painted((64, 64), {(0, 0, 64, 64): 0}))
    ros.spin_until(lambda: results and said and labels, START_S, "answers come")
    by_stamp = {(r.header.stamp.sec, r.header.stamp.nanosec): r for r in results}

    def both() -> Any:
        stamps = ((c, (c.header.stamp.sec, c.header.stamp.nanosec)) for c in said)
        by_stamp.update({(r.header.stamp.sec, r.header.stamp.nanosec): r for r in results})
        return next(((c, by_stamp[stamp]) for c, stamp in stamps if stamp in by_stamp), None)

    one, result = ros.spin_until(both, 20.0, "both of one frame")
    assert [r.class_id for r in one.results] == [str(n) for n in result.top_classes]
    assert [r.score for r in one.results] == pytest.approx(list(result.top_scores))
    assert one.header.frame_id == "front_camera"
    names = [c.class_name for c in labels[0].class_map]
    assert tuple(names) == read_card(find_model("roadsigns")).labels


def test_an_empty_scene_has_no_detections() -> None:
    result = msg.InferenceResult(class_id=-1)
    result.header.frame_id = "camera"
    found = detections_of(result, str)
    assert (found.header.frame_id, list(found.detections)) == ("camera", [])


@pytest.mark.parametrize("namespace", ["/front", ""])
def test_the_calibration_of_a_remapped_camera_lies_beside_the_answers(
    ros: RosWorld, namespace: str
) -> None:
    remap = ("-r", f"image_raw:={namespace}/image_raw")
    head = ros.start("head", {"model": "roadsigns"}, *remap)
    came = ros.collect(CameraInfo, "camera_info", qos_profile_sensor_data)
    driver = ros.node("driver")
    publisher = driver.create_publisher(
        CameraInfo, f"{namespace}/camera_info", qos_profile_sensor_data
    )
    info = CameraInfo(width=640, height=480, distortion_model="plumb_bob")
    info.header.frame_id, info.header.stamp.sec, info.k[0] = "front_camera", 17, 500.0
    driver.create_timer(0.1, lambda: publisher.publish(info))
    ros.spin_until(lambda: len(came) >= 3, START_S, "calibrations")
    assert came[0] == info
    # In its own namespace the driver's is there already, once.
    ros.spin_until(lambda: "loaded in" in head.output(), START_S, "the head")
    ros.spin_for(1.0)
    assert driver.count_publishers("/camera_info") == 1
