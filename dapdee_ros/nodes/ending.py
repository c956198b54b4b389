"""How a node process ends, and with which exit status: 0 only if it was meant to end."""

from __future__ import annotations

import faulthandler
import math
import signal
import sys
import threading
import time
import traceback
from types import FrameType

STDERR = 2
"""File descriptor: what faulthandler writes to, even after ``sys.stderr`` is gone."""

_TWICE_S = 1.0
_HELD_S = 5.0
_LONGEST_END_S = 30.0


class StopProcess(Exception):
    """Raised in a callback to end the process cleanly, with an exit status."""

    def __init__(self, status: int = 0) -> None:
        super().__init__(status)
        self.status = status


class Ending:
    """Handles everything that ends this process; the first cause determines the status.

    A signal ends it cleanly. So does any thread that dies unexpectedly: a process without its
    inference thread would look healthy and answer nothing. That includes ``SystemExit``, which
    Python's threads swallow silently.
    """

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._status = 0
        self._starting = True
        self._signalled_s = -math.inf

    def take_signals(self) -> None:
        """Have SIGINT and SIGTERM end the process cleanly.

        Until ``started`` they raise KeyboardInterrupt: loading a model may take long.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._take_signal)

    def started(self) -> None:
        """From now on the main thread waits: signals no longer interrupt it."""
        self._starting = False

    def ignore_signals(self) -> None:
        """Ignore further signals during shutdown."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)

    def take_threads(self) -> None:
        """Have a thread that dies of an exception end the process."""
        threading.excepthook = self._take_thread

    def end(self, status: int) -> None:
        """End the process with this status; an earlier one other than 0 is kept."""
        self._status = self._status or status
        self._ended.set()

    def fail(self, error: BaseException, where: str) -> None:
        """End the process because of an unexpected error.

        The status is that of a ``SystemExit``, but never 0: an exit from inside a callback or a
        thread ends a process that should have kept running.
        """
        print(f"{where} ended with {type(error).__name__}:", file=sys.stderr)
        traceback.print_exception(error)
        code = error.code if isinstance(error, SystemExit) else 1
        self.end(code if isinstance(code, int) and code else 1)

    def wait(self, within_s: float) -> bool:
        """Whether the process is ending; waits for it at most this many seconds."""
        return self._ended.wait(within_s)

    @property
    def status(self) -> int:
        """The exit status."""
        return self._status

    def _take_signal(self, _signal: int, _frame: FrameType | None) -> None:
        # Ctrl-C often arrives twice: from an impatient user, or from a supervisor that signals both
        # group and process. The second must not interrupt the shutdown that the first started.
        now_s = time.monotonic()
        if not self._starting:
            self.end(0)
        elif now_s - self._signalled_s > _TWICE_S:
            self._signalled_s = now_s
            raise KeyboardInterrupt

    def _take_thread(self, died: threading.ExceptHookArgs) -> None:
        if self._ended.is_set():
            # An error in a thread because something was closed during shutdown is not a failure.
            threading.__excepthook__(died)
            return
        name = died.thread.name if died.thread else "unknown"
        self.fail(died.exc_value or died.exc_type(), f"thread {name}")


class EndWatch:
    """Ends this process, with the tracebacks of its threads and status 1, if its end hangs.

    Fast DDS 2.14 can spin forever if a participant ends just as it learns that another one has
    ended (DomainParticipant::set_listener against the discovery threads). It holds Python's lock
    meanwhile, so no Python thread could intervene; faulthandler's needs no lock. Work of our own,
    such as completing a bag, lets other threads run and may take longer: a thread puts the end off
    as long as it gets to run.
    """

    def __init__(self) -> None:
        self._over = threading.Event()
        self._until_s = time.monotonic() + _LONGEST_END_S
        self._put_off()
        self._thread = threading.Thread(target=self._run, name="end watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """The end is reached: watch no longer."""
        self._over.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()

    def _run(self) -> None:
        while not self._over.wait(_HELD_S / 5) and time.monotonic() < self._until_s:
            self._put_off()

    def _put_off(self) -> None:
        faulthandler.dump_traceback_later(_HELD_S, exit=True, file=STDERR)
