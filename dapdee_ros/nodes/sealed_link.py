"""One end of the sealed link: every message is sealed, and opened before it is deserialised."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message

import dapdee_ros.msg as msg
from dapdee_ros.estimation.health import Findings, Health, Level, Value
from dapdee_ros.estimation.rejections import Rejections
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.car import Car, car_of
from dapdee_ros.nodes.link_context import LinkContext, inner_topics_are_safe
from dapdee_ros.nodes.servers import link_topics, server_topic
from dapdee_ros.nodes.timers import every
from dapdee_ros.nodes.topics import MessageReader, publish_on
from dapdee_ros.nodes.unlocked_publish import publish_unlocked
from dapdee_ros.planning.sites import EDGE
from dapdee_ros.runtime.system_clock import SystemClock
from dapdee_ros.sealing.channels import CHANNELS, Role
from dapdee_ros.sealing.configured import SealedLink
from dapdee_ros.sealing.endpoint import Endpoint, Outgoing
from dapdee_ros.sealing.key_file import KeyFileError, id_text, load_ring
from dapdee_ros.sealing.session import Refused

HELLO_TOPIC = "link_hello"
SESSION_TOPIC = "link_session"

_POLL_PERIOD_S = 0.25
_KEY_FILE_PERIOD_S = 1.0
_DEPTH = 64
_HELLOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=2,  # one per key
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


@dataclass(frozen=True)
class _Take:
    """How a channel's messages are handled: their reader, and who gets one with its arrival."""

    reader: MessageReader
    take: Callable[[Any, float], None]


class SealedPublisher:
    """Seals and publishes the messages of one channel."""

    def __init__(self, end: SealedEnd, channel: str, publisher: Any, beside: Any) -> None:
        self._end, self._channel = end, channel
        self.publisher, self.beside = publisher, beside
        self.last: bytes | None = None

    def publish(self, message: Any) -> None:
        """Send a message to the channel's receiver; dropped while there is none."""
        data = serialize_message(message)
        self.last = data
        self.send(data)
        if self.beside is not None and self.beside.get_subscription_count():
            self.beside.publish(data)

    def send(self, data: bytes) -> None:
        """Seal a serialised message and publish it."""
        raw = self._end.seal(self._channel, data)
        if raw is not None:
            publish_unlocked(self.publisher, raw)


class SealedEnd:
    """The link with a key: a node in its own context, and a thread for received messages.

    Attributes:
        car: the car at this end, or at the other one.
        server: name of the edge server, likewise.
        rejections: the messages that were not accepted.
    """

    sealed = True

    def __init__(
        self,
        owner: Node,
        role: Role,
        link: SealedLink,
        car: Car | None = None,
        server: str = EDGE,
    ) -> None:
        """Start looking for the other side.

        Args:
            owner: the node that uses the link.
            role: its role on the link.
            link: key file and domain.
            car: the car; None: the one in whose namespace the owner runs.
            server: the edge server's name; ``EDGE`` for a car's only one.

        Raises:
            KeyFileError: if the key file cannot be used.
        """
        self.car, self.server = car or car_of(owner), server
        self._named = link_topics(car, server)
        link = link.of_car(self.car.car_id)
        ring = load_ring(link.key_file)
        self._owner, self._link = owner, link
        self.rejections = Rejections()
        self._lock = threading.Lock()
        self._clock = SystemClock()
        self._endpoint = Endpoint(role, ring, time.monotonic())
        self._key_stamp = _stamp(link)
        self._key_looked_s = time.monotonic()
        self._key_problem = ""
        self._latched: dict[str, SealedPublisher] = {}
        self._arrived: deque[tuple[_Take, bytes, float]] = deque()
        self._guard = owner.create_guard_condition(self._deliver)
        self._context = LinkContext(owner, link.domain_id, self.car.namespace)
        self._node = self._context.node
        self._hellos = self._say(HELLO_TOPIC, _HELLOS)
        self._sessions = self._say(SESSION_TOPIC, qos.RESULT)
        self._hear(HELLO_TOPIC, partial(self._shake, self._endpoint.on_hello), _HELLOS)
        self._hear(SESSION_TOPIC, partial(self._shake, self._endpoint.on_session), qos.RESULT)
        # On the link's thread, which runs while the owner still loads its model; and on the owner's
        # executor, which keeps running when the system clock is set back.
        every(self._node, _POLL_PERIOD_S, self._poll)
        every(owner, _POLL_PERIOD_S, self._poll)
        self._context.start()
        ids = ", ".join(map(id_text, ring.key_ids))
        owner.get_logger().info(
            f"link sealed with {ring.name} ({ids}), ROS domain {link.domain_id}"
        )

    # --- as OpenEnd's ---------------------------------------------------------------------------

    def publisher(
        self, channel: str, kind: type, profile: QoSProfile, *, here_too: bool = False
    ) -> SealedPublisher:
        """A publisher on a channel.

        Args:
            channel: its name in ``CHANNELS``.
            kind: type of its messages.
            profile: its QoS. Latched messages are resent to every new peer.
            here_too: publish it unsealed as well, for this machine.
        """
        beside = publish_on(self._owner, kind, self._named(channel), profile) if here_too else None
        made = SealedPublisher(self, channel, self._say(channel, profile), beside)
        if profile.durability == DurabilityPolicy.TRANSIENT_LOCAL:
            self._latched[channel] = made
        return made

    def listen(
        self,
        channel: str,
        kind: type,
        take: Callable[[Any], None],
        profile: QoSProfile,
        rejections: Rejections,
    ) -> Any:
        """Subscribe to a channel, on the link's thread."""
        reader = MessageReader(self._owner, kind, channel, rejections)

        def opened(data: bytes, _arrived_s: float) -> None:
            message = reader.read(data)
            if message is not None:
                take(message)

        return self._hear(channel, partial(self._open, channel, opened), profile)

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
        """As ``listen``; ``take`` also gets the arrival time, on the callbacks' thread.

        Args:
            channel: its name in ``CHANNELS``.
            kind: type of its messages.
            take: takes a message and its arrival, in seconds of the monotonic clock.
            profile: its QoS.
            rejections: counts implausible messages.
            check: returns what is wrong with a message, as text; empty if nothing is.
            relay: also relay it to the other processes of this machine.
        """
        taken = _Take(MessageReader(self._owner, kind, channel, rejections, check), take)
        beside = publish_on(self._owner, kind, self._named(channel), profile) if relay else None

        def opened(data: bytes, arrived_s: float) -> None:
            if beside is not None:
                beside.publish(data)
            self._arrived.append((taken, data, arrived_s))
            self._guard.trigger()

        return self._hear(channel, partial(self._open, channel, opened), profile)

    def relay(self, channel: str, kind: type, profile: QoSProfile) -> None:
        """Relay a channel to this machine's processes under its usual name."""
        publisher = publish_on(self._owner, kind, self._named(channel), profile)

        def opened(data: bytes, _arrived_s: float) -> None:
            publisher.publish(data)

        self._hear(channel, partial(self._open, channel, opened), profile)

    def end_publisher(self, publisher: SealedPublisher) -> None:
        """Destroy a publisher."""
        self._latched = {c: p for c, p in self._latched.items() if p is not publisher}
        self._node.destroy_publisher(publisher.publisher)
        if publisher.beside is not None:
            self._owner.destroy_publisher(publisher.beside)

    def end_subscription(self, subscription: Any) -> None:
        """Destroy a subscription."""
        self._node.destroy_subscription(subscription)

    def diagnose(self, now_s: float) -> dict[str, Health]:
        """Task seal: the peers, or why there are none."""
        with self._lock:
            endpoint = self._endpoint
            ids = ", ".join(map(id_text, endpoint.key_ids))
            missing = [role.name.lower() for role in endpoint.missing()]
        values: dict[str, Value] = {
            "key": ids,
            "link_domain": self._link.domain_id,
            "missing": ", ".join(missing) or "nobody",
        }
        refused = self.rejections.health(now_s)
        values |= refused.values
        found = Findings()
        if self._key_problem:
            found.add(Level.ERROR, f"{self._key_problem}; the keys read before stay in use")
        if refused.level is not Level.OK:
            found.add(
                Level.WARN,
                f"messages that are not sealed with our key arrive: {refused.message}; compare "
                "dapdee key show on both sides",
            )
        if missing:
            found.add(
                Level.WARN,
                f"no peer has answered with our key as {' or '.join(missing)}: is it running, with "
                f"the same key ({ids}), link domain ({self._link.domain_id}) and namespace?",
            )
        if not inner_topics_are_safe():
            found.add(
                Level.WARN,
                "the car's local topics are protected only by ROS's LOCALHOST range, which "
                "accepts any peer that names this machine's address: this package was built "
                "without Fast DDS's headers, or another middleware runs",
            )
        return {"seal": found.verdict(f"sealed with key {ids}", values)}

    def close(self) -> None:
        """End the link's thread and context."""
        self._context.close()

    # --- inside ---------------------------------------------------------------------------------

    def seal(self, channel: str, data: bytes) -> bytes | None:
        """As ``Endpoint.seal``, from any thread."""
        with self._lock:
            return self._endpoint.seal(channel, data, time.monotonic())

    def _say(self, topic: str, profile: QoSProfile) -> Any:
        return publish_on(self._node, msg.Sealed, server_topic(self.server, topic), profile)

    def _hear(
        self, topic: str, take: Callable[[bytes, Mapping[str, Any]], None], profile: QoSProfile
    ) -> Any:
        # Messages are opened at once, so depth makes no queue. With the small depth of an open
        # link, a few foreign messages would displace valid ones.
        deeper = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=_DEPTH,
            reliability=profile.reliability,
            durability=profile.durability,
        )
        return self._node.create_subscription(
            msg.Sealed,
            server_topic(self.server, topic),
            cast(Any, take),  # called with the message and its reception info
            deeper,
            raw=True,
            event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
        )

    def _open(
        self,
        channel: str,
        opened: Callable[[bytes, float], None],
        raw: bytes,
        info: Mapping[str, Any],
    ) -> None:
        arrived_s = self._clock.arrival_s(info["received_timestamp"])
        try:
            with self._lock:
                data = self._endpoint.open(channel, raw, time.monotonic())
        except Refused as refused:
            self._refuse(channel, refused)
            return
        if data is not None:
            opened(data, arrived_s)

    def _deliver(self) -> None:
        while self._arrived:
            taken, data, arrived_s = self._arrived.popleft()
            message = taken.reader.read(data)
            if message is not None:
                taken.take(message, arrived_s)

    def _shake(
        self,
        take: Callable[[bytes, float], Outgoing],
        raw: bytes,
        _info: Mapping[str, Any],
    ) -> None:
        try:
            with self._lock:
                outgoing = take(raw, time.monotonic())
        except Refused as refused:
            self._refuse("the handshake", refused)
            return
        self._send(outgoing)

    def _send(self, outgoing: Outgoing) -> None:
        for raw in outgoing.hellos:
            self._hellos.publish(raw)
        for raw in outgoing.to_peers:
            self._sessions.publish(raw)
        for role in outgoing.new_peers:
            self._owner.get_logger().info(f"link: sealed with {role.name.lower()}")
            for channel, publisher in self._latched.items():
                if CHANNELS[channel][1] == role and publisher.last is not None:
                    publisher.send(publisher.last)

    def _refuse(self, where: str, refused: Refused) -> None:
        reason = f"{where}: {refused}"
        if self.rejections.count(time.monotonic(), refused.kind, reason):
            self._owner.get_logger().warning(f"ignored a {refused.kind}: {reason}")

    def _poll(self) -> None:
        now_s = time.monotonic()
        if now_s - self._key_looked_s >= _KEY_FILE_PERIOD_S:
            self._key_looked_s = now_s
            self._look_at_key_file(now_s)
        with self._lock:
            outgoing = self._endpoint.poll(now_s)
        self._send(outgoing)

    def _look_at_key_file(self, now_s: float) -> None:
        """Reload a key file that has been replaced: a rotation needs no restart."""
        stamp = _stamp(self._link)
        if stamp == self._key_stamp:
            return
        self._key_stamp = stamp
        try:
            ring = load_ring(self._link.key_file)
        except KeyFileError as error:
            self._key_problem = str(error)
            self._owner.get_logger().error(f"{error}; the keys read before stay in use")
            return
        self._key_problem = ""
        with self._lock:
            self._endpoint.use(ring, now_s)
        ids = ", ".join(map(id_text, ring.key_ids))
        self._owner.get_logger().info(f"link: keys are now {ids}")


def _stamp(link: SealedLink) -> tuple[int, int, int, int]:
    """The file's attributes that change when it is replaced."""
    try:
        status = link.key_file.stat()
    except OSError:
        return (0, 0, 0, 0)
    return (status.st_ino, status.st_mtime_ns, status.st_size, status.st_mode)
