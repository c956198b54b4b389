"""Nodes, publishers and subscriptions that cost little while nothing happens.

rclpy gives every publisher and subscription several event handlers of its own, for warnings about
incompatible QoS, and its executor walks through all of them before every single callback. For the
nodes that run on the car all the time that is most of what they cost: without them the manager's
process needs half as much. Both ends of their topics are this package's, with the QoS profiles of
``qos``, so there is nothing to warn about.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile

LEAN = [Parameter("start_type_description_service", value=False)]
"""``parameter_overrides`` of a node that does without one service that nobody asks."""


def publish_on(node: Node, kind: type, topic: str, profile: QoSProfile) -> Any:
    """A publisher without event handlers."""
    return node.create_publisher(
        kind,
        topic,
        profile,
        event_callbacks=PublisherEventCallbacks(use_default_callbacks=False),
    )


def listen_to(
    node: Node, kind: type, topic: str, callback: Callable[[Any], None], profile: QoSProfile
) -> Any:
    """A subscription without event handlers."""
    return node.create_subscription(
        kind,
        topic,
        callback,
        profile,
        event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
    )
