"""A bottleneck's points over real nodes: plans go from one to the next, and no frame is lost."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from builtin_interfaces.msg import Time
from sensor_msgs.msg import Image
from support.bottleneck_maker import model_with_bottlenecks

import dapdee_ros.msg as msg
from dapdee_ros.codecs.bottleneck.file import timed_as
from dapdee_ros.core.manager_events import TellPlan
from dapdee_ros.exits.card import ModelCard, read_card
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.conversions import message_to_profile, plan_to_message
from dapdee_ros.planning.plan import Crossing, Plan, Stage

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(300)]

EARLY, POOL = "backbone.stage1.pool", "backbone.stage2.pool"
RATE_HZ = 5.0
DEADLINE_S = 3.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("bottlenecks") / "roadsigns"
    return model_with_bottlenecks(place, {"early": [EARLY], "quarter": [POOL]}, count=6)


def plan_of(exits: int, boundary: str, codec: str) -> Plan:
    return Plan(
        exits,
        (Stage("car", 0.02), Stage("edge", 0.01)),
        (Crossing((boundary,), codec, 500, 0.01),),
        latency_s=0.04,
        expected_latency_s=0.04,
        period_s=0.02,
        quality=0.9,
        reason="forced",
    )


class Drive:
    """Images for a head, and what comes of them."""

    def __init__(self, ros: RosWorld, card: ModelCard) -> None:
        self.ros, self.card, self._sent = ros, card, 0
        self.results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
        self.ledgers = ros.collect(msg.FrameLedger, "ledger", qos.LATCHED)
        self.profiles = {
            side: ros.collect(msg.DeviceProfile, f"{side}/profile", qos.LATCHED)
            for side in ("car", "edge")
        }
        self._node = ros.node("forcing")
        self._plans = self._node.create_publisher(msg.PartitionPlan, "plan", qos.LATCHED)
        self._images = self._node.create_publisher(Image, "image_raw", qos.IMAGE)
        self._timer: Any = None

    def begin(self) -> None:
        self.ros.spin_until(lambda: all(self.profiles.values()), 90.0, "both nodes")
        self.ros.spin_until(self._images.get_subscription_count, 20.0, "the head's subscription")
        self._timer = self._node.create_timer(1 / RATE_HZ, self._send_image)
        self.ros.spin_until(lambda: len(self.results) >= 2, 30.0, "frames on the car alone")

    def follow(self, epoch: int, plan: Plan) -> None:
        told = TellPlan(plan, epoch, "forced", "test", DEADLINE_S, 4, 1e7, 0.0)
        message = plan_to_message(told, stamp=Time(), model_id=self.card.model_id)
        self._plans.publish(message)

    def end(self) -> msg.FrameLedger:
        """Stop the images; the ledger once every frame has ended."""
        self._node.destroy_timer(self._timer)
        self.ros.spin_until(
            lambda: (
                self.ledgers
                and self.ledgers[-1].in_flight == 0
                and self.ledgers[-1].accepted == self.ledgers[-1].results + self.ledgers[-1].drops
                and self.ledgers[-1].results == len(self.results)
            ),
            20.0,
            "every frame's end",
        )
        return self.ledgers[-1]

    def _send_image(self) -> None:
        self._sent += 1
        height, width = self.card.input_size
        pixels = random.Random(self._sent).randbytes(3 * height * width)
        message = Image(height=height, width=width, encoding="rgb8", step=3 * width, data=pixels)
        message.header.stamp = Time(sec=self._sent)
        self._images.publish(message)


def test_a_plan_goes_along_the_points_of_two_bottlenecks_and_no_frame_is_lost(
    ros: RosWorld, folder: Path
) -> None:
    card = read_card(folder)
    exits = len(card.dag.exits)
    drive = Drive(ros, card)
    for executable in ("head", "edge"):
        ros.start(executable, {"threads": 1, "model": str(folder), "deadline_s": DEADLINE_S}
                  if executable == "head" else {"threads": 1, "model": str(folder)})  # fmt: skip
    drive.begin()
    steps = [(EARLY, f"early@{point}") for point in (1, 2, 3, 4, 5, 3, 1)]
    steps += [(POOL, f"quarter@{point}") for point in (5, 1, 4)]
    for epoch, (boundary, codec) in enumerate(steps, start=1):
        drive.follow(epoch, plan_of(exits, boundary, codec))

        def answered(epoch: int = epoch) -> bool:
            edge = msg.InferenceResult.PLACE_EDGE
            return any(r.plan_epoch == epoch and r.place == edge for r in drive.results)

        ros.spin_until(answered, 30.0, f"a frame as {codec}")
    last = drive.end()
    assert last.drops == 0, list(zip(last.drop_reasons, last.drop_counts, strict=True))
    by_edge = [r for r in drive.results if r.place == r.PLACE_EDGE]
    assert {r.codec for r in by_edge} == {codec for _, codec in steps}
    sizes = {codec: [r.sent_bytes for r in by_edge if r.codec == codec] for _, codec in steps}
    # The images are noise, whose symbols are rare: but more channels are more bytes.
    assert max(sizes["early@1"]) < min(sizes["early@5"])
    for messages in drive.profiles.values():
        profile = message_to_profile(messages[-1])
        names = {timed_as(c, of.file.id) for of in card.bottlenecks for c in of.file.codecs}
        assert names <= set(profile.codecs)


def test_a_manager_uses_the_points_that_both_sides_have_and_no_others(
    ros: RosWorld, folder: Path, tmp_path: Path
) -> None:
    import shutil

    edge_folder = tmp_path / "roadsigns"
    shutil.copytree(folder, edge_folder)
    other = edge_folder / "bottlenecks" / "early.onnx"
    other.write_bytes(other.read_bytes() + bytes([0x72, 2, 0x0A, 0]))
    card = read_card(folder)
    drive = Drive(ros, card)
    plans = ros.collect(msg.PartitionPlan, "plan", qos.LATCHED)
    ros.start("head", {"threads": 1, "model": str(folder), "deadline_s": DEADLINE_S})
    ros.start("edge", {"threads": 1, "model": str(edge_folder)})
    ros.start(
        "manager",
        {
            "model": str(folder),
            "codecs": ["bottlenecks"],
            "deadline_s": DEADLINE_S,
            "gates": False,
            "pinned_plan": f"exit={len(card.dag.exits)} boundary={POOL} codec=quarter@5",
        },
    )
    drive.begin()
    ros.spin_until(lambda: plans and plans[-1].codec == "quarter@5", 60.0, "the pinned plan")
    ros.spin_until(
        lambda: any(r.codec == "quarter@5" and r.place == r.PLACE_EDGE for r in drive.results),
        30.0,
        "a frame through the bottleneck",
    )
    assert "early" not in {plan.codec.partition("@")[0] for plan in plans}
    last = drive.end()
    assert last.accepted == last.results + last.drops
