"""How long this process was ready to run and waited for a processor, as the kernel counts it."""

from __future__ import annotations

import math
import os
import threading
import time
from pathlib import Path

_TASKS = Path("/proc/self/task")
# Threads come and go rarely, and listing them costs as much as asking them all.
_LIST_PERIOD_S = 1.0


class CpuWait:
    """Reads the time that threads spent on a run queue (``/proc/PID/task/TID/schedstat``).

    It contains the time in which a quota of the control group held them up. On a car that is short
    of processor it tells an answer that came late from one that was read late. Of threads that wait
    at the same time each counts, so it is a bound rather than a measure.

    The second number of the file, in ns: "Scheduler Statistics" of the Linux kernel's documentation
    (``Documentation/scheduler/sched-stats.rst``).
    """

    def __init__(self, tasks: Path = _TASKS) -> None:
        """Prepare to read; where the kernel keeps no such statistics, ``seconds`` is NaN."""
        self._tasks = tasks
        self._files: dict[str, int] = {}
        self._listed_s = -math.inf
        self._lock = threading.Lock()

    def seconds(self) -> float:
        """Sum over the threads that live now, since each began; NaN if it is not known."""
        with self._lock:
            now_s = time.monotonic()
            if now_s - self._listed_s >= _LIST_PERIOD_S:
                self._list()
                self._listed_s = now_s
            waited_ns = [self._waited_ns(thread) for thread in list(self._files)]
        return sum(waited_ns) / 1e9 if waited_ns else math.nan

    def close(self) -> None:
        """Close the files; it can be asked again, and opens them anew."""
        with self._lock:
            for file in self._files.values():
                os.close(file)
            self._files, self._listed_s = {}, -math.inf

    def _list(self) -> None:
        try:
            threads = [folder.name for folder in self._tasks.iterdir()]
        except OSError:
            return
        for thread in threads:
            if thread not in self._files:
                try:
                    path = self._tasks / thread / "schedstat"
                    self._files[thread] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                except OSError:
                    continue

    def _waited_ns(self, thread: str) -> int:
        try:
            return int(os.pread(self._files[thread], 80, 0).split()[1])
        except (OSError, IndexError, ValueError):  # the thread has ended
            os.close(self._files.pop(thread))
            return 0
