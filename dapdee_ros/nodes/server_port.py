"""The head's publisher and subscription for one edge server."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from std_msgs.msg import Header

import dapdee_ros.msg as msg
from dapdee_ros.core.frames import HeadFrame
from dapdee_ros.estimation.rejections import Rejections
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.conversions import head_frame_to_message
from dapdee_ros.nodes.link import LinkEnd
from dapdee_ros.runtime.outbox import Outbox


class ServerPort:
    """Sends frames to one edge server and receives its answers, while the head is active."""

    def __init__(self, link: LinkEnd, rejections: Rejections) -> None:
        """Prepare.

        Args:
            link: the link to it.
            rejections: counts answers that are refused.
        """
        self.link, self._rejections = link, rejections
        self._tensors: Any = None
        self._answers: Any = None
        self._outbox: Outbox[HeadFrame] | None = None

    def open(self, reliable: bool, most: int) -> None:
        """Be ready to send, at most so many frames waiting to leave."""
        self._tensors = self.link.publisher(
            "head_tensor", msg.HeadTensor, qos.tensor_qos(reliable, most)
        )
        self._outbox = Outbox(self._publish, most)

    def listen(self, reliable: bool, take: Callable[[str, msg.InferenceResult], None]) -> None:
        """Take answers: called with this server's name and one of its answers."""

        def checked(message: msg.InferenceResult) -> None:
            if fault := self._fault(message):
                self._rejections.count(time.monotonic(), "answer", fault)
            else:
                take(self.link.server, message)

        self._answers = self.link.listen(
            "edge_result",
            msg.InferenceResult,
            checked,
            qos.tensor_qos(reliable, 10),
            self._rejections,
        )

    def stop_listening(self) -> None:
        """Take no more answers."""
        if self._answers is not None:
            self.link.end_subscription(self._answers)
            self._answers = None

    def close(self) -> None:
        """Send no more frames."""
        if self._outbox is not None:
            self._outbox.stop()
            self.link.end_publisher(self._tensors)
            self._outbox = None

    def send(self, frame: HeadFrame) -> None:
        """Send a frame; returns at once."""
        if self._outbox is not None:
            self._outbox.put(frame)

    def announce(self, frame: HeadFrame, header: Header) -> None:
        """Send a frame without data, on the caller's thread."""
        self._tensors.publish(head_frame_to_message(frame, header, self.link.car.car_id))

    def set_most(self, most: int) -> None:
        """How many frames may wait to leave."""
        if self._outbox is not None:
            self._outbox.most = most

    @property
    def displaced(self) -> int:
        """Frames that never left, because newer ones took their place."""
        return self._outbox.displaced if self._outbox is not None else 0

    def _publish(self, frame: HeadFrame) -> None:
        self.announce(frame, frame.context.message.header)

    def _fault(self, message: msg.InferenceResult) -> str:
        """Why an answer is not for this car, or not of this server; empty if it is."""
        server = self.link.server
        if message.server not in ("", server):
            return f"it is of server {message.server[:64]!r} on a topic of {server!r}"
        return self.link.car.mismatch(message.car_id)
