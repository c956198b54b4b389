"""A camera that delivers JPEGs: passed on to the edge as they are, with the same boxes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image
from support.colour_detector import colour_detector, painted
from vision_msgs.msg import Detection2DArray

import dapdee_ros.msg as msg
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.images import rgb_to_image

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]

START_S = 90.0
BLOCKS = {(256, 112, 320, 176): 0, (512, 240, 576, 304): 2}
EDGE, FALLBACK = msg.InferenceResult.PLACE_EDGE, msg.InferenceResult.PLACE_CAR_FALLBACK


def file_of(image: np.ndarray, suffix: str = ".jpg") -> bytes:
    return cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


class Camera:
    """Publishes one image again and again, as it is set."""

    def __init__(self, ros: RosWorld, data: bytes, form: str = "jpeg") -> None:
        self.data, self.form = data, form
        self.pixels: np.ndarray | None = None
        self._node = ros.node(f"camera_{id(self)}")
        self._files = self._node.create_publisher(CompressedImage, "image_raw/compressed", 1)
        self._node.create_timer(0.15, self._tick)

    def _tick(self) -> None:
        stamp = self._node.get_clock().now().to_msg()
        if self.pixels is not None:
            self._raw.publish(rgb_to_image(self.pixels, stamp, "front"))
            return
        message = CompressedImage(format=self.form, data=self.data)
        message.header.stamp, message.header.frame_id = stamp, "front"
        self._files.publish(message)

    def become_raw(self, pixels: np.ndarray) -> None:
        self._raw = self._node.create_publisher(Image, "image_raw", 1)
        self.pixels = pixels


def start(ros: RosWorld, model: Path, plan: str, policy: str = "exact") -> None:
    options = {"model": str(model), "deadline_s": 3.0}
    ros.start("head", options)
    ros.start("edge", {"model": str(model)})
    ros.start("manager", {**options, "pinned_plan": plan, "policy": policy})


def is_named(ledgers: list[msg.FrameLedger], why: str) -> bool:
    """Whether the newest ledger has drops for this reason."""
    return any(why in reason for ledger in ledgers[-1:] for reason in ledger.drop_reasons)


def boxes_of(result: msg.InferenceResult) -> dict[tuple[float, ...], int]:
    rows = np.array(result.boxes, np.float32).reshape(-1, 4)
    return {
        tuple(map(float, row)): int(number)
        for row, number in zip(rows, result.box_classes, strict=True)
    }


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return colour_detector(tmp_path)


def test_files_are_passed_on_and_found_the_same_in_pixels_of_the_image(
    ros: RosWorld, model: Path
) -> None:
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    found = ros.collect(Detection2DArray, "detections", qos.RESULT)
    data = file_of(painted((480, 640), BLOCKS))
    camera = Camera(ros, data)
    start(ros, model, "exit=1 boundary=image codec=camera")
    of_car = msg.InferenceResult.PLACE_CAR
    ros.spin_until(lambda: [r for r in results if r.place == of_car], START_S, "the car alone")
    passed = ros.spin_until(
        lambda: [r for r in results if r.place == EDGE and r.codec == "camera"], START_S, "the edge"
    )
    decoded = next(r for r in results if r.place == of_car)
    for result in (*passed, decoded):
        assert boxes_of(result) == {tuple(map(float, box)): n for box, n in BLOCKS.items()}
        assert result.header.frame_id == "front"
        assert result.source_bytes == len(data)
    assert passed[0].sent_bytes == len(data)
    assert list(passed[0].boundary) == ["image"]
    assert passed[0].load_s > 0
    assert len(found[-1].detections) == len(BLOCKS)
    # A PNG is decoded on the car, and so is an image that comes as pixels, under the same plan.
    camera.data, camera.form = file_of(painted((480, 640), BLOCKS), ".png"), "png"
    ros.spin_until(lambda: results[-1].source_bytes == 0, START_S, "results of PNGs")
    png = results[-1]
    assert sorted(boxes_of(png).values()) == [0, 2]


def test_the_planner_takes_it_by_itself_and_lets_it_go_when_the_camera_sends_pixels(
    ros: RosWorld, model: Path
) -> None:
    plans = ros.collect(msg.PartitionPlan, "plan", qos.LATCHED)
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    image = painted((480, 640), BLOCKS)
    camera = Camera(ros, file_of(image))
    start(ros, model, "", "edge-only+any")
    plan = ros.spin_until(
        lambda: next((p for p in plans if p.codec == "camera"), None), START_S, "such a plan"
    )
    assert list(plan.boundary) == ["image"]
    assert plan.predicted_hop_bytes[0] == pytest.approx(len(camera.data), rel=0.05)
    ros.spin_until(lambda: results[-1].codec == "camera", START_S, "frames that go by it")
    count = len(plans)
    camera.become_raw(image)
    ros.spin_until(lambda: len(plans) > count and plans[-1].codec != "camera", START_S, "another")
    ros.spin_until(lambda: results[-1].codec != "camera", START_S, "frames that go by that")
    assert sorted(boxes_of(results[-1]).values()) == [0, 2]


def test_files_that_cannot_be_decoded_are_dropped_and_counted(ros: RosWorld, model: Path) -> None:
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    ledgers = ros.collect(msg.FrameLedger, "ledger", qos.LATCHED)
    whole = file_of(painted((480, 640), BLOCKS))
    camera = Camera(ros, whole)
    start(ros, model, "exit=1 boundary=image codec=camera")
    ros.spin_until(lambda: [r for r in results if r.codec == "camera"], START_S, "files passed on")
    bomb = bytearray(whole)
    at = bomb.index(b"\xff\xc0")
    bomb[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    for bad, why in ((whole[: len(whole) // 2], "cut off"), (bytes(bomb), "pixels, expected")):
        camera.data = bad
        ros.spin_until(partial(is_named, ledgers, why), START_S, why)
    camera.data = whole
    count = len(results)
    ros.spin_until(lambda: len(results) > count + 2, START_S, "it goes on")
    last = ledgers[-1]
    assert last.accepted == last.results + last.drops + last.in_flight


def test_of_a_driver_that_publishes_both_the_files_can_be_taken(ros: RosWorld, model: Path) -> None:
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    image = painted((480, 640), BLOCKS)
    Camera(ros, file_of(image))
    Camera(ros, b"").become_raw(image)
    ros.start("head", {"model": str(model), "image_transport": "compressed"})
    ros.spin_until(lambda: len(results) >= 3, START_S, "results")
    assert all(r.source_bytes > 0 for r in results)
