"""Watch whether the machine stood still while a test judged times.

A virtual machine is paused by its host now and then, and a container is starved by its neighbours.
Nothing in the code under test can make up for that, so a test that failed while it happened says
nothing about the code. For each core, a process that does nothing but sleep writes down when it
was woken much too late.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

LONGEST_S = 0.1
"""A sleeper that is woken so many seconds late was not scheduled: a few busy processes on its core
delay it by a few hundredths of a second at most."""

PERIOD_S = 0.01


class MachinePauses:
    """The pauses of every core that this process may use, from now until it is closed."""

    def __init__(self, folder: Path) -> None:
        """Start to watch.

        Args:
            folder: for a file per core; it must exist.
        """
        cores = sorted(os.sched_getaffinity(0))
        self._files = [folder / f"pauses-{os.getpid()}-{core}" for core in cores]
        self._sleepers = []
        for core, file in zip(cores, self._files, strict=True):
            file.touch()
            self._sleepers.append(
                subprocess.Popen([sys.executable, "-S", __file__, str(core), str(file)])
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def since(self, from_s: float) -> list[tuple[float, float]]:
        """When a core paused, on the monotonic clock, and for how long, both in seconds.

        Args:
            from_s: pauses that ended before this time on the monotonic clock are left out.
        """
        time.sleep(2 * PERIOD_S)  # a pause that has just ended is not written down yet
        lines = [line for file in self._files for line in file.read_text().splitlines()]
        pauses = [(float(at), float(late)) for at, late in map(str.split, lines)]
        return sorted(pause for pause in pauses if pause[0] >= from_s)

    def close(self) -> None:
        """Stop watching."""
        for sleeper in self._sleepers:
            sleeper.kill()
            sleeper.wait()


def _sleep(core: int, file: Path) -> None:
    os.sched_setaffinity(0, {core})
    parent = os.getppid()
    with file.open("a") as log:
        while os.getppid() == parent:
            due_s = time.monotonic() + PERIOD_S
            time.sleep(PERIOD_S)
            now_s = time.monotonic()
            if now_s - due_s >= LONGEST_S:
                log.write(f"{now_s} {now_s - due_s}\n")
                log.flush()


if __name__ == "__main__":
    _sleep(int(sys.argv[1]), Path(sys.argv[2]))
