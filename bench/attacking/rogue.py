"""A malicious process: it joins a ROS domain, as anyone can, and runs one attack there.

Where the link is sealed it finds sealed messages only. It then sends what it would have sent all
the same, repeats what it hears, and sends changed copies of it.
"""

from __future__ import annotations

import math
import random
import time
from array import array
from collections.abc import Callable
from functools import partial
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.serialization import serialize_message

import dapdee_ros.msg as msg
from bench.fuzzing.constructed import constructed
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.nodes import qos

MARK = 0.7734375
"""Score of forged answers, exact in float32, to distinguish them from real ones."""

FORGED_EPOCH = 1_000_000
_ECHO_PERIOD_S = 0.02
LARGE_BYTES = 1_000_000
_SEALED_TOPICS = ("head_tensor", "edge_result", "probe", "probe_echo", "edge/profile", "edge/load")


class Rogue:
    """One attack.

    Args:
        node: in the domain that is attacked.
        plain: another participant there, for messages that are not sealed: Fast DDS lets a
            participant have one type for a topic.
        sealed: whether only sealed messages are to be found there.
    """

    def __init__(self, node: Node, plain: Node, sealed: bool) -> None:
        self.node, self.plain, self.sealed = node, plain, sealed
        self.card = read_card(find_model("roadsigns"))
        self.exits = len(self.card.dag.exits)
        self.dice = random.Random(1)
        self.sent = 0
        self.session, self.number, self.at = 0, 0, 0
        self._echo_s = 0.0
        self._publishers: dict[tuple[str, type], Any] = {}
        self._profile_of = {"edge/profile": qos.LATCHED, "car/profile": qos.LATCHED}
        self._profile_of |= {"plan": qos.LATCHED, "ledger": qos.LATCHED, "probe_echo": qos.PROBE}
        self._profile_of |= {"probe": qos.PROBE, "inference": qos.RESULT}
        if sealed:
            for topic in _SEALED_TOPICS:
                node.create_subscription(
                    msg.Sealed, topic, partial(self._echo, topic), self._profile(topic)
                )
        else:
            node.create_subscription(
                msg.HeadTensor, "head_tensor", self._hear, qos.tensor_qos(True, 10)
            )

    def _profile(self, topic: str) -> Any:
        return self._profile_of.get(topic, qos.tensor_qos(True, 10))

    def send(self, topic: str, message: Any, kind: type | None = None) -> None:
        """Publish a message, or bytes that are said to be one of ``kind``."""
        key = (topic, kind or type(message))
        if key not in self._publishers:
            node = self.node if key[1] is msg.Sealed else self.plain
            made = node.create_publisher(key[1], topic, self._profile(topic))
            self._publishers[key] = made
        try:
            self._publishers[key].publish(message)
        except RuntimeError:
            return  # more than the middleware sends of such a message
        self.sent += 1

    def _hear(self, frame: msg.HeadTensor) -> None:
        self.session, self.number = frame.session, frame.frame_number
        self.on_frame(frame)

    def on_frame(self, frame: msg.HeadTensor) -> None:
        """What to do when the car has sent a frame."""

    def _echo(self, topic: str, message: msg.Sealed) -> None:
        """Replay received messages, once unchanged and once with a byte modified."""
        now_s = time.monotonic()
        if message.key_id == 0xBAD or now_s < self._echo_s:
            return
        # It hears itself as well: not faster and faster.
        self._echo_s = now_s + _ECHO_PERIOD_S
        self.send(topic, message)
        changed = array("B", message.data)
        if changed:
            changed[self.dice.randrange(len(changed))] ^= 1
        message.data = changed
        message.counter += 1
        self.send(topic, message)

    # --- the attacks: each is called 20 times a second ------------------------------------------

    def answers(self) -> None:
        """Answer the car's frames before the edge does."""
        self.on_frame = lambda frame: self.send(  # type: ignore[method-assign]
            "edge_result",
            msg.InferenceResult(
                frame_number=frame.frame_number,
                session=frame.session,
                class_id=0,
                label=self.card.labels[0],
                score=MARK,
                top_classes=array("i", [0]),
                top_scores=array("f", [MARK]),
                exit=frame.exit,
                place=msg.InferenceResult.PLACE_EDGE,
                tail_s=1e-4,
                residence_s=2e-4,
                sent_bytes=len(frame.data),
                sent_echo_s=frame.sent_s,
            ),
        )
        if self.sealed:
            self.send("edge_result", msg.InferenceResult(score=MARK))

    def plans(self) -> None:
        """Forge plans that send whole images, or answer at the first exit."""
        self.at += 1
        whole = self.at % 40 < 20
        self.send(
            "plan",
            msg.PartitionPlan(
                epoch=FORGED_EPOCH + self.at,
                model_id=self.card.model_id,
                exit=self.exits if whole else 1,
                boundary=[self.card.dag.input] if whole else [],
                codec="f32" if whole else "",
                deadline_s=0.5,
                max_in_flight=1,
                predicted_latency_s=0.01,
                policy="forged",
            ),
        )

    def profiles(self) -> None:
        """Say that the car is fast and the edge server slow, and another number each time."""
        names = [node.name for node in self.card.dag.nodes]
        for side, seconds in (("car", 1e-3), ("edge", 5.0)):
            each = seconds * self.dice.uniform(0.5, 2.0) / len(names)
            self.send(
                f"{side}/profile",
                msg.DeviceProfile(
                    model_id=self.card.model_id,
                    device="forged",
                    threads=1,
                    node_names=names,
                    node_seconds=array("d", [0.0] + [each] * (len(names) - 1)),
                ),
            )

    def results(self) -> None:
        """Report slow frames on a slow car, and impossible times."""
        for latency_s, sent_s in ((0.4, 1e12), (30.0, time.monotonic()), (1e300, math.nan)):
            self.send(
                "inference",
                msg.InferenceResult(
                    session=self.session,
                    frame_number=self.number,
                    place=msg.InferenceResult.PLACE_EDGE,
                    plan_epoch=1,
                    latency_s=latency_s,
                    transfer_s=0.3,
                    sent_bytes=4000,
                    car_slowdown=1e30,
                    edge_slowdown=50.0,
                    sent_echo_s=sent_s,
                    score=MARK,
                ),
            )

    def echoes(self) -> None:
        """Answer probes that were never sent, and forge edge answers."""
        for sent_s in (1e12, -1e12, math.inf, time.monotonic() - 0.001):
            self.send("probe_echo", msg.Probe(session=1, sequence=self.at, sent_s=sent_s))
            self.send(
                "unused_answer",
                msg.InferenceResult(session=self.session, sent_echo_s=sent_s, sent_bytes=10**6),
            )
        self.at += 1

    def link(self) -> None:
        """Say that there is no link, and then that there is an endless one."""
        self.at += 1
        self.send(
            "link_quality",
            msg.LinkQuality(
                uplink_bps=1e12 if self.at % 2 else 1e3,
                rtt_s=1e-6,
                connected=self.at % 20 < 10,
                uplink_spread=0.1,
            ),
        )

    def loads(self) -> None:
        """Say that both machines are fully loaded, or idle, or both at once."""
        self.at += 1
        busy = self.at % 20 < 10
        for side in ("car", "edge"):
            self.send(
                f"{side}/load",
                msg.NodeLoad(
                    cpu_ratio=1.0 if busy else 0.0,
                    memory_ratio=1.0 if busy else 300.0,
                    battery_ratio=0.0,
                    slowdown=1e30,
                ),
            )

    def large(self) -> None:
        """Send frames and answers of a megabyte."""
        data = array("B", bytes(LARGE_BYTES))
        if self.sealed:
            sealed = msg.Sealed(key_id=0xBAD, sender=1, receiver=1, counter=self.at, data=data)
            self.send(self.dice.choice(("head_tensor", "edge_result")), sealed)
            self.at += 1
        frame = msg.HeadTensor(session=1, frame_number=1, model_id=self.card.model_id, codec="f32")
        frame.data = data
        self.send("head_tensor", frame)

    def malformed(self) -> None:
        """Send bytes whose lengths lie, on every topic."""
        kinds: tuple[tuple[str, type], ...] = (
            ("head_tensor", msg.HeadTensor),
            ("edge_result", msg.InferenceResult),
            ("plan", msg.PartitionPlan),
            ("inference", msg.InferenceResult),
            ("link_quality", msg.LinkQuality),
            ("edge/profile", msg.DeviceProfile),
            ("car/load", msg.NodeLoad),
            ("ledger", msg.FrameLedger),
            ("probe", msg.Probe),
        )
        if self.sealed:
            kinds = tuple((topic, msg.Sealed) for topic in _SEALED_TOPICS)
        for topic, kind in kinds:
            real = bytes(serialize_message(kind()))
            self.send(topic, constructed(real, self.dice), kind)


ATTACKS: tuple[str, ...] = (
    "answers", "plans", "profiles", "results", "echoes", "link", "loads", "large", "malformed"
)  # fmt: skip
"""Names of ``Rogue``'s attacks."""


def attack(name: str, domain_id: int, sealed: bool, seconds: float) -> int:
    """Play one attack for so long; returns how many messages were sent."""
    rclpy.init(args=[], domain_id=domain_id)
    other = Context()
    rclpy.init(args=[], context=other, domain_id=domain_id)
    try:
        node = rclpy.create_node(f"rogue_{name}")
        plain = rclpy.create_node(f"rogue_{name}_plain", context=other)
        rogue = Rogue(node, plain, sealed)
        play: Callable[[], None] = getattr(rogue, name)
        end_s = time.monotonic() + seconds
        due_s = time.monotonic()
        while time.monotonic() < end_s:
            if time.monotonic() >= due_s:
                due_s += 0.05
                play()
            rclpy.spin_once(node, timeout_sec=max(0.0, min(0.02, due_s - time.monotonic())))
        return rogue.sent
    finally:
        rclpy.try_shutdown(context=other)
        rclpy.try_shutdown()
