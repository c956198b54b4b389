"""What a testbed does with signals, so that it is always taken down in order."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class EndOnSignals:
    """Lets the signals that usually end a process at once end it in order.

    Only on the main thread: elsewhere Python allows no handlers.
    """

    # SIGINT too: it is ignored from birth in what a script starts in the background.
    _NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """Begin."""
        if threading.current_thread() is threading.main_thread():
            self._before = {n: signal.signal(n, self._end) for n in self._NUMBERS}

    def remove(self) -> None:
        """Put back what was there before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    @staticmethod
    def _end(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)


class Uninterrupted:
    """Holds signals back while everything is removed: the second Ctrl-C of an impatient hand."""

    _NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __enter__(self) -> None:
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {n: signal.signal(n, signal.SIG_IGN) for n in self._NUMBERS}

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
