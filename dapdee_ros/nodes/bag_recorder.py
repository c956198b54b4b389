"""The node that records topics of any type into a bag."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from dapdee_ros.bags.background_writer import BackgroundWriter
from dapdee_ros.bags.errors import BagError
from dapdee_ros.bags.message_types import require_type
from dapdee_ros.bags.writer import check_new_bag, offered_qos
from dapdee_ros.nodes.ending import StopProcess
from dapdee_ros.nodes.process import run_nodes
from dapdee_ros.nodes.timers import every
from dapdee_ros.runtime.system_clock import SystemClock, both_clocks_ns

_LOOK_PERIOD_S = 0.25
_LEAST_DEPTH = 100  # messages that may be queued while the disk is busy
_MOST_DEPTH = 10_000


@dataclass(frozen=True)
class RecordingSettings:
    """What to record, and where.

    Attributes:
        path: the bag's folder, which must not exist.
        topics: names, relative to the namespace or full; empty for all topics of the namespace.
        namespace: the namespace, such as ``/car1``; ``/`` for everything.
        storage: ``mcap`` or ``sqlite3``.
        compress: compress (mcap only).
        seconds: end after this long; 0: on a signal.
        use_sim_time: stamp messages with the time of ``/clock``.
    """

    path: Path
    topics: Sequence[str] = ()
    namespace: str = "/"
    storage: str = "mcap"
    compress: bool = False
    seconds: float = 0.0
    use_sim_time: bool = False


@dataclass(frozen=True)
class RecordedTopic:
    """One recorded topic: its type, messages written, messages lost in transit."""

    name: str
    kind: str
    count: int
    lost: int


@dataclass
class Recording:
    """The outcome of a recording.

    Attributes:
        topics: what was recorded.
        complaints: what was not recorded, and why.
        missing: requested topics that never appeared.
        seconds: how long it took.
    """

    topics: list[RecordedTopic]
    complaints: list[str]
    missing: list[str]
    seconds: float


class BagRecorder(Node):
    """Discovers topics, subscribes with the QoS that their publishers offer, writes the bytes.

    Attributes:
        recording: the outcome, once the node is destroyed.
        failure: why the bag could not be completed, empty if it was.
    """

    def __init__(self, settings: RecordingSettings) -> None:
        super().__init__("bag_recorder", namespace=settings.namespace)
        self._settings = settings
        self._prefix = "/" + settings.namespace.strip("/")
        if self._prefix != "/":
            self._prefix += "/"
        self._wanted = {self._full_name(topic) for topic in settings.topics}
        self._writer = BackgroundWriter(settings.path, settings.storage, compress=settings.compress)
        self._subscriptions_by_topic: dict[str, tuple[QoSProfile, Any]] = {}
        self._refused: dict[str, str] = {}
        self._kinds: dict[str, str] = {}
        self._lost: dict[str, int] = {}
        self._system_clock = SystemClock()
        steady_ns, self._started_ns = both_clocks_ns()
        self._started_s = steady_ns / 1e9
        self._ended = False
        self.recording: Recording | None = None
        self.failure = ""
        self._look()
        every(self, _LOOK_PERIOD_S, self._look)

    def _full_name(self, topic: str) -> str:
        return topic if topic.startswith("/") else self._prefix + topic

    def _look(self) -> None:
        """Subscribe to topics that have appeared."""
        s = self._settings
        if s.seconds and time.monotonic() - self._started_s >= s.seconds:
            raise StopProcess
        for topic, kinds in self.get_topic_names_and_types():
            if topic in self._refused or not self._is_wanted(topic):
                continue
            if len(kinds) > 1:
                self._refuse(topic, f"it has several types at once ({', '.join(kinds)})")
                continue
            publishers = self.get_publishers_info_by_topic(topic)
            if publishers:
                self._follow(topic, kinds[0], [p.qos_profile for p in publishers])

    def _is_wanted(self, topic: str) -> bool:
        if self._wanted:
            return topic in self._wanted
        # Names starting with an underscore are hidden topics, used by tools.
        hidden = any(part.startswith("_") for part in topic.split("/"))
        return topic.startswith(self._prefix) and not hidden

    def _follow(self, topic: str, kind: str, offered: list[QoSProfile]) -> None:
        profile = common_profile(offered)
        known = self._subscriptions_by_topic.get(topic)
        if known is not None:
            if (profile.reliability, profile.durability) == (
                known[0].reliability,
                known[0].durability,
            ):
                return
            # Another publisher with a weaker QoS has appeared: the common QoS receives from both.
            self._drop(topic, known[1])
            del self._subscriptions_by_topic[topic]
        try:
            message_type = _message_type(kind)
            if topic not in self._kinds:
                require_type(kind)
                self._writer.add_topic(topic, kind, _noted_qos(offered))
        except BagError as error:
            self._refuse(topic, str(error))
            return
        self._kinds[topic] = kind
        self._lost.setdefault(topic, 0)
        subscription = self.create_subscription(
            message_type,
            topic,
            partial(self._write, topic),
            profile,
            raw=True,
            event_callbacks=SubscriptionEventCallbacks(
                message_lost=partial(self._count_lost, topic), use_default_callbacks=False
            ),
        )
        self._subscriptions_by_topic[topic] = (profile, subscription)
        if known is None:
            self.get_logger().info(f"recording {topic} ({kind})")

    def _drop(self, topic: str, subscription: Any) -> None:
        """End a subscription after its pending messages."""
        while True:
            with subscription.handle:
                taken = subscription.handle.take_message(subscription.msg_type, True)
            if taken is None:
                break
            self._write(topic, *taken)
        self.destroy_subscription(subscription)

    def _refuse(self, topic: str, why: str) -> None:
        self._refused[topic] = why
        self.get_logger().warning(f"not recording {topic}: {why}")

    def _write(self, topic: str, data: bytes, info: dict[str, int]) -> None:
        try:
            self._writer.write_raw(topic, self._log_ns(info["received_timestamp"]), data)
        except BagError as error:
            self.failure = str(error)
            raise StopProcess(1) from error

    def _log_ns(self, received_ns: int) -> int:
        """The receive time of a message: its arrival, not the start of its callback."""
        if self._settings.use_sim_time:
            return self.get_clock().now().nanoseconds
        # Relative to the clock at the start, so that setting the clock makes no jump in the bag.
        into_s = self._system_clock.arrival_s(received_ns) - self._started_s
        return self._started_ns + round(1e9 * into_s)

    def _count_lost(self, topic: str, info: Any) -> None:
        self._lost[topic] += info.total_count_change

    def destroy_node(self) -> None:
        """Complete the bag, then end the node."""
        if not self._ended:
            self._ended = True
            self._conclude()
        super().destroy_node()

    def _conclude(self) -> None:
        try:
            for topic, (_profile, subscription) in self._subscriptions_by_topic.items():
                self._drop(topic, subscription)
            self._writer.close()
        except (BagError, StopProcess) as error:
            self.failure = self.failure or str(error)
        counts = self._writer.counts
        self.recording = Recording(
            [
                RecordedTopic(name, kind, counts[name], self._lost[name])
                for name, kind in sorted(self._kinds.items())
            ],
            [f"{topic}: {why}" for topic, why in sorted(self._refused.items())],
            sorted(self._wanted - set(self._kinds) - set(self._refused)),
            time.monotonic() - self._started_s,
        )


def common_profile(offered: Sequence[QoSProfile]) -> QoSProfile:
    """The strongest QoS that all of these publishers offer.

    A subscription that requests more than a publisher offers receives nothing from it.
    """
    reliable = all(p.reliability == ReliabilityPolicy.RELIABLE for p in offered)
    latched = all(p.durability == DurabilityPolicy.TRANSIENT_LOCAL for p in offered)
    depth = sum(p.depth for p in offered)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=min(max(depth, _LEAST_DEPTH), _MOST_DEPTH),
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=(DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE),
    )


def record(settings: RecordingSettings) -> tuple[Recording | None, str]:
    """Record until stopped.

    Returns:
        What was recorded (None if the node could not start), and why the bag is incomplete (empty
        if it is complete).

    Raises:
        BagError: if the bag cannot be created there.
    """
    check_new_bag(settings.path, settings.storage)
    made: list[BagRecorder] = []

    def make() -> list[BagRecorder]:
        made.append(BagRecorder(settings))
        return made

    arguments = ["dapdee record"]
    if settings.use_sim_time:
        arguments += ["--ros-args", "-p", "use_sim_time:=true"]
    status = run_nodes(make, arguments)
    if not made:
        return None, "the node could not be started"
    failure = made[0].failure or ("" if status == 0 else "the node failed, see above")
    return made[0].recording, failure


def _noted_qos(offered: Sequence[QoSProfile]) -> Any:
    """The QoS that a player of the bag should offer: the same."""
    profile = common_profile(offered)
    return offered_qos(
        max(p.depth for p in offered) or 10,
        reliable=profile.reliability == ReliabilityPolicy.RELIABLE,
        latched=profile.durability == DurabilityPolicy.TRANSIENT_LOCAL,
    )


def _message_type(kind: str) -> type:
    """The Python class of ``package/msg/Name``."""
    package, group, name = kind.split("/")
    # The publisher names the type, so only packages of messages are imported.
    if group != "msg" or not any((Path(f) / group).is_dir() for f in _package_folders(package)):
        raise BagError(f"its type {kind} is not installed here: source the workspace that has it")
    try:
        return getattr(importlib.import_module(f"{package}.{group}"), name)
    except (ImportError, AttributeError) as error:
        raise BagError(
            f"its type {kind} is not installed here ({error}): source the workspace that has it"
        ) from error


def _package_folders(package: str) -> Sequence[str]:
    """The folder of a package's modules, found without importing it."""
    if package in sys.modules:
        return list(getattr(sys.modules[package], "__path__", ()))
    found = importlib.util.find_spec(package)
    return (found.submodule_search_locations or ()) if found else ()
