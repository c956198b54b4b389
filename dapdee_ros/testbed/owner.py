"""Names that include their owner, so that leftovers of a killed testbed can be recognised.

A name is ``dapdee-<pid>-<start>-<count>``: the process, when it was started (in clock ticks since
boot, so that a later process with the same number is another one), and a counter within it.
"""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path

_PROC = Path("/proc")
_NAME = re.compile(r"dapdee-(\d+)-(\d+)-(\d+)(?:-[a-z_]+)?", re.ASCII)
_count = itertools.count(1)


def new_name() -> str:
    """A unique name for something that belongs to this process."""
    pid = os.getpid()
    return f"dapdee-{pid}-{_started_at(pid)}-{next(_count)}"


def is_abandoned(name: str) -> bool:
    """Whether this is such a name, and its process has ended."""
    match = _NAME.fullmatch(name)
    return match is not None and _started_at(int(match[1])) != int(match[2])


def _started_at(pid: int) -> int | None:
    """Clock ticks between boot and the start of a process; None if there is no such process."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The second field is the program's name in parentheses and may contain blanks; what follows is
    # counted from the third, and the start is the 22nd (man 5 proc).
    fields = stat.rpartition(")")[2].split()
    # A zombie has ended, but has not been reaped yet.
    return None if fields[0] in ("Z", "X") else int(fields[19])
