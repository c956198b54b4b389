"""Signal handling of a testbed, so that it is always cleaned up."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class EndOnSignals:
    """Makes the signals that usually kill a process end it cleanly.

    Only on the main thread: elsewhere Python allows no handlers.
    """

    # SIGINT too: it is ignored by default in a script's background processes.
    _NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """Begin."""
        if threading.current_thread() is threading.main_thread():
            self._before = {n: signal.signal(n, self._end) for n in self._NUMBERS}

    def remove(self) -> None:
        """Restore the previous handlers."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    @staticmethod
    def _end(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)


class Uninterrupted:
    """Blocks signals during cleanup, such as an impatient user's second Ctrl-C."""

    _NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __enter__(self) -> None:
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {n: signal.signal(n, signal.SIG_IGN) for n in self._NUMBERS}

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
