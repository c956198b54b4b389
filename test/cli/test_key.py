"""``dapdee key``: makes, shows and rotates keys, and never prints one; wrong keys end a start."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest

from dapdee_ros.cli.main import main

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ROS_HOME", str(tmp_path))
    monkeypatch.delenv("DAPDEE_LINK_KEY", raising=False)
    return tmp_path / "dapdee" / "keys"


def test_a_key_is_made_shown_and_rotated_but_never_printed(folder: Path, capsys: Captured) -> None:
    path = folder / "car1.json"
    assert main(["key", "show"]) == 0
    assert "create one with dapdee key new" in capsys.readouterr().out
    secrets = []
    for arguments, keys in (
        (["new", "car1"], 1),
        (["rotate", "car1"], 2),
        (["rotate", "car1", "--finish"], 1),
        (["show"], 1),
        (["show", "car1"], 1),
    ):
        assert main(["key", *arguments]) == 0
        printed = capsys.readouterr().out
        listed = json.loads(path.read_text())["keys"]
        assert len(listed) == keys
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        secrets += [entry["secret"] for entry in listed]
        assert all(entry["id"] in printed for entry in listed)
        for secret in secrets:
            assert secret not in printed
            assert base64.b64decode(secret).hex() not in printed
    assert len(set(secrets)) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["new", "../car"], "a key's name"),
        (["new", "car1"], "already exists"),
        (["rotate", "none"], "No such file"),
        (["rotate", "car1", "--finish"], "begin with"),
        (["show", "none"], "No such file"),
    ],
)
def test_what_cannot_be_done_is_said(
    folder: Path, capsys: Captured, arguments: list[str], words: str
) -> None:
    assert main(["key", "new", "car1"]) == 0
    capsys.readouterr()
    assert main(["key", *arguments]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.ros
@pytest.mark.parametrize("command", ["car", "edge", "demo"])
def test_a_key_that_cannot_be_used_starts_nothing(
    folder: Path, capsys: Captured, tmp_path: Path, command: str
) -> None:
    pytest.importorskip("rclpy")
    out = ["--out", str(tmp_path / "out")] if command == "demo" else []
    assert main([command, *out, "--link-key", "car9"]) == 2
    assert "dapdee key new" in capsys.readouterr().err
    assert main(["key", "new", "car1"]) == 0
    (folder / "car1.json").chmod(0o644)
    assert main([command, *out]) == 2
    assert "expected 0600" in capsys.readouterr().err
