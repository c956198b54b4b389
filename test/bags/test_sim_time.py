"""The nodes on a bag's clock: a small `ros2 bag play --clock`, and every node on its time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here: run 'make setup' and 'source tools/env.sh'")
pytest.importorskip("dapdee_ros.msg", reason="the messages are not built: run 'make setup'")

import torch
from bags.made_bags import SECOND_NS, STAMP_EARLIER_NS, START_NS, make_drive
from rclpy.serialization import deserialize_message
from ros_world import DomainLease, Program, RosWorld
from rosbags.rosbag2 import Reader
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

import dapdee_ros.msg as msg
from dapdee_ros.bags.answers import NetworkAnswers
from dapdee_ros.bags.frames import read_frames
from dapdee_ros.bags.reader import Bag
from dapdee_ros.exits.card import find_model
from dapdee_ros.exits.model_folder import load_model
from dapdee_ros.nodes import qos
from dapdee_ros.runtime.split_network import SplitNetwork
from dapdee_ros.tasks.task import task_of

pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]

START_S = 90.0
CLOCK_PERIOD_S = 0.02
FRAMES = 30


@pytest.fixture
def ros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RosWorld]:
    lease = DomainLease()
    for name, value in {
        "ROS_DOMAIN_ID": str(lease.domain_id),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_LOG_DIR": str(tmp_path / "ros_log"),
        "ROS_HOME": os.environ.get("ROS_HOME") or str(Path.home() / ".ros"),
        "OMP_NUM_THREADS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    world = RosWorld(lease.domain_id, tmp_path)
    try:
        yield world
    finally:
        world.close()
        lease.close()


class Player:
    """Publishes a bag's images at its times, over and over, and its time on /clock."""

    def __init__(self, ros: RosWorld, path: Path, programs: Sequence[Program]) -> None:
        self._ros = ros
        self._programs = programs
        node = ros.node("player")
        self._clock = node.create_publisher(Clock, "/clock", 10)
        self._images = node.create_publisher(Image, "image_raw", qos.IMAGE)
        with Reader(path) as reader:
            images = [c for c in reader.connections if c.topic == "/image_raw"]
            self._recorded = [
                (log_ns, deserialize_message(bytes(data), Image))
                for _, log_ns, data in reader.messages(images)
            ]
        self._round_ns = self._recorded[-1][0] - START_NS + SECOND_NS // 10
        self._begun_s = time.monotonic()
        self._played = 0

    @property
    def now_ns(self) -> int:
        """The bag's time."""
        return START_NS + int((time.monotonic() - self._begun_s) * 1e9)

    def play_until(self, condition: Any, what: str) -> None:
        """Play on until something is true; fails the test if it takes too long."""
        end_s = time.monotonic() + START_S
        while not condition():
            self._step()
            if time.monotonic() > end_s:
                printed = "\n---\n".join(program.output() for program in self._programs)
                raise AssertionError(f"not within {START_S} s: {what}\n{printed}")

    def _step(self) -> None:
        now_ns = self.now_ns
        clock = Clock()
        clock.clock.sec, clock.clock.nanosec = divmod(now_ns, SECOND_NS)
        self._clock.publish(clock)
        while True:
            rounds, index = divmod(self._played, len(self._recorded))
            log_ns, image = self._recorded[index]
            if log_ns + rounds * self._round_ns > now_ns:
                break
            stamp_ns = log_ns - STAMP_EARLIER_NS + rounds * self._round_ns
            image.header.stamp.sec, image.header.stamp.nanosec = divmod(stamp_ns, SECOND_NS)
            self._images.publish(image)
            self._played += 1
        self._ros.spin_for(CLOCK_PERIOD_S)

    def index_of(self, stamp: Any) -> int:
        """Which frame of the bag has that stamp."""
        into_ns = stamp.sec * SECOND_NS + stamp.nanosec + STAMP_EARLIER_NS - START_NS
        return round((into_ns % self._round_ns) / (SECOND_NS / 10))


def test_a_clock_that_stands_still_or_rewinds_stops_no_car(ros: RosWorld) -> None:
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    links = ros.collect(msg.LinkQuality, "link_quality", qos.STATE)
    ledgers = ros.collect(msg.FrameLedger, "ledger", qos.LATCHED)
    loads = ros.collect(msg.NodeLoad, "car/load", qos.STATE)
    simulated = {"use_sim_time": True}
    ros.start("head", {**simulated, "threads": 1, "deadline_s": 2.0})
    ros.start("manager", simulated, "-p", "partition_manager:deadline_s:=2.0")
    ros.start("camera", {**simulated, "rate_hz": 10.0})
    clocks = ros.node("clock").create_publisher(Clock, "/clock", 10)

    def drive(start_s: float, duration_s: float, speed: float) -> None:
        begun_s = time.monotonic()
        while (into_s := time.monotonic() - begun_s) < duration_s:
            clock = Clock()
            now_ns = int(1e9 * (start_s + speed * into_s))
            clock.clock.sec, clock.clock.nanosec = divmod(now_ns, SECOND_NS)
            clocks.publish(clock)
            ros.spin_for(CLOCK_PERIOD_S)

    end_s = time.monotonic() + START_S
    # What a node says before it has met the clock's publisher has no stamp.
    while not all(m and m[-1].header.stamp.sec >= 1000 for m in (results, links, ledgers, loads)):
        assert time.monotonic() < end_s, "nothing came while there was a clock"
        drive(1000.0, 1.0, speed=1.0)
    # Still, rewound, and without anyone who publishes it.
    for start_s, speed in ((1000.0, 0.0), (500.0, 1.0), (None, 0.0)):
        drive(start_s or 500.0, 0.5, speed)
        everything = (results, links, ledgers, loads)
        counts = [len(messages) for messages in everything]
        if start_s is None:
            ros.spin_for(4.0)
        else:
            drive(start_s, 4.0, speed)
        heard = [
            messages[n:]
            for n, messages in zip(counts, (results, links, ledgers, loads), strict=True)
        ]
        assert [len(new) >= least for new, least in zip(heard, (25, 2, 2, 2), strict=True)]
        assert all(0 <= r.latency_s < 4 for r in heard[0])
        stamp_s = (start_s or 500.0) - 0.5, (start_s or 500.0) + 5.0
        assert all(stamp_s[0] <= m.header.stamp.sec <= stamp_s[1] for new in heard for m in new)


def in_bag_time(stamp: Any, player: Player) -> bool:
    return (
        START_NS - SECOND_NS <= stamp.sec * SECOND_NS + stamp.nanosec <= player.now_ns + SECOND_NS
    )


def test_nodes_on_a_bags_clock_decide_as_ever(ros: RosWorld, tmp_path: Path) -> None:
    make_drive(tmp_path / "drive", frames=FRAMES)
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    plans = ros.collect(msg.PartitionPlan, "plan", qos.LATCHED)
    links = ros.collect(msg.LinkQuality, "link_quality", qos.STATE)
    ledgers = ros.collect(msg.FrameLedger, "ledger", qos.LATCHED)
    loads = ros.collect(msg.NodeLoad, "car/load", qos.STATE)
    simulated = {"use_sim_time": True}
    # So slow a car that there is no doubt about what is best while an edge answers.
    head = ros.start(
        "head",
        {**simulated, "threads": 1, "deadline_s": 2.0, "emulated_slowdown": 40.0},
    )
    edge = ros.start("edge", {**simulated, "threads": 1})
    manager = ros.start("manager", simulated, "-p", "partition_manager:deadline_s:=2.0")
    player = Player(ros, tmp_path / "drive", [head, edge, manager])
    player.play_until(
        lambda: sum(r.place == r.PLACE_EDGE for r in results) >= 15, "answers of the edge"
    )
    player.play_until(lambda: ledgers and loads, "what timers publish")
    player.play_until(lambda: any(link.connected for link in links), "a link that lives")
    assert plans[-1].boundary
    remote = [r for r in results if r.place == r.PLACE_EDGE]

    # Without an edge the car goes on by itself, whatever the clock.
    edge.kill()
    alone = len(plans)
    player.play_until(
        lambda: len(plans) > alone and not plans[-1].boundary, "a plan without the edge"
    )
    epoch = plans[-1].epoch
    player.play_until(
        lambda: sum(r.plan_epoch >= epoch and r.place == r.PLACE_CAR for r in results) >= 5,
        "answers of the car",
    )
    # Timers run on a steady clock: what a node says before it hears the bag's clock has no stamp.
    for messages in (plans, links, ledgers, loads):
        stamps = [message.header.stamp for message in messages]
        met = next((n for n, s in enumerate(stamps) if s.sec or s.nanosec), None)
        assert met is not None, messages
        assert all(in_bag_time(stamp, player) for stamp in stamps[met:]), stamps
    for message in results:
        assert in_bag_time(message.header.stamp, player), message
    for program in (head, manager):
        assert program.stop() == 0, program.output()

    # The answers are those of a replay: the network's, for these frames.
    torch.set_num_threads(1)
    model = load_model(find_model("roadsigns"))
    card = model.card
    with Bag(tmp_path / "drive") as bag:
        store = read_frames(bag, bag.topics["/image_raw"], card.input_spec, task_of(card))
    answers = NetworkAnswers(SplitNetwork(model), store.images)
    for result in remote:
        index = player.index_of(result.header.stamp)
        expected = answers.over_link(index, result.exit, tuple(result.boundary), result.codec)
        assert result.class_id == expected.answer.class_id
        assert result.sent_bytes == expected.sent_bytes
        assert result.score == pytest.approx(expected.answer.score, abs=1e-5)
