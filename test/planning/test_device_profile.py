from __future__ import annotations

import json
from pathlib import Path

import pytest

from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.errors import ProfileError
from dapdee_ros.planning.overhead import NO_OVERHEAD, Overhead


def profile(**changes: object) -> DeviceProfile:
    values: dict[str, object] = {
        "model_id": "abc",
        "device": "a car",
        "threads": 1,
        "node_seconds": {"image": 0.0, "conv": 0.25},
        "created": "2026-11-20T12:00:00",
        "versions": {"torch": "2"},
        "note": "under a quota",
    }
    return DeviceProfile(**(values | changes))  # type: ignore[arg-type]


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    original = profile()
    original.save(tmp_path / "deep" / "car.json")
    assert DeviceProfile.load(tmp_path / "deep" / "car.json") == original
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["car.json"]


@pytest.mark.parametrize("seconds", [-1e-3, float("nan"), float("inf")])
def test_impossible_times(seconds: float) -> None:
    with pytest.raises(ProfileError, match="node 'conv'"):
        profile(node_seconds={"conv": seconds})


def test_torn_or_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "car.json"
    with pytest.raises(ProfileError, match="cannot read"):
        DeviceProfile.load(path)
    for text, message in (
        ('{"model_id": "abc"', "cannot read"),
        ("[]", "JSON object"),
        ('{"model_id": "abc"}', "KeyError: 'device'"),
        (json.dumps(profile().to_dict() | {"node_seconds": 3}), "not a device profile"),
        (json.dumps(profile().to_dict() | {"threads": 0}), "1 thread or more"),
    ):
        path.write_text(text)
        with pytest.raises(ProfileError, match=message):
            DeviceProfile.load(path)


def test_the_profile_of_another_model_is_named() -> None:
    with pytest.raises(ProfileError, match="measured with model abc, the model here is xyz"):
        profile().check_fits(["image"], "xyz")
    with pytest.raises(ProfileError, match=r"no time for 1 nodes of the model \(fc\)"):
        profile().check_fits(["image", "fc"], "abc")


def test_overhead_and_engine_are_kept_and_former_files_read(tmp_path: Path) -> None:
    overhead = Overhead(0.002, 0.001, 1e-8)
    whole = profile(engine="onnxruntime 1.32", overhead=overhead)
    whole.save(tmp_path / "new.json")
    assert DeviceProfile.load(tmp_path / "new.json") == whole
    values = whole.to_dict()
    assert values["format"] == 2
    for name in ("format", "engine", "overhead"):
        del values[name]
    former = DeviceProfile.from_dict(values)
    assert (former.engine, former.overhead) == ("", NO_OVERHEAD)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": 3}, "has format 3, this version reads up to 2"),
        ({"overhead": {"frame_s": -1}}, "overhead frame_s is -1.0; expected 0 to 60"),
        ({"overhead": {"frames": 1}}, "not a device profile"),
        ({"overhead": "none"}, "not a device profile"),
    ],
)
def test_an_overhead_that_cannot_be_is_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ProfileError, match=says):
        DeviceProfile.from_dict(profile().to_dict() | changes)
