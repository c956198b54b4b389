"""Files that are written completely or not at all, and errors that say why they could not be.

Every output file is first written to a hidden draft next to its destination and renamed as the last
step: no reader ever sees a partial file, not even after a kill or on a full disk.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

_REASONS = {
    errno.ENOSPC: "no space is left on the disk: free some, or choose another location",
    errno.EDQUOT: "the disk quota is used up: free some space, or choose another location",
    errno.EROFS: "the file system is read-only: choose another location",
    errno.EACCES: "permission denied: choose a location that you can write to",
    errno.EPERM: "permission denied: choose a location that you can write to",
    errno.EISDIR: "it is a folder: expected a file",
}


class FileError(OSError):
    """A file or folder that cannot be written; the message names it, and says what to do."""

    @classmethod
    def about(cls, path: Path, error: OSError) -> FileError:
        """Why ``path`` could not be written, as text."""
        if isinstance(error, FileError):
            return error
        blocking = next((p for p in path.parents if os.path.lexists(p)), None)
        if blocking is not None and not _is_folder(blocking):
            reason = f"{blocking} is a file, not a folder: choose another location"
        elif _is_folder(path) and error.errno in (errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST):
            reason = _REASONS[errno.EISDIR]
        else:
            reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        return cls(f"cannot write {path}: {reason}")


def draft_of(path: Path) -> Path:
    """The hidden draft next to ``path``, with the same suffix, for this process only."""
    return path.with_name(f".{os.getpid()}.{path.name}")


def own_files(environment: Mapping[str, str] = os.environ) -> Path:
    """The package's folder below ROS's for a user's files: ``$ROS_HOME``, else ``~/.ros``."""
    return Path(environment.get("ROS_HOME") or Path.home() / ".ros") / "dapdee"


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a file atomically: the block writes to the draft that it is given.

    The draft is renamed when the block ends, and removed if it fails. Missing parent folders are
    created.

    Raises:
        FileError: if the file cannot be written.
    """
    draft = draft_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        # Before the rename: otherwise a power failure could leave an empty file.
        with draft.open("rb") as written:
            os.fsync(written.fileno())
        draft.replace(path)
    except OSError as error:
        raise FileError.about(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file atomically (text as UTF-8).

    Raises:
        FileError: if it cannot be written.
    """
    with whole_file(path) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Create a folder atomically: the block fills the draft that it is given.

    If another process has created the folder meanwhile, that one is kept.

    Raises:
        FileError: if it cannot be written.
    """
    draft = draft_of(path)
    try:
        draft.mkdir(parents=True, exist_ok=True)
        yield draft
        if not _is_folder(path):
            draft.rename(path)
    except OSError as error:
        if not _is_folder(path):
            raise FileError.about(path, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def require_folder(path: Path) -> Path:
    """Check that files can be written to a folder, which is created when it is needed.

    Call it before long work whose result could not be saved otherwise. Leaves no trace.

    Raises:
        FileError: if something else has that path, or nothing can be written there.
    """
    there = next((p for p in (path, *path.absolute().parents) if os.path.lexists(p)), path)
    try:
        with tempfile.TemporaryFile(dir=there) as probe:
            # A full disk still creates files, but only empty ones.
            probe.write(bytes(4096))
    except OSError as error:
        if os.path.lexists(path) and not _is_folder(path):
            raise FileError(
                f"cannot write to {path}: it is a file, not a folder: choose another location"
            ) from error
        raise FileError.about(path, error) from error
    return path


def make_folder(path: Path) -> Path:
    """The same, and create the folder.

    Raises:
        FileError: if it cannot be created, or nothing can be written to it.
    """
    require_folder(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError.about(path, error) from error
    return path


def require_place(path: Path) -> Path:
    """Check that a file can be written: its folder is writable, and it is not a folder itself.

    Raises:
        FileError: if it could not be written.
    """
    require_folder(path.parent)
    if _is_folder(path):
        raise FileError(f"cannot write {path}: {_REASONS[errno.EISDIR]}")
    return path


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # not even readable
        return False
