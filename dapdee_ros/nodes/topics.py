"""Publishers and subscriptions: lean ones, and ones that count what they cannot read.

rclpy gives every publisher and subscription several event handlers of its own, for warnings about
incompatible QoS, and its executor walks through all of them before every single callback. For the
nodes that run on the car all the time that is most of what they cost: without them the manager's
process needs half as much. Both ends of their topics are this package's, with the QoS profiles of
``qos``, so there is nothing to warn about.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, cast

from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message

from dapdee_ros.codec.cdr_check import MessageLayout
from dapdee_ros.estimation.rejections import Rejections, shortened
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


def message_layout(kind: type) -> MessageLayout:
    """The fields of a message type and their bounds, to check serialised messages by.

    Args:
        kind: its Python class.
    """
    return _layout_of(f"{kind.__module__.partition('.')[0]}/{kind.__name__}")


@cache
def _layout_of(kind: str) -> MessageLayout:
    return MessageLayout(kind, _fields_of)


def _fields_of(kind: str) -> Mapping[str, str]:
    package, _, name = kind.partition("/")
    message = getattr(importlib.import_module(f"{package}.msg"), name)
    return cast("Mapping[str, str]", message.get_fields_and_field_types())


class MessageReader:
    """Makes messages of one topic's bytes, and counts those that are none or make no sense.

    The bytes are checked against the bounds of the type's fields before anything is built of them:
    Fast DDS heeds bounds only in what it sends, and those of texts not even there.
    """

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
        self._layout = message_layout(kind)

    def read(self, data: bytes) -> Any | None:
        """The message; None if it was refused."""
        try:
            self._layout.check(data)
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
