"""An emulated radio link: relays messages between car and edge according to a trace.

The car's side uses the usual topic names; the edge's topics are below ``far_prefix``. Serialised
messages pass unchanged, so their size is that on a real link.

A trace's time 0 is the head's first result, which is also where a run's recorded seconds start, so
startup time does not shift a tunnel. Until then the link keeps the trace's initial rate.
"""

from __future__ import annotations

import heapq
import itertools
import math
import os
import random
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from std_msgs.msg import Header

import dapdee_ros.msg as msg
from dapdee_ros.estimation.health import Health, Level
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.link_context import LinkContext
from dapdee_ros.nodes.parameters import ParameterError, declare_settings
from dapdee_ros.nodes.process import run_nodes
from dapdee_ros.nodes.process_settings import LinkEmulatorSettings
from dapdee_ros.nodes.servers import declare_servers, server_topic
from dapdee_ros.nodes.timers import every
from dapdee_ros.sealing.configured import sealed_link
from dapdee_ros.simulation.link_text import parse_link
from dapdee_ros.simulation.link_trace import LinkTrace, LinkTraceError, fixed_link
from dapdee_ros.simulation.shaper import ShapedLink

PACKET_BYTES = 1500
PACKET_HEADER_BYTES = 28  # IPv4 and UDP
_TRUTH_PERIOD_S = 0.2


class _Direction:
    """One direction of the link, on the monotonic clock: its initial rate until the trace starts.

    Attributes:
        delay_s: propagation delay.
    """

    def __init__(self, trace: LinkTrace, delay_s: float, queue_bytes: int) -> None:
        self.delay_s = delay_s
        self._trace = trace
        self._queue_bytes = queue_bytes
        self._dropped = 0
        self._zero_s = time.monotonic()
        self._link = ShapedLink(fixed_link(trace.rate_bps(0.0)), delay_s, queue_bytes)

    def begin(self, now_s: float) -> None:
        """Make this moment the trace's time 0; messages in transit arrive as they would have."""
        busy_s = self._zero_s + self._link.free_s - now_s
        self._dropped += self._link.dropped
        self._zero_s = now_s
        self._link = ShapedLink(
            self._trace,
            self.delay_s,
            self._queue_bytes,
            free_s=max(0.0, busy_s) if math.isfinite(busy_s) else 0.0,
        )

    def send(self, now_s: float, n_bytes: int) -> float | None:
        """When a message arrives, by ``ShapedLink.send``, but on the monotonic clock."""
        at_s = self._link.send(now_s - self._zero_s, n_bytes)
        return None if at_s is None else self._zero_s + at_s

    def rate_bps(self, now_s: float) -> float:
        """The rate at this moment of the monotonic clock."""
        return self._link.trace.rate_bps(now_s - self._zero_s)

    @property
    def dropped(self) -> int:
        """Number of messages dropped so far."""
        return self._dropped + self._link.dropped


def _far(near: Callable[[str], str], prefix: str) -> Callable[[str], str]:
    """The names of topics on the edge's side, from those on the car's."""
    return lambda channel: near(f"{prefix}/{channel}")


class LinkEmulator(Node):
    """Relays head_tensor and probe to the edge, edge_result and probe_echo back to the car."""

    def __init__(self) -> None:
        super().__init__("link_emulator")
        settings = declare_settings(self, LinkEmulatorSettings)
        self._loss, prefix = settings.loss_ratio, settings.far_prefix
        try:
            self._trace = parse_link(settings.link)
            back = parse_link(settings.downlink) if settings.downlink else self._trace
        except LinkTraceError as error:
            raise ParameterError(f"parameter link: {error}") from error
        self._up = _Direction(self._trace, settings.delay_s, settings.queue_bytes)
        self._down = _Direction(back, settings.delay_s, settings.queue_bytes)
        self._random = random.Random(settings.seed)
        self._condition = threading.Condition()
        self._due: list[tuple[float, int, Any, bytes]] = []
        self._order = itertools.count()
        self._stopping = False
        self.relayed = 0
        tensors, answers = (qos.tensor_qos(settings.reliable, depth) for depth in (4, 10))
        ways: list[tuple[_Direction, type, str, str, QoSProfile]] = []
        # The car has one radio, whichever server it sends to.
        for near in (partial(server_topic, server) for server in declare_servers(self)):
            far = _far(near, prefix)
            ways += [
                (self._up, msg.HeadTensor, near("head_tensor"), far("head_tensor"), tensors),
                (self._up, msg.Probe, near("probe"), far("probe"), qos.PROBE),
                (self._down, msg.InferenceResult, far("edge_result"), near("edge_result"), answers),
                (self._down, msg.Probe, far("probe_echo"), near("probe_echo"), qos.PROBE),
            ]
        # Sealed messages pass unchanged: the emulator does not need the key.
        sealed = sealed_link(os.environ)
        self._sealed = LinkContext(self, sealed.domain_id, self.get_namespace()) if sealed else None
        node = self._sealed.node if self._sealed else self
        for direction, kind, source, target, profile in ways:
            kind = msg.Sealed if sealed else kind
            publisher = node.create_publisher(kind, target, profile)
            node.create_subscription(
                kind, source, partial(self._take, direction, publisher), profile, raw=True
            )
        # Only the arrival of a result matters, so its content is never read.
        self._first_result: Subscription | None = self.create_subscription(
            msg.InferenceResult, "inference", self._begin, qos.RESULT, raw=True
        )
        self._truths = self.create_publisher(msg.LinkQuality, "link_truth", qos.STATE)
        every(self, _TRUTH_PERIOD_S, self._publish_truth)
        self._thread = threading.Thread(target=self._deliver, name="link", daemon=True)
        self._thread.start()
        if self._sealed:
            self._sealed.start()
        delay_ms = 1e3 * settings.delay_s
        self.get_logger().info(f"link: {self._trace.describe()}, delay {delay_ms:.0f} ms")

    def diagnose(self, now_s: float) -> dict[str, Health]:
        """Task link: it does what it is configured to do, so it is always OK."""
        rate_bps = self._up.rate_bps(time.monotonic())
        values = {
            "rate_bps": rate_bps,
            "relayed": self.relayed,
            "dropped": self._up.dropped + self._down.dropped,
            "waiting": len(self._due),
        }
        return {"emulated link": Health(Level.OK, f"{rate_bps / 1e6:.2f} Mbit/s", values)}

    def _begin(self, _result: bytes) -> None:
        """Start the traces, once: a run's recorded seconds start here as well."""
        if self._first_result is None:
            return
        # Otherwise every result of the rest of the run would be received for nothing.
        self.destroy_subscription(self._first_result)
        self._first_result = None
        with self._condition:
            now_s = time.monotonic()
            self._up.begin(now_s)
            self._down.begin(now_s)
        self.get_logger().info("first result: the link's time starts")

    def _take(self, direction: _Direction, publisher: Any, data: bytes) -> None:
        if self._loss and self._random.random() < self._loss:
            return
        packets = math.ceil(len(data) / (PACKET_BYTES - PACKET_HEADER_BYTES))
        # With a key this is called on the link's thread, and the traces start on the callbacks'.
        with self._condition:
            at_s = direction.send(time.monotonic(), len(data) + packets * PACKET_HEADER_BYTES)
            if at_s is None or math.isinf(at_s):
                return
            heapq.heappush(self._due, (at_s, next(self._order), publisher, data))
            self._condition.notify()

    def _deliver(self) -> None:
        while True:
            with self._condition:
                while not self._stopping:
                    wait_s = self._due[0][0] - time.monotonic() if self._due else None
                    if wait_s is not None and wait_s <= 0:
                        break
                    self._condition.wait(wait_s)
                if self._stopping:
                    return
                _, _, publisher, data = heapq.heappop(self._due)
            publisher.publish(data)
            self.relayed += 1

    def _publish_truth(self) -> None:
        rate_bps = self._up.rate_bps(time.monotonic())
        self._truths.publish(
            msg.LinkQuality(
                header=Header(stamp=self.get_clock().now().to_msg()),
                uplink_bps=rate_bps,
                rtt_s=self._up.delay_s + self._down.delay_s,
                loss_ratio=self._loss,
                connected=rate_bps > 0,
            )
        )

    def destroy_node(self) -> None:
        """End the delivering thread and the link, then the node."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        self._thread.join()
        if self._sealed:
            self._sealed.close()
        self.get_logger().info(
            f"{self.relayed} messages relayed, {self._up.dropped + self._down.dropped} dropped"
        )
        super().destroy_node()


def main() -> int:
    """Run the link emulator until it is stopped."""
    return run_nodes(lambda: [LinkEmulator()], large_messages=True)
