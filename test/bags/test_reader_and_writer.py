"""Bags written, read back, and broken in all the ways in which bags are found broken."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from bags.made_bags import SECOND_NS, START_NS, header, make_drive, road_signs
from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability

from dapdee_ros.bags.errors import BagError
from dapdee_ros.bags.message_types import (
    IMAGE,
    INFERENCE_RESULT,
    PARTITION_PLAN,
    message_types,
    new_message,
    require_type,
)
from dapdee_ros.bags.pictures import picture
from dapdee_ros.bags.reader import IMAGE_KINDS, Bag
from dapdee_ros.bags.writer import BagWriter, offered_qos

STORAGES = ("mcap", "sqlite3")


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("png", [False, True])
def test_what_was_written_comes_back(tmp_path: Path, storage: str, png: bool) -> None:
    scenes = make_drive(tmp_path / "drive", storage, frames=5, png=png)
    with Bag(tmp_path / "drive") as bag:
        topic = bag.choose(IMAGE_KINDS, None, "--topic", "image topic")
        read = list(bag.messages(topic))
        assert bag.duration_s == pytest.approx(0.4)
    assert topic.count == 5
    assert [log_ns for _, log_ns, _ in read] == [START_NS + i * SECOND_NS // 10 for i in range(5)]
    for (_, _, message), (rgb, _) in zip(read, scenes, strict=True):
        assert np.array_equal(picture(message), rgb)


@pytest.mark.parametrize("storage", STORAGES)
def test_rosbags_itself_reads_it_with_the_types_that_the_bag_holds(
    tmp_path: Path, storage: str
) -> None:
    make_drive(tmp_path / "drive", storage, frames=3, rates_bps=(1e6,))
    # No types given: definitions and their hashes must come out of the bag.
    with AnyReader([tmp_path / "drive"]) as reader:
        labels = [
            reader.deserialize(data, c.msgtype).label  # type: ignore[attr-defined]
            for c, _, data in reader.messages()
            if c.topic == "/truth"
        ]
    assert len(labels) == 3 and all(labels)


@pytest.mark.parametrize("storage", STORAGES)
def test_players_are_told_which_topics_are_latched(tmp_path: Path, storage: str) -> None:
    with BagWriter(tmp_path / "bag", storage) as writer:
        writer.add_topic("/plan", PARTITION_PLAN, offered_qos(1, latched=True))
        writer.add_topic("/inference", INFERENCE_RESULT)
        writer.write_raw("/plan", 5, b"\0\1\0\0")
    with AnyReader([tmp_path / "bag"]) as reader:
        offered = {c.topic: c.ext.offered_qos_profiles[0] for c in reader.connections}  # type: ignore[union-attr]
    assert offered["/plan"].durability is QosDurability.TRANSIENT_LOCAL
    assert offered["/inference"].durability is QosDurability.VOLATILE


def test_chunks_are_compressed_where_asked_for(tmp_path: Path) -> None:
    flat = np.zeros((200, 200, 3), np.uint8)
    sizes = {}
    for compress in (False, True):
        path = tmp_path / str(compress)
        with BagWriter(path, compress=compress) as writer:
            writer.add_topic("/image", IMAGE)
            for index in range(3):
                writer.write("/image", index, _image(flat))
        with Bag(path) as bag:
            pictures = [picture(m) for _, _, m in bag.messages(bag.topics["/image"])]
        assert len(pictures) == 3 and not np.any(pictures)
        sizes[compress] = sum(f.stat().st_size for f in path.iterdir())
    assert sizes[True] < sizes[False] / 10


def test_nothing_remains_of_a_bag_whose_writing_failed(tmp_path: Path) -> None:
    def write_half() -> None:
        with BagWriter(tmp_path / "half") as writer:
            writer.add_topic("/image", IMAGE)
            writer.write("/image", 1, _image(np.zeros((2, 2, 3), np.uint8)))
            raise RuntimeError("the replay failed")

    with pytest.raises(RuntimeError, match="the replay failed"):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_an_existing_bag_is_not_overwritten(tmp_path: Path) -> None:
    make_drive(tmp_path / "drive", frames=1)
    with pytest.raises(BagError, match="already exists"):
        BagWriter(tmp_path / "drive")
    with Bag(tmp_path / "drive") as bag:
        assert bag.topics["/image_raw"].count == 1


def test_unknown_types_are_named() -> None:
    with pytest.raises(BagError, match=r"Thing\.msg is in none of .*source the workspace"):
        require_type("nobodys_msgs/msg/Thing")


def test_types_of_this_package_agree_with_their_files() -> None:
    result = message_types().types[INFERENCE_RESULT]
    assert result.PLACE_CAR_FALLBACK == 2  # type: ignore[attr-defined]
    fields = [name for name, _ in message_types().fielddefs[INFERENCE_RESULT][1]]
    assert fields[:4] == ["header", "car_id", "frame_number", "session"]


def test_any_installed_type_can_be_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "share" / "strange_msgs" / "msg"
    folder.mkdir(parents=True)
    (folder / "Outer.msg").write_text("strange_msgs/Inner[] inner\nfloat64 x\n")
    (folder / "Inner.msg").write_text("std_msgs/Header header\nint32 y\n")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    with BagWriter(tmp_path / "bag") as writer:
        writer.add_topic("/strange", "strange_msgs/msg/Outer")
        inner = new_message("strange_msgs/msg/Inner", header=header(7), y=3)
        writer.write("/strange", 1, new_message("strange_msgs/msg/Outer", inner=[inner], x=0.5))
    with Bag(tmp_path / "bag") as bag:
        ((_, _, message),) = bag.messages(bag.topics["/strange"])
    assert (message.inner[0].y, message.x) == (3, 0.5)


# --- what is broken ---------------------------------------------------------------------------


def test_what_is_missing_is_named_with_what_is_there(tmp_path: Path) -> None:
    make_drive(tmp_path / "drive", frames=1)
    with pytest.raises(BagError, match=r"there is no .*dirve; in .* there are drive/"):
        Bag(tmp_path / "dirve")
    with pytest.raises(BagError, match=r"no rosbag2: .*there are drive/"):
        Bag(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BagError, match="is empty"):
        Bag(tmp_path / "empty")
    old = tmp_path / "old.bag"
    old.write_bytes(b"#ROSBAG V2.0\n")
    with pytest.raises(BagError, match="ROS 1; convert it first: `rosbags-convert"):
        Bag(old)


def test_a_folder_without_metadata_is_read_by_its_file(tmp_path: Path) -> None:
    make_drive(tmp_path / "drive", frames=2)
    (tmp_path / "drive" / "metadata.yaml").unlink()
    for path in (tmp_path / "drive", tmp_path / "drive" / "drive.mcap"):
        with Bag(path) as bag:
            assert bag.topics["/image_raw"].count == 2


def test_damaged_metadata_is_no_reason_to_give_up_the_file(tmp_path: Path) -> None:
    make_drive(tmp_path / "drive", frames=2)
    (tmp_path / "drive" / "metadata.yaml").write_text("rosbag2_bagfile_information:\n  - {")
    with pytest.raises(BagError, match=r"(?s)metadata\.yaml.*give one of its files"):
        Bag(tmp_path / "drive")


def test_missing_parts_are_named(tmp_path: Path) -> None:
    make_drive(tmp_path / "drive", frames=1)
    (tmp_path / "drive" / "drive.mcap").unlink()
    with pytest.raises(BagError, match=r"missing: .*drive\.mcap") as refused:
        Bag(tmp_path / "drive")
    assert "killed" not in str(refused.value)


@pytest.mark.parametrize("storage", STORAGES)
def test_an_empty_bag_says_which_topics_it_names(tmp_path: Path, storage: str) -> None:
    with BagWriter(tmp_path / "bag", storage) as writer:
        writer.add_topic("/image_raw", IMAGE)
    with pytest.raises(BagError, match="contains no message; it names the topics /image_raw"):
        Bag(tmp_path / "bag")


@pytest.mark.parametrize("storage", STORAGES)
def test_a_bag_cut_off_anywhere_is_refused_in_words(tmp_path: Path, storage: str) -> None:
    make_drive(tmp_path / "drive", storage, frames=6)
    file = next(f for f in (tmp_path / "drive").iterdir() if f.suffix != ".yaml")
    whole = file.read_bytes()
    for share in (0.0, 0.001, 0.3, 0.7, 0.999):
        file.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(BagError, match=r"drive.*(cannot be read|is damaged)") as caught:
            _read_all(tmp_path / "drive")
        assert "recover" in str(caught.value)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("seed", range(15))
def test_flipped_bytes_give_no_error_but_ours(tmp_path: Path, storage: str, seed: int) -> None:
    make_drive(tmp_path / "drive", storage, frames=2)
    file = next(f for f in (tmp_path / "drive").iterdir() if f.suffix != ".yaml")
    data = bytearray(file.read_bytes())
    random = np.random.default_rng(seed)
    for at in random.integers(0, len(data), 40):
        data[at] ^= int(random.integers(1, 256))
    file.write_bytes(data)
    try:
        _read_all(tmp_path / "drive")
    except BagError as error:
        assert "drive" in str(error)


def test_messages_of_another_version_of_a_type_are_no_messages(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        writer.add_topic("/link_quality", "dapdee_ros/msg/LinkQuality")
        writer.write_raw("/link_quality", 1, b"\0\1\0\0" + bytes(9))
    with pytest.raises(BagError, match=r"not a dapdee_ros/msg/LinkQuality as known here"):
        _read_all(tmp_path / "bag")


def test_topics_are_chosen_or_asked_for(tmp_path: Path) -> None:
    make_drive(tmp_path / "drive", frames=1)
    with Bag(tmp_path / "drive") as bag:

        def choose(asked: str | None, *kinds: str) -> str:
            return bag.choose(kinds or IMAGE_KINDS, asked, "--topic", "image topic").name

        assert choose(None) == choose("image_raw") == choose("/image_raw") == "/image_raw"
        with pytest.raises(BagError, match=r"no topic /front; it holds:\n  /image_raw +1"):
            choose("/front")
        with pytest.raises(BagError, match="is of type dapdee_ros/msg/SceneTruth, expected"):
            choose("truth")
        with pytest.raises(BagError, match=r"no image topic \(sensor_msgs/msg/Imu\)"):
            choose(None, "sensor_msgs/msg/Imu")
        with pytest.raises(BagError, match="several image topics: choose with --topic"):
            choose(None, IMAGE, "dapdee_ros/msg/SceneTruth")


def _read_all(path: Path) -> None:
    with Bag(path) as bag:
        list(bag.messages(*bag.topics.values()))


def _image(rgb: np.ndarray) -> object:
    from bags.made_bags import image

    return image(rgb, 0)


def test_the_scenes_of_these_tests_differ() -> None:
    (one, _), (other, _) = road_signs(2)
    assert not np.array_equal(one, other)


def _edit(bag: Path, old: str, new: str) -> None:
    path = bag / "metadata.yaml"
    text = path.read_text()
    assert re.search(old, text)
    path.write_text(re.sub(old, new, text))


@pytest.mark.parametrize(("storage", "suffix"), [("mcap", "mcap"), ("sqlite3", "db3")])
def test_a_renamed_part_is_found(tmp_path: Path, storage: str, suffix: str) -> None:
    make_drive(tmp_path / "drive", storage, frames=1)
    part = next((tmp_path / "drive").glob(f"*.{suffix}"))
    part.rename(part.with_name(f"monday.{suffix}"))
    with pytest.raises(
        BagError, match=rf"missing: {part.name}, .*there is monday.{suffix}; rename monday"
    ) as refused:
        Bag(tmp_path / "drive")
    assert "killed" not in str(refused.value)


def test_an_empty_storage_identifier_is_named(tmp_path: Path) -> None:
    make_drive(tmp_path / "drive", frames=1)
    _edit(tmp_path / "drive", r"storage_identifier: .*", "storage_identifier: ''")
    with pytest.raises(BagError, match="storage_identifier is empty, expected mcap") as refused:
        Bag(tmp_path / "drive")
    assert "killed" not in str(refused.value)


@pytest.mark.parametrize("storage", STORAGES)
def test_metadata_that_count_nothing_are_not_believed(tmp_path: Path, storage: str) -> None:
    make_drive(tmp_path / "drive", storage, frames=20)
    with Bag(tmp_path / "drive") as bag:
        counts = {name: topic.count for name, topic in bag.topics.items()}
        duration_s = bag.duration_s
    _edit(tmp_path / "drive", r"message_count: \d+", "message_count: 0")
    with Bag(tmp_path / "drive") as bag:
        assert {name: topic.count for name, topic in bag.topics.items()} == counts
        assert bag.duration_s == pytest.approx(duration_s)
        assert len(list(bag.messages(bag.topics["/image_raw"]))) == 20


def test_a_folder_of_bags_of_ros_1_is_to_be_converted(tmp_path: Path) -> None:
    (tmp_path / "old.bag").write_bytes(b"#ROSBAG V2.0\n")
    with pytest.raises(BagError, match=r"bags of ROS 1 \(old.bag\): convert .*rosbags-convert"):
        Bag(tmp_path)
