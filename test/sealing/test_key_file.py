"""Key files: what is refused, and that nothing but their owner ever reads them."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from dapdee_ros.sealing.configured import sealed_link
from dapdee_ros.sealing.key_file import (
    KeyFileError,
    finished,
    id_text,
    load_ring,
    new_ring,
    rotated,
    save_new,
    save_over,
)

NOW = "2026-01-01T00:00:00Z"


def saved(folder: Path, name: str = "car1") -> Path:
    path = folder / f"{name}.json"
    save_new(new_ring(name, NOW), path)
    return path


def test_what_is_saved_is_loaded_and_only_the_owner_may_read_it(tmp_path: Path) -> None:
    old_mask = os.umask(0)
    try:
        path = tmp_path / "keys" / "car1.json"
        ring = new_ring("car1", NOW)
        save_new(ring, path)
        save_over(rotated(ring, NOW), path)
    finally:
        os.umask(old_mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [child.name for child in path.parent.iterdir()] == ["car1.json"]
    assert load_ring(path).keys[1] == ring.keys[0]
    assert finished(load_ring(path)).key_ids == load_ring(path).key_ids[:1]


def test_a_secret_is_in_no_text_about_it() -> None:
    ring = new_ring("car1", NOW)
    secret = ring.keys[0].secret
    text = repr(ring) + str(ring) + id_text(ring.key_ids[0])
    assert secret.hex() not in text
    assert repr(secret) not in text


def test_a_key_is_not_written_over_by_a_new_one(tmp_path: Path) -> None:
    path = saved(tmp_path)
    before = path.read_bytes()
    with pytest.raises(KeyFileError, match="already exists: `dapdee key rotate`"):
        save_new(new_ring("car1", NOW), path)
    assert path.read_bytes() == before
    assert [child.name for child in tmp_path.iterdir()] == ["car1.json"]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o610])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = saved(tmp_path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=f"mode 0{mode:o}, expected 0600.*chmod 600"):
        load_ring(path)


def test_a_torn_or_foreign_file_is_refused_without_telling_what_it_holds(tmp_path: Path) -> None:
    path = saved(tmp_path)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 2, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(KeyFileError, match="is not a key file") as refused:
            load_ring(path)
        assert json.loads(whole)["keys"][0]["secret"] not in str(refused.value)
    values = json.loads(whole)
    for change, reason in (
        ({"version": 2}, "version is 2, this package knows 1"),
        ({"format": "other"}, "format"),
        ({"keys": []}, "1 to 2 keys"),
        ({"keys": values["keys"] * 3}, "1 to 2 keys"),
        ({"keys": values["keys"] * 2}, "same key twice"),
        ({"keys": [{"secret": "AAAA", "created": NOW}]}, "3 bytes, expected 32"),
        ({"keys": [{"secret": "?", "created": NOW}]}, "base64"),
        ({"keys": [{}]}, "torn"),
        ({"keys": 7}, "1 to 2"),
        ({"name": "../x"}, "name"),
    ):
        path.write_text(json.dumps({**values, **change}))
        with pytest.raises(KeyFileError, match=reason):
            load_ring(path)
    path.write_bytes(b"[" * 60_000)
    with pytest.raises(KeyFileError, match="is not a key file"):
        load_ring(path)
    path.write_bytes(whole + b" " * 70_000)
    with pytest.raises(KeyFileError, match="bytes: that is not a key file"):
        load_ring(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="No such file"):
        load_ring(tmp_path / "none.json")
    with pytest.raises(KeyFileError, match="not a file"):
        load_ring(tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(KeyFileError, match="not a file"):
        load_ring(tmp_path / "pipe")


@pytest.mark.parametrize("name", ["", "../car", "a/b", ".hidden", "a b", "x" * 65])
def test_a_name_that_is_no_files_is_refused(name: str) -> None:
    with pytest.raises(KeyFileError, match="a key's name"):
        new_ring(name, NOW)


def test_rotations_follow_each_other_only_when_finished() -> None:
    ring = new_ring("car1", NOW)
    two = rotated(ring, NOW)
    assert two.key_ids[1:] == ring.key_ids
    with pytest.raises(KeyFileError, match="--finish"):
        rotated(two, NOW)
    with pytest.raises(KeyFileError, match="begin with"):
        finished(ring)
    assert finished(two).key_ids == two.key_ids[:1]


def test_the_environment_says_whether_the_link_is_sealed(tmp_path: Path) -> None:
    home = {"ROS_HOME": str(tmp_path)}
    folder = tmp_path / "dapdee" / "keys"
    assert sealed_link(home) is None
    first = saved(folder, "car1")
    link = sealed_link(home)
    assert link is not None
    assert (link.key_file, link.domain_id) == (first, 1)
    assert sealed_link({**home, "DAPDEE_LINK_KEY": "none"}) is None
    second = saved(folder, "car2")
    with pytest.raises(KeyFileError, match=r"several keys .*car1, car2.*DAPDEE_LINK_KEY"):
        sealed_link(home)
    for asked in ("car2", str(second)):
        link = sealed_link({**home, "DAPDEE_LINK_KEY": asked, "ROS_DOMAIN_ID": "101"})
        assert link is not None
        assert (link.key_file, link.domain_id) == (second, 100)
    with pytest.raises(KeyFileError, match=r"no file .*dapdee key new"):
        sealed_link({**home, "DAPDEE_LINK_KEY": "car3"})
    chosen = {**home, "DAPDEE_LINK_KEY": "car1"}
    for domain, reason in (("7", "is ROS_DOMAIN_ID"), ("233", "0 to 232"), ("x", "0 to 232")):
        with pytest.raises(KeyFileError, match=reason):
            sealed_link({**chosen, "ROS_DOMAIN_ID": "7", "DAPDEE_LINK_DOMAIN": domain})
