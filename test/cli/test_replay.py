"""dapdee replay, as a user runs it, on small bags made here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bags.made_bags import image, make_drive, road_signs

from dapdee_ros.bags.message_types import IMAGE
from dapdee_ros.bags.reader import Bag
from dapdee_ros.bags.writer import BagWriter
from dapdee_ros.cli.main import main
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.report.run_log import RunLog
from dapdee_ros.report.summary import summarise

FRAMES = 10
Replay = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    card = read_card(find_model("roadsigns"))
    folder = tmp_path_factory.mktemp("profiles")
    for side, node_s in (("car", 1e-3), ("edge", 2e-5)):
        DeviceProfile(
            card.model_id, f"a {side}", 1, {n.name: node_s for n in card.dag.nodes}, "now"
        ).save(folder / f"{side}.json")
    return {side: str(folder / f"{side}.json") for side in ("car", "edge")}


@pytest.fixture
def replay(tmp_path: Path, profiles: dict[str, str], capsys: pytest.CaptureFixture[str]) -> Replay:
    def run(bag: Path, *arguments: str) -> tuple[int, str, str]:
        status = main(
            [
                *(
                    "replay",
                    str(bag),
                    "--model",
                    "roadsigns",
                    "--out",
                    str(tmp_path / "out"),
                    *arguments,
                ),
                *("--car-profile", profiles["car"], "--edge-profile", profiles["edge"]),
            ]
        )
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def values(out: str) -> dict[str, Any]:
    return json.loads(out.splitlines()[-1])


def test_two_policies_on_one_bag(tmp_path: Path, replay: Replay) -> None:
    make_drive(tmp_path / "drive", frames=FRAMES)
    status, out, err = replay(
        tmp_path / "drive", "--link", "4g", "--policy", "exact", "--policy", "device-only"
    )
    assert status == 0, err
    assert f"{FRAMES} frames, 10 Hz" in out
    assert "link: 4g: 5.85 Mbit/s, round trip 20 ms" in out
    logs = {}
    for name in ("exact", "device-only"):
        (row,) = [line for line in out.splitlines() if line.startswith(f"{name} ")]
        log = logs[name] = RunLog.load(tmp_path / "out" / f"{name}.json")
        assert int(row.split()[1]) == len(log.frames) == FRAMES
        assert f"{summarise(log)['quality']:.1%}" in row
        assert log.settings["policy"] == name
        assert log.settings["source"] == "replay"
        assert log.settings["load"] == "light"
        with Bag(tmp_path / "out" / name) as bag:
            assert bag.topics["/inference"].count == FRAMES
            assert bag.topics["/plan"].count == len(log.plans)
    assert logs["exact"].settings["scenario"] == logs["device-only"].settings["scenario"]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "device-only" in page and "exact" in page
    # Nothing was in a hurry: the car alone answers as the network does.
    assert summarise(logs["device-only"])["sent_bytes"] == 0
    assert logs["device-only"].settings["agreement"] == 1.0


def test_json_says_the_same(tmp_path: Path, replay: Replay) -> None:
    make_drive(tmp_path / "drive", "sqlite3", frames=4, png=True)
    status, out, err = replay(
        *(tmp_path / "drive", "--link", "wifi", "--storage", "sqlite3", "--json"),
    )
    assert status == 0, err
    said = values(out)
    assert said["frames"] == 4
    assert said["settings"]["topic"] == "/image_raw"
    assert "policy" not in said["settings"]
    run = said["runs"]["exact"]
    assert run["summary"] == summarise(RunLog.load(Path(run["log"])))
    assert sorted(p.suffix for p in Path(run["bag"]).iterdir()) == [".db3", ".yaml"]


def test_the_link_of_the_bag_itself(tmp_path: Path, replay: Replay) -> None:
    make_drive(tmp_path / "drive", frames=32, rates_bps=(20e6, 20e6, 0.0, 20e6))
    status, out, err = replay(
        *(tmp_path / "drive", "--link", "bag", "--policy", "edge-only+jpeg", "--json"),
        *("--deadline-s", "0.4"),
    )
    assert status == 0, err
    said = values(out)
    assert said["settings"]["rtt_s"] == 0.05
    log = RunLog.load(Path(said["runs"]["edge-only+jpeg"]["log"]))
    # The first second is spent on getting to know the link.
    assert {f.place for f in log.frames if 1.2 < f.at_s < 1.9} == {"edge"}
    assert {f.place for f in log.frames if 2.3 < f.at_s < 2.9} == {"fallback"}


def test_the_truth_of_other_rates(tmp_path: Path, replay: Replay) -> None:
    make_drive(tmp_path / "drive", frames=FRAMES)
    status, out, err = replay(
        *(tmp_path / "drive", "--link", "4g", "--rate-hz", "40", "--json"),
        *("--policy", "device-only", "--car-slowdown", "2"),
    )
    assert status == 0, err
    run = values(out)["runs"]["device-only"]
    assert run["summary"]["drops"] > 0
    assert run["summary"]["balanced"]


def test_without_a_link_it_lists_the_topics(tmp_path: Path, replay: Replay) -> None:
    make_drive(tmp_path / "drive", frames=3, rates_bps=(1e6,))
    status, out, _ = replay(tmp_path / "drive")
    assert status == 0
    assert "/image_raw           3  sensor_msgs/msg/Image" in out
    assert "/link_quality        1  dapdee_ros/msg/LinkQuality" in out
    status, out, _ = replay(tmp_path / "drive", "--json")
    assert [t["name"] for t in values(out)["topics"]] == ["/image_raw", "/link_quality", "/truth"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--link", "5g"), "'5g' is no link"),
        (("--link", "bag"), "no link quality topic"),
        (("--link", "4g", "--topic", "/front"), "no topic /front"),
        (("--link", "4g", "--topic", "/truth"), "is of type dapdee_ros/msg/SceneTruth"),
        (("--link", "4g", "--policy", "exat"), "policy 'exat' is unknown"),
        (("--link", "4g", "--policy", "dads+zip"), "codec 'zip' is unknown"),
        (("--link", "4g", "--model", "nothing"), "nothing"),
        (("--link", "4g", "--rate-hz", "fast"), "--rate-hz is 'fast'"),
        (("--link", "4g", "--frames", "0"), "--frames is 0"),
        (("--link", "4g", "--deadline-s", "0"), "deadline_s is 0"),
        (("--link", "4g", "--car-slowdown", "a"), "'a' is no load"),
        (("--link", "4g", "--codecs", "zip"), "zip"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    tmp_path: Path, replay: Replay, arguments: tuple[str, ...], why: str
) -> None:
    make_drive(tmp_path / "drive", frames=2)
    status, _, err = replay(tmp_path / "drive", *arguments)
    assert status == 2, err
    assert why in err
    assert not (tmp_path / "out").exists()


def test_results_that_are_there_are_not_overwritten(tmp_path: Path, replay: Replay) -> None:
    make_drive(tmp_path / "drive", frames=2)
    (tmp_path / "out" / "exact").mkdir(parents=True)
    status, _, err = replay(tmp_path / "drive", "--link", "4g")
    assert status == 2
    assert "already exists" in err


def test_frames_recorded_all_at_once_need_a_rate(tmp_path: Path, replay: Replay) -> None:
    with BagWriter(tmp_path / "still") as writer:
        writer.add_topic("/image", IMAGE)
        for rgb, _ in road_signs(3):
            writer.write("/image", 5, image(rgb, 5))
    status, _, err = replay(tmp_path / "still", "--link", "4g")
    assert status == 2
    assert "all 3 frames were recorded at the same time: give --rate-hz" in err
    status, out, err = replay(tmp_path / "still", "--link", "4g", "--rate-hz", "5", "--json")
    assert status == 0, err
    assert values(out)["runs"]["exact"]["summary"]["quality"] is None


def test_a_damaged_bag_leaves_no_results(tmp_path: Path, replay: Replay) -> None:
    make_drive(tmp_path / "drive", frames=6)
    file = tmp_path / "drive" / "drive.mcap"
    data = bytearray(file.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 400] = bytes(400)
    file.write_bytes(data[: len(data) // 2])
    status, _, err = replay(tmp_path / "drive", "--link", "4g")
    assert status == 2
    assert "mcap recover" in err
    assert not (tmp_path / "out").exists()
