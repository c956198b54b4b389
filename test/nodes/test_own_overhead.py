"""What a frame costs beside the network, as the nodes measure and publish it."""

from __future__ import annotations

import math
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from builtin_interfaces.msg import Time
from cli.test_import import segmenter

import dapdee_ros.msg as msg
from dapdee_ros.cli.main import main
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.conversions import message_to_profile, profile_to_message
from dapdee_ros.nodes.own_overhead import BUDGET_S, car_overhead, car_parts, edge_overhead
from dapdee_ros.planning.cost import EnergyPrices
from dapdee_ros.planning.device_profile import CodecTime, DeviceProfile
from dapdee_ros.planning.errors import ProfileError
from dapdee_ros.planning.overhead import Overhead
from dapdee_ros.tasks.task import task_of

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = pytest.mark.ros
CARD = read_card(find_model("roadsigns"))
TASK = task_of(CARD)


def test_a_frame_s_way_is_measured_in_half_a_second() -> None:
    began_s = time.monotonic()
    car = car_overhead(CARD, TASK)
    assert time.monotonic() - began_s < 3 * BUDGET_S
    # An image of 640 by 480 is not converted in no time, nor a message built.
    assert 5e-5 < car.frame_s < 0.5
    assert 1e-6 < car.crossing_s < 0.1
    edge = edge_overhead(CARD, TASK)
    assert 1e-6 < edge.frame_s < 0.1
    for side in (car, edge):
        assert 0 <= side.s_per_byte < 1e-6
        assert side.seconds((10_000_000,)) > side.seconds((1_000,)) > 0


def test_every_piece_of_the_way_is_told_apart() -> None:
    parts = car_parts(CARD, TASK)
    assert set(parts) == {"image", "result", "answer", "message"}
    assert parts["image"] > parts["result"]


def test_a_class_map_costs_more_than_a_class(tmp_path: Path) -> None:
    path = segmenter().save(tmp_path / "net.onnx")
    names = ["--labels", "road,car,person", "--out", str(tmp_path / "seg")]
    assert main(["import", str(path), "--task", "segmentation", *names]) == 0
    card = read_card(tmp_path / "seg")
    parts, plain = car_parts(card, task_of(card)), car_parts(CARD, TASK)
    # 307 kB for an image of 640 by 480, whatever the network's input.
    assert parts["result"] > 1.5 * plain["result"]


def test_a_profile_s_message_holds_it() -> None:
    profile = DeviceProfile(
        CARD.model_id,
        "car",
        1,
        {node.name: 0.01 for node in CARD.dag.nodes},
        "2026-11-20T00:00:00",
        engine="onnxruntime 1.32 ('cpu',)",
        overhead=Overhead(0.003, 0.001, 2e-8),
        cut_s=0.0002,
        cut_s_per_byte=3e-10,
        codecs={"f32": CodecTime(1e-5, 1e-11, 1e-6, 0.0), "jpeg": CodecTime(1e-4, 1e-9, 2e-4, 0.0)},
        energy=EnergyPrices(6.4, 2e-6, 2.7),
    )
    message = profile_to_message(profile, Time())
    assert message_to_profile(message) == profile
    for price in ("compute_w", "send_j_per_byte", "wait_w"):
        # A manager refuses a profile, whatever it holds, and goes on.
        for hostile in (-math.inf, math.nan, -1.0, 1e300):
            spoilt = profile_to_message(profile, Time())
            setattr(spoilt, price, hostile)
            with pytest.raises(ProfileError, match=f"energy: {price} is {re.escape(str(hostile))}"):
                message_to_profile(spoilt)


@pytest.mark.timeout(120)
def test_head_and_edge_publish_what_they_measured(ros: RosWorld) -> None:
    heard = {
        side: ros.collect(msg.DeviceProfile, f"{side}/profile", qos.LATCHED)
        for side in ("car", "edge")
    }
    ros.start("head", {"threads": 1})
    ros.start("edge", {"threads": 1})
    ros.spin_until(lambda: all(heard.values()), 90.0, "both profiles")
    car, edge = (message_to_profile(heard[side][0]) for side in ("car", "edge"))
    assert car.overhead.frame_s > 0
    assert car.overhead.crossing_s > 0
    assert edge.overhead.frame_s > 0
    assert car.engine
    assert edge.engine
