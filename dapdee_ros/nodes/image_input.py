"""Images from any camera, with its driver's QoS, raw or compressed, as intact as possible.

A reliable subscription receives nothing from a best-effort publisher; a best-effort one loses what
a reliable publisher would have resent. And of large images from a driver with Fast DDS's default
512 kB of shared memory a best-effort reader gets only a few, since the segment is full before the
image is complete. Over sockets with room for several images it gets them all. So this monitors
publishers and arrivals, and resubscribes when they change.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.serialization import deserialize_message
from rclpy.timer import Timer
from sensor_msgs.msg import CompressedImage, Image

from dapdee_ros.nodes import qos
from dapdee_ros.nodes.camera_info import CameraInfoRelay
from dapdee_ros.nodes.participant_profile import read_over_sockets
from dapdee_ros.nodes.timers import every
from dapdee_ros.runtime.image_health import ImageHealth

_LOOK_S = 0.5
_LARGE_BYTES = 250_000
"""Images above half of a default shared memory segment lose fragments in it."""

_SILENCE_S = 1.0
"""After this long without an image, a best-effort publisher's images are assumed lost in transit,
and so are a reliable one's if none has ever arrived."""

_ROOM_BYTES = 2_000_000
"""Smallest useful socket buffer: two images of 640x480."""


class ArrivedImage:
    """An image as it came; a camera faster than the head sends most of them for nothing.

    So they are deserialised only when somebody looks at them: as a Python object, an image takes
    longer than all else about its arrival.
    """

    def __init__(self, kind: type, serialised: bytes) -> None:
        """Keep it; ``kind`` is Image or CompressedImage."""
        self._kind, self._serialised = kind, serialised

    @cached_property
    def message(self) -> Any:
        """The Image or CompressedImage.

        Raises:
            Exception: if it is none; rclpy does not say of what kind.
        """
        return deserialize_message(self._serialised, self._kind)


class ImageInput:
    """Subscribes to ``image_raw`` or ``image_raw/compressed``, by the parameter or what there is.

    Attributes:
        health: what arrived, and what was lost in transit.
    """

    def __init__(self, node: Node, take: Callable[[ArrivedImage], None]) -> None:
        """Prepare; ``open`` subscribes.

        Args:
            node: owns the subscription; has the parameters ``image_reliability`` and
                ``image_transport``.
            take: receives every image.
        """
        self._node = node
        self._take = take
        self.health = ImageHealth()
        raw = node.resolve_topic_name("image_raw")
        self._kinds: dict[str, type] = {
            raw: Image,
            node.resolve_topic_name(f"{raw}/compressed"): CompressedImage,
        }
        self._raw, self._compressed = self._kinds
        self._calibration = CameraInfoRelay(node, raw)
        self._subscription: Any = None
        self._chosen: tuple[str, bool] | None = None
        self._over_sockets: set[str] = set()
        self._timer: Timer | None = None

    def open(self) -> None:
        """Subscribe, and keep checking whether another subscription would be better."""
        self.health = ImageHealth()
        self._calibration.open()
        self._look()
        self._timer = every(self._node, _LOOK_S, self._look)

    def close(self) -> None:
        """End the subscription."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None
        self._calibration.close()
        self._drop()

    def _drop(self) -> None:
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        self._subscription, self._chosen = None, None

    def _look(self) -> None:
        topic, publishers = self._topic_and_publishers()
        now_s = time.monotonic()
        self.health.on_publishers(now_s, topic, [p.node_name for p in publishers])
        wish = self._node.get_parameter("image_reliability").value
        offered = [p.qos_profile.reliability for p in publishers]
        all_reliable = bool(offered) and all(o == ReliabilityPolicy.RELIABLE for o in offered)
        reliable = wish == "reliable" or (wish == "auto" and all_reliable)
        renew = (topic, reliable) != self._chosen
        if topic not in self._over_sockets and self._is_lossy(now_s, reliable):
            self._over_sockets.add(topic)
            renew |= _has_room() and read_over_sockets(topic, self._node.context.get_domain_id())
        if renew:
            self._drop()
            self._subscribe(topic, reliable)

    def _topic_and_publishers(self) -> tuple[str, list[Any]]:
        transport = self._node.get_parameter("image_transport").value
        wanted = {"raw": [self._raw], "compressed": [self._compressed]}
        topics = wanted.get(transport, [self._raw, self._compressed])
        found = [(topic, self._node.get_publishers_info_by_topic(topic)) for topic in topics]
        return next((of for of in found if of[1]), found[0])

    def _is_lossy(self, now_s: float, reliable: bool) -> bool:
        """Whether images are too large for a driver's default memory, or seem to be.

        From a reliable publisher they still arrive intact, but what is resent arrives late. A
        publisher whose images have arrived before, but not lately, has just paused: resubscribing
        would lose its next one.
        """
        health = self.health
        if health.largest_bytes > _LARGE_BYTES:
            return True
        if reliable and health.largest_bytes:
            return False
        return health.publishers_for_s(now_s) > _SILENCE_S and health.silent_s(now_s) > _SILENCE_S

    def _subscribe(self, topic: str, reliable: bool) -> None:
        profile = QoSProfile(
            history=qos.IMAGE.history,
            depth=qos.IMAGE.depth,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=qos.IMAGE.durability,
        )
        self._chosen = (topic, reliable)
        kind = self._kinds[topic]
        self._subscription = self._node.create_subscription(
            kind,
            topic,
            lambda serialised: self._on_image(kind, serialised),  # type: ignore[arg-type]
            profile,
            raw=True,
            event_callbacks=SubscriptionEventCallbacks(
                message_lost=self._on_lost, use_default_callbacks=False
            ),
            qos_overriding_options=QoSOverridingOptions(
                policy_kinds=(QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH)
            ),
        )
        self.health.on_subscribed("reliable" if reliable else "best effort")

    def _on_image(self, kind: type, serialised: bytes) -> None:
        self.health.on_image(time.monotonic(), len(serialised))
        self._take(ArrivedImage(kind, serialised))

    def _on_lost(self, lost: Any) -> None:
        self.health.on_lost(lost.total_count_change)


def _has_room() -> bool:
    """Whether a socket here can buffer several images."""
    try:
        return int(Path("/proc/sys/net/core/rmem_max").read_text()) >= _ROOM_BYTES
    except (OSError, ValueError):
        return False
