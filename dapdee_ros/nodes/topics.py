"""Publishers and subscriptions: lean ones, and ones that count what they cannot read.

rclpy gives every publisher and subscription several event handlers of its own, for warnings about
incompatible QoS, and its executor walks through all of them before every single callback. For the
nodes that run on the car all the time that is most of what they cost: without them the manager's
process needs half as much. Both ends of their topics are this package's, with the QoS profiles of
``qos``, so there is nothing to warn about.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message

from dapdee_ros.runtime.rejections import Rejections
from dapdee_ros.runtime.system_clock import SystemClock

LEAN = [Parameter("start_type_description_service", value=False)]
"""``parameter_overrides`` of a node that does without one service that nobody asks."""

_system_clock = SystemClock()


def publish_on(node: Node, kind: type, topic: str, profile: QoSProfile) -> Any:
    """A publisher without event handlers."""
    return node.create_publisher(
        kind,
        topic,
        profile,
        event_callbacks=PublisherEventCallbacks(use_default_callbacks=False),
    )


def listen_to(
    node: Node, kind: type, topic: str, callback: Callable[..., None], profile: QoSProfile
) -> Any:
    """A subscription without event handlers."""
    return node.create_subscription(
        kind,
        topic,
        callback,
        profile,
        event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
    )


def listen_timed(
    node: Node,
    kind: type,
    topic: str,
    callback: Callable[[Any, float], None],
    profile: QoSProfile,
) -> Any:
    """As ``listen_to``; the callback is also told when the message arrived.

    In seconds of the monotonic clock; see ``SystemClock.arrival_s``.
    """

    def take(message: Any, info: Mapping[str, Any]) -> None:
        callback(message, _system_clock.arrival_s(info["received_timestamp"]))

    return listen_to(node, kind, topic, take, profile)


def listen_checking(
    node: Node,
    kind: type,
    topic: str,
    callback: Callable[[Any], None],
    profile: QoSProfile,
    rejections: Rejections,
) -> Any:
    """A subscription that counts the messages whose bytes are none of their type.

    Otherwise the middleware drops those without a word, or, depending on which one it is, ends the
    process. It costs a copy of the bytes.
    """

    def take(data: bytes) -> None:
        try:
            message = deserialize_message(data, kind)
        except Exception as error:  # each middleware has errors of its own for this
            why = str(error).partition(", at /")[0]  # a line of source code helps nobody here
            reason = f"{len(data)} bytes on {topic} are no {kind.__name__}: {why}"
            if rejections.count(time.monotonic(), "unreadable message", reason):
                node.get_logger().warning(f"ignored: {reason}")
            return
        callback(message)

    return node.create_subscription(
        kind,
        topic,
        take,
        profile,
        raw=True,
        event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
    )
