"""What a replay takes out of a bag: frames with their truth, the link, the two machines."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from bags.made_bags import (
    SECOND_NS,
    STAMP_EARLIER_NS,
    START_NS,
    header,
    image,
    link_quality,
    make_drive,
    road_signs,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from dapdee_ros.bags.errors import BagError
from dapdee_ros.bags.frames import read_frames
from dapdee_ros.bags.message_types import (
    DEVICE_PROFILE,
    IMAGE,
    LINK_QUALITY,
    SCENE_TRUTH,
    message_types,
    new_message,
)
from dapdee_ros.bags.reader import Bag
from dapdee_ros.bags.recorded_link import read_link
from dapdee_ros.bags.recorded_profiles import read_profile
from dapdee_ros.bags.writer import BagWriter
from dapdee_ros.datasets.roadsigns import LABELS
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.exits.image_input import InputSpec
from dapdee_ros.former_names import FORMER_SCENE_TRUTH
from dapdee_ros.runtime.network_input import network_input
from dapdee_ros.tasks.classification import Classifier

SIZE = (48, 48)
SPEC = InputSpec(SIZE, (0.0,) * 3, (1.0,) * 3)
TASK = Classifier(LABELS, (1.0,))
CARD = read_card(find_model("roadsigns"))


def test_frames_keep_times_truth_and_pixels(tmp_path: Path) -> None:
    scenes = make_drive(tmp_path / "drive", frames=4)
    seen: list[tuple[int, int]] = []
    with Bag(tmp_path / "drive") as bag:
        store = read_frames(
            bag, bag.topics["/image_raw"], SPEC, TASK, progress=lambda *n: seen.append(n)
        )
    assert seen == [(n, 4) for n in range(1, 5)]
    assert store.images.shape == (4, *SIZE, 3)
    assert store.arrivals_s == pytest.approx([0.0, 0.1, 0.2, 0.3])
    for index, (frame, (rgb, label)) in enumerate(zip(store.frames, scenes, strict=True)):
        assert frame.log_ns == START_NS + index * SECOND_NS // 10
        assert frame.stamp_ns == frame.log_ns - STAMP_EARLIER_NS
        assert frame.frame_id == "camera"
        # The bag's own number of the class is another list's; the name is what counts.
        assert frame.truth is not None and frame.truth.class_id == LABELS.index(label)
        assert np.array_equal(store.images[index], network_input(rgb, SPEC)[0])


def test_no_more_frames_than_asked_for(tmp_path: Path) -> None:
    make_drive(tmp_path / "drive", frames=4)
    with Bag(tmp_path / "drive") as bag:
        store = read_frames(
            bag, bag.topics["/image_raw"], SPEC, Classifier(("nothing of it",), (1.0,)), most=2
        )
    assert len(store.frames) == len(store.images) == 2
    assert [frame.truth for frame in store.frames] == [None, None]


def test_the_truth_of_earlier_versions_is_read(tmp_path: Path) -> None:
    former = get_typestore(Stores.ROS2_JAZZY)
    former.register(get_types_from_msg(FORMER_SCENE_TRUTH, SCENE_TRUTH))
    rgb = np.zeros((8, 8, 3), np.uint8)
    with Writer(tmp_path / "old", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        images = writer.add_connection("/image_raw", IMAGE, typestore=message_types())
        truths = writer.add_connection("/truth", SCENE_TRUTH, typestore=former)
        for number, label in enumerate(LABELS[:3]):
            log_ns = START_NS + number * SECOND_NS
            truth = former.types[SCENE_TRUTH](header(log_ns), number, label)
            writer.write(truths, log_ns, former.serialize_cdr(truth, SCENE_TRUTH))
            shown = message_types().serialize_cdr(image(rgb, log_ns), IMAGE)
            writer.write(images, log_ns, shown)
    with Bag(tmp_path / "old") as bag:
        store = read_frames(bag, bag.topics["/image_raw"], SPEC, TASK)
    assert [TASK.record(frame.truth) for frame in store.frames] == [0, 1, 2]


def mixed(path: Path, *bad: int) -> None:
    with BagWriter(path) as writer:
        writer.add_topic("/image", IMAGE)
        for index, (rgb, _) in enumerate(road_signs(3)):
            message = image(rgb, index)
            if index in bad:
                message.encoding = "32FC1"
            writer.write("/image", index, message)


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_one_unreadable_frame_is_left_out_and_named(tmp_path: Path, bad: int) -> None:
    mixed(tmp_path / "bag", bad)
    with Bag(tmp_path / "bag") as bag:
        store = read_frames(bag, bag.topics["/image"], SPEC, TASK)
    assert [frame.log_ns for frame in store.frames] == sorted({0, 1, 2} - {bad})
    assert len(store.images) == 2
    (why,) = store.unreadable
    assert "32FC1" in why


def test_a_topic_of_unreadable_frames_is_refused(tmp_path: Path) -> None:
    mixed(tmp_path / "bag", 0, 1, 2)
    with Bag(tmp_path / "bag") as bag, pytest.raises(BagError, match=r"topic /image of .*32FC1"):
        read_frames(bag, bag.topics["/image"], SPEC, TASK)


# --- the link -----------------------------------------------------------------------------------


def qualities(path: Path, *entries: tuple[float, float, float, bool]) -> Bag:
    with BagWriter(path) as writer:
        writer.add_topic("/link_quality", LINK_QUALITY)
        for at_s, uplink_bps, rtt_s, connected in entries:
            at_ns = START_NS + round(at_s * SECOND_NS)
            writer.write("/link_quality", at_ns, link_quality(at_ns, uplink_bps, rtt_s, connected))
    return Bag(path)


def test_each_estimate_holds_until_the_next(tmp_path: Path) -> None:
    with qualities(
        tmp_path / "bag",
        (-3.0, math.nan, math.nan, False),
        (-2.0, 2e6, 0.04, True),
        (-1.0, 3e6, 0.06, True),
        (1.5, 1e6, 0.05, True),
        (2.5, 1e6, 0.9, False),
        (4.0, 5e6, 0.05, True),
    ) as bag:
        link = read_link(bag, None, START_NS)
    rates = {at_s: link.trace.rate_bps(at_s) for at_s in (0.0, 1.4, 1.6, 3.0, 4.1, 100.0)}
    assert rates == {0.0: 3e6, 1.4: 3e6, 1.6: 1e6, 3.0: 0.0, 4.1: 5e6, 100.0: 5e6}
    assert link.rtt_s == 0.05
    assert link.trace.name == "bag:/link_quality"


def test_before_the_first_estimate_the_rate_is_the_first_that_is_known(tmp_path: Path) -> None:
    with qualities(
        tmp_path / "bag", (0.5, math.nan, math.nan, False), (1.0, 2e6, math.nan, True)
    ) as bag:
        link = read_link(bag, "link_quality", START_NS)
    assert link.trace.rate_bps(0.0) == 2e6
    assert link.rtt_s is None


def test_a_link_that_was_never_known_is_none(tmp_path: Path) -> None:
    with (
        qualities(tmp_path / "bag", (0.5, math.nan, math.nan, False)) as bag,
        pytest.raises(BagError, match=r"never has a rate \(1 messages"),
    ):
        read_link(bag, None, START_NS)


def test_of_several_links_one_has_to_be_named(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        for topic, rate_bps in (("/link_quality", 1e6), ("/link_truth", 2e6)):
            writer.add_topic(topic, LINK_QUALITY)
            writer.write(topic, START_NS, link_quality(START_NS, rate_bps, 0.05))
    with Bag(tmp_path / "bag") as bag:
        with pytest.raises(BagError, match=r"several link quality topics: choose with --link bag:"):
            read_link(bag, None, START_NS)
        assert read_link(bag, "link_truth", START_NS).trace.rate_bps(0.0) == 2e6


def test_a_bag_without_link_says_what_it_holds(tmp_path: Path) -> None:
    make_drive(tmp_path / "drive", frames=1)
    with (
        Bag(tmp_path / "drive") as bag,
        pytest.raises(BagError, match=r"(?s)no link quality topic.*it holds:.*/truth"),
    ):
        read_link(bag, None, START_NS)


# --- the machines -------------------------------------------------------------------------------


def with_profiles(path: Path, *entries: tuple[str, str, float]) -> Bag:
    nodes = [node.name for node in CARD.dag.nodes]
    with BagWriter(path) as writer:
        for topic in dict.fromkeys(topic for topic, _, _ in entries):
            writer.add_topic(topic, DEVICE_PROFILE)
        for at_ns, (topic, model_id, node_s) in enumerate(entries):
            message = new_message(
                DEVICE_PROFILE,
                header=header(at_ns),
                car_id="car",
                model_id=model_id,
                device=f"a machine of {node_s} s",
                threads=2,
                node_names=nodes,
                node_seconds=np.full(len(nodes), node_s),
                created="now",
            )
            writer.write(topic, at_ns, message)
    return Bag(path)


def test_the_last_profile_of_the_model_counts(tmp_path: Path) -> None:
    with with_profiles(
        tmp_path / "bag",
        ("/car1/car/profile", CARD.model_id, 0.1),
        ("/car1/car/profile", CARD.model_id, 0.2),
        ("/car1/car/profile", "of another model", 0.3),
    ) as bag:
        profile = read_profile(bag, "car", CARD)
        assert read_profile(bag, "edge", CARD) is None
    assert profile is not None
    assert (profile.device, profile.threads) == ("a machine of 0.2 s", 2)
    assert set(profile.node_seconds.values()) == {0.2}


def test_profiles_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    with (
        with_profiles(
            tmp_path / "bag",
            ("/car1/car/profile", CARD.model_id, 0.1),
            ("/car2/car/profile", CARD.model_id, 0.2),
        ) as bag,
        pytest.raises(BagError, match=r"several profiles .*give --car-profile a file"),
    ):
        read_profile(bag, "car", CARD)


def test_a_profile_without_sense_is_refused(tmp_path: Path) -> None:
    with (
        with_profiles(tmp_path / "bag", ("/edge/profile", CARD.model_id, -1.0)) as bag,
        pytest.raises(BagError, match=r"the profile on /edge/profile .*takes -1.0 s"),
    ):
        read_profile(bag, "edge", CARD)
