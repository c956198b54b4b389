"""One end of the link between car and edge: open, or sealed where a key is configured.

Open, its publishers and subscriptions are those of the node that owns it, as everywhere in ROS.
Sealed, they are ``nodes.sealed_link``'s.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from rclpy.node import Node
from rclpy.qos import QoSProfile

from dapdee_ros.estimation.health import Health, Level
from dapdee_ros.estimation.rejections import Rejections
from dapdee_ros.nodes.car import Car, car_of
from dapdee_ros.nodes.link_context import stays_on_this_machine
from dapdee_ros.nodes.servers import link_topics, server_topic
from dapdee_ros.nodes.topics import listen_checking, listen_timed, publish_on
from dapdee_ros.nodes.unlocked_publish import UnlockedPublisher
from dapdee_ros.planning.sites import EDGE
from dapdee_ros.sealing.channels import CHANNELS, Role
from dapdee_ros.sealing.configured import KEY_VARIABLE, sealed_link

if TYPE_CHECKING:
    from dapdee_ros.nodes.sealed_link import SealedEnd

LinkEnd: TypeAlias = "OpenEnd | SealedEnd"

NO_LINKS: Mapping[str, LinkEnd] = MappingProxyType({})
"""The links of a process that has none of its own: another one of its machine relays."""

INSECURE = (
    "insecure: anyone who reaches this ROS domain can read and forge what crosses the link; "
    "create a key with dapdee key new and copy it to both sides (docs/security.md; "
    f"{KEY_VARIABLE} chooses one). If the other side already has a key, it receives nothing from "
    "this one"
)


class OpenEnd:
    """The link without a key: it uses the owner's context.

    Attributes:
        car: the car at this end, or at the other one.
        server: name of the edge server, likewise.
    """

    sealed = False

    def __init__(self, owner: Node, car: Car | None = None, server: str = EDGE) -> None:
        self._owner = owner
        self.car, self.server = car or car_of(owner), server
        self._named = link_topics(car, server)

    def publisher(
        self, channel: str, kind: type, profile: QoSProfile, *, here_too: bool = False
    ) -> UnlockedPublisher:
        """A publisher on a channel; a link without room holds up the thread that sends alone."""
        return UnlockedPublisher(publish_on(self._owner, kind, self._named(channel), profile))

    def listen(
        self,
        channel: str,
        kind: type,
        take: Callable[[Any], None],
        profile: QoSProfile,
        rejections: Rejections,
    ) -> Any:
        """Subscribe to a channel; see ``topics.listen_checking`` for ``rejections``."""
        topic = self._named(channel)
        return listen_checking(self._owner, kind, topic, take, profile, rejections)

    def listen_timed(
        self,
        channel: str,
        kind: type,
        take: Callable[[Any, float], None],
        profile: QoSProfile,
        rejections: Rejections,
        *,
        check: Callable[[Any], str] | None = None,
        relay: bool = False,
    ) -> Any:
        """As ``listen``; ``take`` also gets the arrival time, on the callbacks' thread."""
        topic = self._named(channel)
        return listen_timed(self._owner, kind, topic, take, profile, rejections, check=check)

    def relay(self, channel: str, kind: type, profile: QoSProfile) -> None:
        """Let this machine's processes receive a channel; without a key they do so anyway."""

    def end_publisher(self, publisher: UnlockedPublisher) -> None:
        """Destroy a publisher."""
        self._owner.destroy_publisher(publisher.publisher)

    def end_subscription(self, subscription: Any) -> None:
        """Destroy a subscription."""
        self._owner.destroy_subscription(subscription)

    def diagnose(self, now_s: float) -> dict[str, Health]:
        """Task seal: a warning, unless nothing leaves this machine."""
        if stays_on_this_machine():
            return {
                "seal": Health(Level.OK, "no key; this process is restricted to this machine", {})
            }
        return {"seal": Health(Level.WARN, INSECURE, {})}

    def close(self) -> None:
        """Destroy what the owner does not own."""


def link_end(owner: Node, role: Role, car: Car | None = None, server: str = EDGE) -> LinkEnd:
    """The end of the link between a car and an edge server, as the environment configures it.

    Args:
        owner: the node that uses the link.
        role: its role on the link.
        car: the car; None: the one in whose namespace the owner runs.
        server: the edge server's name; ``EDGE`` for a car's only one.

    Raises:
        KeyFileError: if a key is configured and cannot be used.
    """
    link = sealed_link(os.environ)
    if link is None:
        return OpenEnd(owner, car, server)
    # Here, not above: without a key there is no need for cryptography.
    from dapdee_ros.nodes.sealed_link import SealedEnd

    return SealedEnd(owner, role, link, car, server)


def listen_beyond(
    link: LinkEnd | None,
    node: Node,
    kind: type,
    topic: str,
    take: Callable[[Any], None],
    profile: QoSProfile,
    rejections: Rejections,
    *,
    check: Callable[[Any], str] | None = None,
    server: str = EDGE,
) -> None:
    """Subscribe to a topic that crosses the link on some machines, as ``topics.listen_checking``.

    Args:
        link: this process's end of the link. With a key, messages are taken from it and relayed to
            the other processes of this machine, and not from the usual topic, on which every
            process of this machine could publish. None: another process relays them.
        node: the subscriber otherwise.
        kind: the message's type.
        topic: the topic.
        take: called with a message, on the callbacks' thread.
        profile: QoS of the subscription.
        rejections: counts what is refused.
        check: returns what is wrong with a message, as text; empty if nothing is.
        server: the edge server that it comes from, if it crosses the link.
    """
    if link is None or topic not in CHANNELS:
        topic = server_topic(server, topic) if topic in CHANNELS else topic
        listen_checking(node, kind, topic, take, profile, rejections, check=check)
        return
    link.listen_timed(
        topic,
        kind,
        lambda message, _arrived_s: take(message),
        profile,
        rejections,
        check=check,
        relay=True,
    )
