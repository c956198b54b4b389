"""A system clock that can be set while real processes run, without touching the machine's.

A small library is compiled and preloaded into those processes. It shifts what they read of the
system clock; the steady clock stays, as it does where a machine's clock is set.
"""

from __future__ import annotations

import mmap
import shutil
import subprocess
import sys
from pathlib import Path

_SOURCE = Path(__file__).with_suffix(".c")


def what_is_missing() -> str:
    """Why no clock can be stepped here; empty if it can."""
    if not sys.platform.startswith("linux"):
        return "preloading works on Linux only"
    return "" if _compiler() else "there is no C compiler (cc)"


class SteppedClock:
    """The system clock of all processes that are started with ``environment``.

    Attributes:
        environment: what to add to a process's environment.
    """

    def __init__(self, folder: Path) -> None:
        """Compile the library.

        Args:
            folder: where to keep it, for as long as the processes live.

        Raises:
            RuntimeError: if it cannot be compiled here.
        """
        compiler = _compiler()
        if compiler is None:
            raise RuntimeError(what_is_missing())
        library, offset = folder / "stepped_clock.so", folder / "clock_offset_ns"
        command = [compiler, "-O2", "-fPIC", "-shared", "-o", str(library), str(_SOURCE), "-ldl"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{_SOURCE.name} does not compile:\n{done.stderr}")
        offset.write_bytes(bytes(8))
        with offset.open("r+b") as file:
            self._offset = mmap.mmap(file.fileno(), 8)
        self.environment = {"LD_PRELOAD": str(library), "STEPPED_CLOCK_FILE": str(offset)}

    def set(self, offset_s: float) -> None:
        """Set the clock so many seconds before (negative) or after the machine's, at once."""
        self._offset[:] = round(1e9 * offset_s).to_bytes(8, "little", signed=True)


def _compiler() -> str | None:
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
