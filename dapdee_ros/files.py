"""Files that are written whole or not at all, and errors that say why they could not be.

Whatever this package leaves for others to read is written to a hidden draft beside its place, which
gets the file's name as the very last step: a reader, a kill or a full disk never meets half a file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_REASONS = {
    errno.ENOSPC: "no space is left on the disk: free some, or name another place",
    errno.EDQUOT: "the disk quota is used up: free some space, or name another place",
    errno.EROFS: "the file system is read-only: name another place",
    errno.EACCES: "permission denied: name a place that you may write to",
    errno.EPERM: "permission denied: name a place that you may write to",
    errno.EISDIR: "it is a folder: name a file",
}


class FileError(OSError):
    """A file or folder that cannot be written; the message names it, and says what to do."""

    @classmethod
    def about(cls, path: Path, error: OSError) -> FileError:
        """What kept ``path`` from being written, in words."""
        if isinstance(error, FileError):
            return error
        blocking = next((p for p in path.parents if os.path.lexists(p)), None)
        if blocking is not None and not _is_folder(blocking):
            reason = f"{blocking} is a file, not a folder: name another place"
        elif _is_folder(path) and error.errno in (errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST):
            reason = _REASONS[errno.EISDIR]
        else:
            reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        return cls(f"cannot write {path}: {reason}")


def draft_of(path: Path) -> Path:
    """The hidden draft beside ``path``, of the same suffix; of this process alone."""
    return path.with_name(f".{os.getpid()}.{path.name}")


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a file whole: the block writes to the draft that it is given.

    The draft gets the file's name when the block ends, and is removed if that fails. Missing
    folders above it are made.

    Raises:
        FileError: if the file cannot be written.
    """
    draft = draft_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        # Before its name: otherwise a loss of power could leave an empty file under it.
        with draft.open("rb") as written:
            os.fsync(written.fileno())
        draft.replace(path)
    except OSError as error:
        raise FileError.about(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file (text as UTF-8) that no reader sees half of.

    Raises:
        FileError: if it cannot be written.
    """
    with whole_file(path) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Fill a new folder as a whole: the block fills the draft that it is given.

    If somebody else has made the folder meanwhile, theirs stays.

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
    """See that files can be written to a folder, which is made when it comes to that.

    For before work that takes long: what cannot be kept need not be computed. Leaves no trace.

    Raises:
        FileError: if there is something else at its place, or nothing can be written there.
    """
    there = next((p for p in (path, *path.absolute().parents) if os.path.lexists(p)), path)
    try:
        with tempfile.TemporaryFile(dir=there) as probe:
            # A full disk still makes files, only none with something in them.
            probe.write(bytes(4096))
    except OSError as error:
        if os.path.lexists(path) and not _is_folder(path):
            raise FileError(
                f"cannot write to {path}: it is a file, not a folder: name another place"
            ) from error
        raise FileError.about(path, error) from error
    return path


def make_folder(path: Path) -> Path:
    """The same, and make the folder.

    Raises:
        FileError: if it cannot be made, or nothing can be written to it.
    """
    require_folder(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError.about(path, error) from error
    return path


def require_place(path: Path) -> Path:
    """See that one file can be written: its folder can, and it is no folder itself.

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
    except OSError:  # where one may not even look
        return False
