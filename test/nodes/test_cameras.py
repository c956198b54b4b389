"""Cameras of other projects: a driver in a plain process, raw or compressed, as it offers it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from array import array
from functools import partial
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

import dapdee_ros.msg as msg
from bench.cameras import DRIVER, LEDGER, Tally
from dapdee_ros.datasets.roadsigns import RoadSigns
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.participant_profile import lease_port

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

CARD = read_card(find_model("roadsigns"))
START_S = 60.0
FRAMES = 40
PROFILE = "dapdee_ros.nodes.participant_profile"


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is not None


def check_that_frames_come(ros: RosWorld, reliability: str) -> None:
    """Run a head and a driver of its own process, VGA at 10 Hz; nearly all come to the head."""
    tally, ledgers, statuses = Tally(), [], {}
    node = ros.node("watch")

    def take_ledger(ledger: msg.FrameLedger) -> None:
        tally.take_ledger(ledger)
        ledgers.append(ledger)

    def take_diagnostics(array: DiagnosticArray) -> None:
        statuses.update({status.name: status for status in array.status})

    node.create_subscription(msg.InferenceResult, "inference", tally.take_result, qos.RESULT)
    node.create_subscription(msg.FrameLedger, "ledger", take_ledger, qos.LATCHED)
    node.create_subscription(DiagnosticArray, "/diagnostics", take_diagnostics, qos.DIAGNOSTICS)
    head = ros.start("head", {"threads": 1, **LEDGER})
    ros.spin_until(lambda: "loaded in" in head.output(), START_S, "the head")
    # Else nothing would be known of frames that came.
    ros.spin_until(lambda: node.count_publishers("inference") and ledgers, START_S, "its topics")
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, "640", "480", reliability, "6", str(FRAMES)],
        env={k: v for k, v in os.environ.items() if "DEFAULT_PROFILES_FILE" not in k},
    )
    ends = []
    try:
        ros.spin_until(lambda: node.count_subscribers("image_raw"), START_S, "the head's input")
        ros.spin_until(partial(has_ended, driver), START_S, "the driver's end")
        ends = node.get_subscriptions_info_by_topic("image_raw")
    finally:
        if driver.poll() is None:
            driver.kill()
            driver.wait()
    ros.spin_for(0.5)
    # What is superseded on a busy machine has come; what was lost before the head took it has not.
    assert tally.came >= 0.95 * FRAMES, (
        f"{len(tally.answered)} answered, {tally.dropped} dropped of {FRAMES};\n{ledgers[-1]}\n"
        f"{statuses.get('/head: images')}\n{[str(end) for end in ends]}\n{head.output()}"
    )


@pytest.mark.alone
@pytest.mark.parametrize("reliability", ["reliable", "best_effort"])
def test_a_vga_camera_of_a_plain_process_is_answered(ros: RosWorld, reliability: str) -> None:
    check_that_frames_come(ros, reliability)


@pytest.mark.alone
@pytest.mark.parametrize("reliability", ["reliable", "best_effort"])
def test_images_come_where_a_port_of_the_domain_is_taken(ros: RosWorld, reliability: str) -> None:
    # Two processes that start at the same time take ports from each other: one then has a port for
    # data that is not the next after its port for discovery. The test's process has the first two.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("", 7400 + 250 * ros.domain_id + 13))
        check_that_frames_come(ros, reliability)


def test_ports_for_images_are_given_once() -> None:
    first, second = lease_port(17), lease_port(17)
    assert first is not None and second is not None
    assert 7400 + 250 * 17 + 100 <= second < first < 7400 + 250 * 18
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("", second - 1))
        third = lease_port(17)
    assert third is not None and third < second - 1
    other = subprocess.run(
        [sys.executable, "-c", f"import {PROFILE} as p; print(p.lease_port(17))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(other.stdout) not in (first, second, third)
    highest = lease_port(232)
    assert highest is not None and 65400 <= highest <= 65535


@pytest.mark.parametrize("form", ["jpeg", "png"])
def test_compressed_images_are_taken_where_no_others_are(ros: RosWorld, form: str) -> None:
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    statuses: dict[str, DiagnosticStatus] = {}

    def take(array: DiagnosticArray) -> None:
        statuses.update({status.name: status for status in array.status})

    node = ros.node("driver")
    node.create_subscription(DiagnosticArray, "/diagnostics", take, qos.DIAGNOSTICS)
    images = node.create_publisher(
        CompressedImage,
        "image_raw/compressed",
        QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE),
    )
    ros.start("head", {"threads": 1})
    ros.spin_until(images.get_subscription_count, START_S, "the head")
    scenes = RoadSigns(seed=5, size=(128, 128))
    truths: dict[int, int] = {}

    def show(number: int) -> None:
        scene = scenes.frame(number)
        ok, data = cv2.imencode(f".{form}", scene.image[..., ::-1])
        assert ok
        image = CompressedImage(format=f"rgb8; {form} compressed bgr8")
        image.header.stamp.sec = number
        image.data = array("B", data.tobytes())
        truths[number] = scene.label
        seen = len(results)
        images.publish(image)
        ros.spin_until(lambda: len(results) > seen, 10.0, f"the answer to frame {number}")

    for number in range(1, 13):
        show(number)
    right = sum(truths[r.header.stamp.sec] == CARD.labels.index(r.label) for r in results)
    assert right >= 0.7 * len(results)
    assert all(r.head_s > 0 for r in results)
    status = "/head: images"
    ros.spin_until(lambda: status in statuses and "compressed" in statuses[status].message, 10.0)

    # A few bytes that claim a picture of gigabytes, and some that are none.
    ledgers = ros.collect(msg.FrameLedger, "ledger", qos.LATCHED)
    _, data = cv2.imencode(".png", np.zeros((2, 2, 3), np.uint8))
    huge = bytearray(data.tobytes())
    huge[16:24] = (60_000).to_bytes(4, "big") * 2
    for bad in (bytes(huge), b"no picture"):
        images.publish(CompressedImage(format=form, data=array("B", bad)))
        ros.spin_for(0.3)
    ros.spin_until(lambda: ledgers and ledgers[-1].drops >= 2, 10.0, "two drops")
    reasons = " ".join(ledgers[-1].drop_reasons)
    assert "60000x60000" in reasons
    assert "cannot be decoded" in reasons
    show(20)


def test_a_reliable_camera_that_pauses_keeps_its_subscription(ros: RosWorld) -> None:
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    node = ros.node("driver")
    reliable = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
    images = node.create_publisher(Image, "image_raw", reliable)
    head = ros.start("head", {"threads": 1})
    ros.spin_until(lambda: "loaded in" in head.output(), START_S, "the head")

    def readers() -> list[tuple[int, ...]]:
        return [
            tuple(end.endpoint_gid)
            for end in node.get_subscriptions_info_by_topic("image_raw")
            if end.qos_profile.reliability == ReliabilityPolicy.RELIABLE
        ]

    ros.spin_until(readers, START_S, "a reliable subscription")
    image = Image(width=32, height=32, step=96, encoding="rgb8")
    image.data = array("B", bytes(96 * 32))
    end_s = time.monotonic() + START_S
    while not results:
        assert time.monotonic() < end_s, "no answer"
        images.publish(image)
        ros.spin_for(0.3)
    before = readers()
    ros.spin_for(2.5)  # what is published while a head subscribes anew is lost
    assert readers() == before


def test_the_head_says_whether_nobody_publishes_or_nothing_comes(ros: RosWorld) -> None:
    statuses: dict[str, DiagnosticStatus] = {}

    def take(array: DiagnosticArray) -> None:
        statuses.update({status.name: status for status in array.status})

    node = ros.node("driver")
    node.create_subscription(DiagnosticArray, "/diagnostics", take, qos.DIAGNOSTICS)
    ros.start("head", {"threads": 1, "image_reliability": "reliable"})

    def until(level: bytes, words: str) -> None:
        def said() -> bool:
            status = statuses.get("/head: images")
            return status is not None and status.level == level and words in status.message

        ros.spin_until(said, START_S, f"{words!r}; said was {statuses.get('/head: images')}")

    until(DiagnosticStatus.STALE, "nobody publishes /image_raw")
    images = node.create_publisher(Image, "image_raw", qos.IMAGE)
    until(DiagnosticStatus.ERROR, "driver publishes /image_raw, but no image has arrived")
    node.destroy_publisher(images)
