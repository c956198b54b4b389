"""What killed processes leave behind in shared memory."""

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

    A process that is killed cannot give its segment back (8.8 MB for head and camera), and nobody
    else does: a car whose head is restarted often enough would run out of memory. Beside each
    segment lies a file that its owner holds locked for as long as it lives; ``fastdds shm clean``
    goes by it as well. Young ones are left alone: between making and locking that file lies a
    moment. One from the future was made before the system clock was set back.

    Args:
        folder: where the system keeps shared memory.

    Returns:
        Bytes that were freed.
    """
    freed = 0
    now_s = time.time()
    try:
        locks = [entry for entry in os.scandir(folder) if _SEGMENT.fullmatch(entry.name)]
    except OSError:
        return 0
    for entry in locks:
        # Another process may be at the same, and segments of other users are not ours to remove.
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
