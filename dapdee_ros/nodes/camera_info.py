"""The camera's calibration beside the head's answers, wherever the images come from."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.timer import Timer
from sensor_msgs.msg import CameraInfo

from dapdee_ros.nodes.timers import every

_LOOK_S = 0.5


class CameraInfoRelay:
    """Passes a camera's ``camera_info`` on where its images are remapped from another namespace.

    ROS expects the calibration in the namespace of the image, so that of ``/front/image_raw`` is
    ``/front/camera_info``, and of what the head publishes ``camera_info`` beside that. Answers are
    in the source's pixels, so the messages are passed on unchanged. Where both names are the same
    there is nothing to do, and without a subscriber nothing is done.
    """

    def __init__(self, node: Node, image_topic: str) -> None:
        """Prepare; ``open`` begins.

        Args:
            node: the head.
            image_topic: full name of the topic of raw images.
        """
        self._node = node
        self._source = f"{image_topic.rpartition('/')[0]}/camera_info"
        own = node.resolve_topic_name("camera_info")
        self._publisher: Any = None
        if own != self._source:
            self._publisher = node.create_publisher(CameraInfo, own, qos_profile_sensor_data)
        self._subscription: Any = None
        self._timer: Timer | None = None

    def open(self) -> None:
        """Begin to look for subscribers."""
        if self._publisher is not None:
            self._timer = every(self._node, _LOOK_S, self._look)

    def close(self) -> None:
        """End."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None
        self._drop()

    def _look(self) -> None:
        if not self._publisher.get_subscription_count():
            self._drop()
        elif self._subscription is None:
            self._subscription = self._node.create_subscription(
                CameraInfo, self._source, self._publisher.publish, qos_profile_sensor_data
            )

    def _drop(self) -> None:
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None
