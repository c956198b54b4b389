"""What /diagnostics advises is what helps, over real nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sensor_msgs.msg import Image
from test_missing import Board

from dapdee_ros.nodes import qos
from dapdee_ros.nodes.timers import every

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(180)]

START_S = 60.0


def test_images_that_cannot_be_used_are_no_matter_of_rate(ros: RosWorld) -> None:
    board = Board(ros)
    ros.start("head", {"threads": 1})
    driver = ros.node("depth_camera")
    images = driver.create_publisher(Image, "image_raw", qos.IMAGE)
    depth = Image(height=48, width=64, encoding="16UC1", step=128, data=bytes(48 * 128))
    every(driver, 0.1, lambda: images.publish(depth))
    ledger = "/head: ledger"
    ros.spin_until(
        lambda: ledger in board.statuses and "16UC1" in board.statuses[ledger].message, START_S
    )
    said = board.statuses[ledger].message
    assert "rate_hz" not in said and "falls behind" not in said
    assert "set the camera driver to one of them" in said
