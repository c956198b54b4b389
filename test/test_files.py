"""Files are written whole or not at all, and errors say what to do."""

import ast
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from support.small_disk import fill, small_disk

from dapdee_ros.files import (
    FileError,
    require_folder,
    require_place,
    whole_file,
    whole_folder,
    write_whole,
)
from dapdee_ros.training.checkpoint import load_checkpoint, save_checkpoint

PACKAGE = Path(__file__).parents[1] / "dapdee_ros"
NOBODY = 65534


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may write everywhere: be somebody else for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_that_fails_leaves_the_old_one_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "new" / "run.json"
    write_whole(path, "old é")
    with pytest.raises(ZeroDivisionError), whole_file(path) as draft:
        draft.write_text("half")
        raise ZeroDivisionError
    assert path.read_text(encoding="utf-8") == "old é"
    assert [p.name for p in path.parent.iterdir()] == ["run.json"]
    with whole_file(path) as draft:
        draft.write_bytes(b"new")
        assert draft.suffix == path.suffix
        assert path.read_text(encoding="utf-8") == "old é"
    assert path.read_bytes() == b"new"


def test_a_full_disk_leaves_the_old_file_and_is_named(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64 * 1024) as disk:
        write_whole(disk / "model.json", "old")
        save_checkpoint(disk / "c.safetensors", {"w": torch.ones(8)}, {"step": 1})
        fill(disk)
        with pytest.raises(FileError, match=r"cannot write .*model.json: no space is left"):
            write_whole(disk / "model.json", "x" * 10_000)
        with pytest.raises(FileError, match=r"cannot write .*c.safetensors: no space is left"):
            save_checkpoint(disk / "c.safetensors", {"w": torch.zeros(9000)}, {"step": 2})
        with pytest.raises(FileError, match="no space is left"):
            require_folder(disk)
        with pytest.raises(FileError, match="no space"), whole_folder(disk / "frames") as draft:
            (draft / "1.bmp").write_bytes(bytes(10_000))
        assert (disk / "model.json").read_text() == "old"
        assert load_checkpoint(disk / "c.safetensors")[1] == {"step": 1}
        assert {p.name for p in disk.iterdir()} == {"model.json", "c.safetensors", "filler"}


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for call in (require_folder, require_place, lambda p: write_whole(p, "x")):
        with pytest.raises(FileError, match=r"a file, not a folder: choose another location"):
            call(tmp_path / "file" / "below" / "run.json")
    with pytest.raises(FileError, match=r"cannot write to .*file: it is a file"):
        require_folder(tmp_path / "file")
    with pytest.raises(FileError, match="it is a folder: expected a file"):
        require_place(tmp_path)
    with pytest.raises(FileError, match="it is a folder: expected a file"):
        write_whole(tmp_path, "x")
    with pytest.raises(FileError, match=r"cannot write /proc/none"):
        require_folder(Path("/proc/none/at/all"))
    assert (tmp_path / "file").read_text() == "mine"


def test_a_place_that_one_may_not_write_to_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    with as_nobody():
        for call in (require_folder, lambda p: write_whole(p / "run.json", "x")):
            with pytest.raises(FileError, match="permission denied: choose a location that"):
                call(closed)
    assert not list(closed.iterdir())


# Who else may write or rename, and why.
_OTHERS = {
    ("testbed/cpu_quota.py", "write_text"): "controls of the kernel",
    ("testbed/enter.py", "write_text"): "controls of the kernel",
    ("cli/profile.py", "write_text"): "controls of the kernel",
    ("processes.py", "write_bytes"): "empties a log that grows from then on",
    ("bags/writer.py", "rename"): "a draft that is open as long as the bag",
    ("testbed/camera_frames.py", "write_bytes"): "fills a draft",
    ("testbed/camera_frames.py", "write_text"): "fills a draft",
    ("exits/conversion.py", "replace"): "moves a finished folder's files, the card last",
    ("report/plate.py", "savefig"): "into memory",
    ("sealing/key_file.py", "mkstemp"): "private from its first byte on",
    ("sealing/key_file.py", "replace"): "the same; a new key takes no other's place",
}


def _own_ways(path: Path) -> Iterator[str]:
    """Calls that write or rename a file, but for those that fill a draft of ``whole_*``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        name, told = node.func.attr, [ast.unparse(argument) for argument in node.args]
        # A path's replace has one argument; that of a text two, that of a dataclass keywords.
        renames = name == "replace" and len(told) == 1 and not node.keywords
        writes = name in ("write_text", "write_bytes") and "draft" not in ast.unparse(node.func)
        draws = name == "savefig" and "draft" not in told[0]
        if name in ("imwrite", "mkstemp", "rename") or renames or writes or draws:
            yield name


@pytest.mark.parametrize(
    "path", [p for p in sorted(PACKAGE.rglob("*.py")) if p.name != "files.py"], ids=lambda p: p.stem
)
def test_there_is_one_way_to_write_a_file(path: Path) -> None:
    own = {
        name for name in _own_ways(path) if (str(path.relative_to(PACKAGE)), name) not in _OTHERS
    }
    assert not own, f"{path.name} calls {own}: use dapdee_ros.files"
