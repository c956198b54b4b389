"""How a process of nodes ends, and with which exit status: 0 only where it was meant to end."""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
import traceback
from types import FrameType

_TWICE_S = 1.0


class StopProcess(Exception):
    """Raised in a callback to end the process in order, with an exit status."""

    def __init__(self, status: int = 0) -> None:
        super().__init__(status)
        self.status = status


class Ending:
    """Hears of everything that ends this process; what comes first decides on the status.

    A signal ends it in order. So does a thread, whichever it is, that anything but an end of its
    own has ended: a process without its inference thread looks alive and answers nothing. That
    includes ``SystemExit``, of which Python's threads say nothing at all.
    """

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._status = 0
        self._starting = True
        self._signalled_s = -math.inf

    def take_signals(self) -> None:
        """Have SIGINT and SIGTERM end the process in order.

        Until ``started`` they raise KeyboardInterrupt: loading a model may take long.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._take_signal)

    def started(self) -> None:
        """From now on somebody waits: signals no longer break off what the main thread does."""
        self._starting = False

    def ignore_signals(self) -> None:
        """Let nothing disturb the end."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)

    def take_threads(self) -> None:
        """Have a thread that dies of an exception end the process."""
        threading.excepthook = self._take_thread

    def end(self, status: int) -> None:
        """End the process with this status; one that has been given and is not 0 stays."""
        self._status = self._status or status
        self._ended.set()

    def fail(self, error: BaseException, where: str) -> None:
        """End the process because of an error that nobody expected.

        The status is that of a ``SystemExit``, but never 0: whoever leaves from inside a callback
        or a thread leaves a process that was to go on.
        """
        print(f"{where} ended with {type(error).__name__}:", file=sys.stderr)
        traceback.print_exception(error)
        code = error.code if isinstance(error, SystemExit) else 1
        self.end(code if isinstance(code, int) and code else 1)

    def wait(self, within_s: float) -> bool:
        """Whether the end has come, waiting for it for so many seconds at most."""
        return self._ended.wait(within_s)

    @property
    def status(self) -> int:
        """The exit status."""
        return self._status

    def _take_signal(self, _signal: int, _frame: FrameType | None) -> None:
        # Ctrl-C often comes twice at once: from an impatient hand, or from a supervisor that
        # signals both group and process. The second must not break off the orderly end that the
        # first began.
        now_s = time.monotonic()
        if not self._starting:
            self.end(0)
        elif now_s - self._signalled_s > _TWICE_S:
            self._signalled_s = now_s
            raise KeyboardInterrupt

    def _take_thread(self, died: threading.ExceptHookArgs) -> None:
        if self._ended.is_set():
            # What a thread finds closed under its feet while the process ends is no failure.
            threading.__excepthook__(died)
            return
        name = died.thread.name if died.thread else "unknown"
        self.fail(died.exc_value or died.exc_type(), f"thread {name}")
