"""Publishers and subscriptions: lean ones, and ones that count what they cannot read.

rclpy gives every publisher and subscription several event handlers, for warnings about incompatible
QoS, and its executor iterates over all of them before every callback. For the nodes that always run
on the car that is most of their cost: without them the manager's process needs half the CPU time.
Both ends of their topics belong to this package, with the QoS profiles of ``qos``, so there is
nothing to warn about.
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

from dapdee_ros.codecs.cdr_check import MessageLayout
from dapdee_ros.estimation.rejections import Rejections, shortened
from dapdee_ros.runtime.system_clock import SystemClock

LEAN = [Parameter("start_type_description_service", value=False)]
"""``parameter_overrides`` that disable a service nobody calls."""

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
    """A subscription without event handlers; raw: of the serialised bytes."""
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
    """Deserialises one topic's messages, and counts invalid and implausible ones.

    The bytes are checked against the bounds of the type's fields before anything is built from
    them: Fast DDS enforces bounds only when sending, and those of strings not even then.
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
            node: its log reports what is refused.
            kind: the messages' type.
            topic: their topic.
            rejections: counts what is refused.
            check: returns what is wrong with a message, as text; empty if nothing is.
        """
        self._node, self._kind, self._topic = node, kind, topic
        self._rejections, self._check = rejections, check
        self._layout = message_layout(kind)

    def read(self, data: bytes) -> Any | None:
        """The message; None if it was refused."""
        try:
            self._layout.check(data)
            message = deserialize_message(data, self._kind)
        except Exception as error:  # each middleware has its own errors for this
            why = str(error).partition(", at /")[0]  # leave out the line of source code
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
    """A subscription that counts implausible messages and keeps them from the callback.

    The middleware would otherwise drop invalid bytes silently or, depending on the middleware, end
    the process. It costs a copy of the bytes.

    Args:
        node: the subscriber.
        kind: the message's type.
        topic: the topic.
        callback: called with a message.
        profile: QoS of the subscription.
        rejections: counts what
            is refused.
        check: returns what is wrong with a message, as text; empty if nothing is.
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
    """As ``listen_checking``; the callback also gets the message's arrival time.

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
        cast(
            "Callable[[bytes], None]", take
        ),  # rclpy's type stubs lack a raw subscription with message info
        profile,
        raw=True,
        event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
    )
