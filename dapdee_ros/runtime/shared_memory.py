"""Cleans up shared memory of killed processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from pathlib import Path

_SEGMENT = re.compile(r"fastrtps_[0-9a-f]{16}_el")
_LEAST_AGE_S = 5.0


def clear_left_behind(folder: Path = Path("/dev/shm")) -> int:
    """Remove the shared memory segments of Fast DDS whose processes are gone.

    A killed process cannot free its segment (8.8 MB for head and camera), and nothing else does: a
    car whose head is restarted often enough would run out of memory. Each segment has a file that
    its owner keeps locked while it runs; ``fastdds shm clean`` relies on it as well. New ones are
    left alone, since the file is created slightly before it is locked. One from the future was
    created before the system clock was set back.

    Args:
        folder: where the system keeps shared memory.

    Returns:
        Number of bytes freed.
    """
    freed = 0
    now_s = time.time()
    try:
        locks = [entry for entry in os.scandir(folder) if _SEGMENT.fullmatch(entry.name)]
    except OSError:
        return 0
    for entry in locks:
        # Another process may be doing the same, and other users' segments are not ours to remove.
        with contextlib.suppress(OSError):
            if 0 <= now_s - entry.stat().st_mtime < _LEAST_AGE_S:
                continue
            lock = Path(entry.path)
            with lock.open("r+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                segment = lock.with_name(lock.name.removesuffix("_el"))
                if segment.exists():
                    size = segment.stat().st_size
                    segment.unlink()
                    freed += size
                lock.unlink()
    return freed
