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
from typing import Any, cast

from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message

from dapdee_ros.runtime.rejections import Rejections, shortened
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
    node: Node,
    kind: type,
    topic: str,
    callback: Callable[..., None],
    profile: QoSProfile,
    *,
    raw: bool = False,
) -> Any:
    """A subscription without event handlers; raw: of the bytes, which nobody reads."""
    return node.create_subscription(
        kind,
        topic,
        callback,
        profile,
        raw=raw,
        event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
    )


class MessageReader:
    """Makes messages of one topic's bytes, and counts those that are none or make no sense."""

    def __init__(
        self,
        node: Node,
        kind: type,
        topic: str,
        rejections: Rejections,
        check: Callable[[Any], str] | None = None,
    ) -> None:
        """Prepare.

        Args:
            node: whose log tells of what is refused.
            kind: the messages' type.
            topic: where they come from.
            rejections: where to count.
            check: says what is wrong with a message, in words; empty if nothing is.
        """
        self._node, self._kind, self._topic = node, kind, topic
        self._rejections, self._check = rejections, check

    def read(self, data: bytes) -> Any | None:
        """The message; None if it was refused."""
        try:
            message = deserialize_message(data, self._kind)
        except Exception as error:  # each middleware has errors of its own for this
            why = str(error).partition(", at /")[0]  # a line of source code helps nobody here
            what = f"{len(data)} bytes on {self._topic} are no {self._kind.__name__}"
            self._refuse("unreadable message", f"{what}: {why}")
            return None
        if self._check is not None and (fault := self._check(message)):
            what = f"{self._kind.__name__} on {self._topic}"
            self._refuse("impossible report", f"{what}: {fault}")
            return None
        return message

    def _refuse(self, of_kind: str, reason: str) -> None:
        if self._rejections.count(time.monotonic(), of_kind, reason):
            self._node.get_logger().warning(f"ignored: {shortened(reason)}")


def listen_checking(
    node: Node,
    kind: type,
    topic: str,
    callback: Callable[[Any], None],
    profile: QoSProfile,
    rejections: Rejections,
    *,
    check: Callable[[Any], str] | None = None,
) -> Any:
    """A subscription that counts, and keeps from the callback, what makes no sense.

    Bytes that are no message of that type the middleware would otherwise drop without a word, or,
    depending on which one it is, end the process over. It costs a copy of the bytes.

    Args:
        node: who listens.
        kind: the message's type.
        topic: the topic.
        callback: takes a message.
        profile: how to listen.
        rejections: where to count.
        check: says what is wrong with a message, in words; empty if nothing is.
    """
    return listen_timed(
        node,
        kind,
        topic,
        lambda message, _: callback(message),
        profile,
        rejections,
        check=check,
    )


def listen_timed(
    node: Node,
    kind: type,
    topic: str,
    callback: Callable[[Any, float], None],
    profile: QoSProfile,
    rejections: Rejections,
    *,
    check: Callable[[Any], str] | None = None,
) -> Any:
    """As ``listen_checking``; the callback is also told when the message came.

    In seconds of the monotonic clock; see ``SystemClock.arrival_s``.
    """
    reader = MessageReader(node, kind, topic, rejections, check)

    def take(data: bytes, info: Mapping[str, Any]) -> None:
        message = reader.read(data)
        if message is None:
            return
        callback(message, _system_clock.arrival_s(info["received_timestamp"]))

    return node.create_subscription(
        kind,
        topic,
        cast("Callable[[bytes], None]", take),  # rclpy's types know no raw one with an info
        profile,
        raw=True,
        event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
    )
