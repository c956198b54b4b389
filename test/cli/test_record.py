"""dapdee record: real messages over real DDS into a bag, whole whatever ends the recording."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here: run 'make setup' and 'source tools/env.sh'")
pytest.importorskip("dapdee_ros.msg", reason="the messages are not built: run 'make setup'")

import numpy as np
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_world import RosWorld
from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability, QosReliability
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String
from support.stepped_clock import SteppedClock, what_is_missing

import dapdee_ros.msg as msg
from dapdee_ros.bags.pictures import picture
from dapdee_ros.bags.reader import Bag
from dapdee_ros.cli.main import main
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.bag_recorder import common_profile

if TYPE_CHECKING:
    from rclpy.publisher import Publisher

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

START_S = 60.0
MESSAGES = 20


class Recorder:
    """dapdee record in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dapdee_ros.cli.main", "record", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    def end(self, with_signal: signal.Signals | None = None) -> tuple[int, str, str]:
        """End it; returns status, output and errors."""
        if with_signal is not None:
            self.process.send_signal(with_signal)
        try:
            out, err = self.process.communicate(timeout=30)
        finally:
            self.process.kill()
        return self.process.returncode, out, err


def heard_by(ros: RosWorld, count: int = 1) -> Callable[[Publisher], Any]:
    def wait(publisher: Publisher) -> None:
        ros.spin_until(
            lambda: publisher.get_subscription_count() >= count, START_S, "the recorder listens"
        )

    return wait


def pictures(count: int) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [random.integers(0, 256, (30, 40, 3), dtype=np.uint8) for _ in range(count)]


@pytest.mark.parametrize(("end", "storage"), [(signal.SIGINT, "mcap"), (signal.SIGTERM, "sqlite3")])
def test_everything_is_in_the_bag_when_the_recorder_is_told_to_end(
    ros: RosWorld, tmp_path: Path, end: signal.Signals, storage: str
) -> None:
    node = ros.node("source")
    plans = node.create_publisher(msg.PartitionPlan, "plan", qos.LATCHED)
    results = node.create_publisher(msg.InferenceResult, "inference", qos.RESULT)
    images = node.create_publisher(
        Image, "image_raw", QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
    )
    # Latched before the recorder is there: it has to come all the same.
    plans.publish(msg.PartitionPlan(epoch=7, boundary=["image"], reason="before"))
    bag_path = tmp_path / "drive"
    recorder = Recorder("--out", str(bag_path), "--storage", storage, "--json")
    for publisher in (plans, results, images):
        heard_by(ros)(publisher)
    shown = pictures(MESSAGES)
    for number, rgb in enumerate(shown):
        header = Header(frame_id="camera")
        header.stamp.sec = number
        image = Image(header=header, height=30, width=40, encoding="rgb8", step=120)
        image.data = rgb.tobytes()
        images.publish(image)
        results.publish(msg.InferenceResult(frame_number=number, score=0.5, boundary=["a", "b"]))
        ros.spin_for(0.02)
    ros.spin_for(0.5)
    status, out, err = recorder.end(end)
    assert status == 0, err
    said = json.loads(out.splitlines()[-1])
    counts = {topic["name"]: topic["count"] for topic in said["topics"]}
    assert counts["/plan"] == 1
    assert counts["/inference"] == counts["/image_raw"] == MESSAGES
    assert said["complaints"] == said["missing"] == []
    assert {topic["lost"] for topic in said["topics"]} == {0}

    with Bag(bag_path) as bag:
        assert {name: topic.count for name, topic in bag.topics.items()} == counts
        read: dict[str, list] = {}
        for topic, log_ns, message in bag.messages(*bag.topics.values()):
            assert abs(log_ns - time.time_ns()) < 60e9
            read.setdefault(topic.name, []).append(message)
    assert read["/plan"][0].epoch == 7
    assert [r.frame_number for r in read["/inference"]] == list(range(MESSAGES))
    assert read["/inference"][0].boundary == ["a", "b"]
    for number, (message, rgb) in enumerate(zip(read["/image_raw"], shown, strict=True)):
        assert message.header.stamp.sec == number
        assert np.array_equal(picture(message), rgb)
    with AnyReader([bag_path]) as reader:
        noted = {c.topic: c.ext.offered_qos_profiles[0] for c in reader.connections}  # type: ignore[union-attr]
    assert noted["/plan"].durability is QosDurability.TRANSIENT_LOCAL
    assert noted["/inference"].durability is QosDurability.VOLATILE
    assert noted["/image_raw"].reliability is QosReliability.BEST_EFFORT
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_chosen_topics_of_a_namespace_for_a_time(ros: RosWorld, tmp_path: Path) -> None:
    node = ros.node("source", namespace="/car1")
    wanted = node.create_publisher(String, "wanted", 10)
    other = node.create_publisher(String, "other", 10)
    elsewhere = ros.node("elsewhere").create_publisher(String, "wanted", 10)
    # Long enough for a slow machine to tell the recorder of the topics, and us of the recorder.
    recorder = Recorder(
        *("wanted", "never", "--namespace", "car1", "--seconds", "6"),
        *("--out", str(tmp_path / "bag")),
    )
    heard_by(ros)(wanted)
    for publisher in (wanted, other, elsewhere):
        publisher.publish(String(data=publisher.topic_name))
    status, out, err = recorder.end()
    assert status == 0, err
    assert "never seen: /car1/never" in out
    with Bag(tmp_path / "bag") as bag:
        assert list(bag.topics) == ["/car1/wanted"]
        ((_, _, message),) = bag.messages(*bag.topics.values())
    assert message.data == "/car1/wanted"


def test_a_publisher_that_offers_less_comes_later(ros: RosWorld, tmp_path: Path) -> None:
    first = ros.node("first").create_publisher(String, "words", qos.LATCHED)
    recorder = Recorder("words", "--out", str(tmp_path / "bag"))
    heard_by(ros)(first)
    first.publish(String(data="reliable"))
    ros.spin_for(0.5)
    second = ros.node("second").create_publisher(
        String, "words", QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
    )
    heard_by(ros)(second)
    ros.spin_for(0.5)
    second.publish(String(data="best effort"))
    first.publish(String(data="reliable again"))
    ros.spin_for(0.5)
    status, _, err = recorder.end(signal.SIGINT)
    assert status == 0, err
    with Bag(tmp_path / "bag") as bag:
        said = [message.data for _, _, message in bag.messages(*bag.topics.values())]
    assert sorted(said) == ["best effort", "reliable", "reliable again"]


@pytest.mark.skipif(bool(what_is_missing()), reason=what_is_missing())
def test_a_clock_that_is_set_leaves_no_jump_in_the_bag(
    ros: RosWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "clock"
    folder.mkdir()
    clock = SteppedClock(folder)
    # Deep enough that a slow recorder misses none.
    words = ros.node("source").create_publisher(String, "words", 50)
    with monkeypatch.context() as patch:
        for name, value in clock.environment.items():
            patch.setenv(name, value)
        recorder = Recorder("words", "--out", str(tmp_path / "bag"))
    heard_by(ros)(words)
    begun_s = time.monotonic()
    for offset_s in (0.0, -600.0, 600.0):
        clock.set(offset_s)
        for _ in range(10):
            words.publish(String(data=f"{offset_s:g}"))
            ros.spin_for(0.05)
    taken_s = time.monotonic() - begun_s
    status, _, err = recorder.end(signal.SIGINT)
    assert status == 0, err
    with Bag(tmp_path / "bag") as bag:
        noted_ns = [log_ns for _, log_ns, _ in bag.messages(*bag.topics.values())]
    assert len(noted_ns) == 30
    assert noted_ns == sorted(noted_ns)
    assert noted_ns[-1] - noted_ns[0] == pytest.approx(1e9 * taken_s, abs=1e9)


def test_no_message_leaves_no_bag(ros: RosWorld, tmp_path: Path) -> None:
    status, out, _ = Recorder("nothing", "--seconds", "1", "--out", str(tmp_path / "bag")).end()
    assert status == 1
    assert "never seen: /nothing" in out
    assert "no bag was written" in out
    assert [p.name for p in tmp_path.iterdir() if p.name != "ros_log"] == []


def test_the_strongest_that_all_offer() -> None:
    reliable, best_effort = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT
    latched, volatile = DurabilityPolicy.TRANSIENT_LOCAL, DurabilityPolicy.VOLATILE
    strong = QoSProfile(depth=1, reliability=reliable, durability=latched)
    weak = QoSProfile(depth=2000, reliability=best_effort, durability=volatile)
    found = common_profile([strong, strong])
    assert (found.reliability, found.durability, found.depth) == (reliable, latched, 100)
    found = common_profile([strong, weak])
    assert (found.reliability, found.durability, found.depth) == (best_effort, volatile, 2001)


def test_wrong_places_are_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["record", "--out", str(tmp_path)]) == 2
    assert "already exists" in capsys.readouterr().err
    assert main(["record", "--seconds", "-1", "--out", str(tmp_path / "bag")]) == 2
    assert "--seconds is -1.0" in capsys.readouterr().err
    assert main(["record", "--storage", "sqlite3", "--compress", "--out", str(tmp_path / "b")]) == 2
    assert "expected mcap" in capsys.readouterr().err
