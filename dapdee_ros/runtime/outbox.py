"""Sends on a separate thread, so that computing continues while the link is slow."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")

log = logging.getLogger(__name__)


class Outbox(Generic[Item]):
    """Hands items to a function that may block, one after the other, on one thread.

    A send over a slow link can block for as long as the link takes, once the system's buffers are
    full. If ``most`` items are waiting, a new one displaces the oldest: on a link that slow only
    the newest can still be answered in time.

    Attributes:
        most: maximum number of waiting items; can be set.
        displaced: items that were never sent.
    """

    def __init__(self, send: Callable[[Item], None], most: int) -> None:
        """Start the thread.

        Args:
            send: sends one item; what it raises is logged.
            most: items that may wait.
        """
        self._send = send
        self.most = most
        self._condition = threading.Condition()
        self._waiting: deque[Item] = deque()
        self._stopping = False
        self.displaced = 0
        self._thread = threading.Thread(target=self._loop, name="outbox", daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        """Queue an item for sending; returns at once."""
        with self._condition:
            if len(self._waiting) >= self.most:
                self._waiting.popleft()
                self.displaced += 1
            self._waiting.append(item)
            self._condition.notify()

    def stop(self, within_s: float = 2.0) -> None:
        """Drop waiting items and end the thread, if its send returns within this time."""
        with self._condition:
            self._stopping = True
            self._waiting.clear()
            self._condition.notify()
        self._thread.join(within_s)

    def _loop(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._stopping or self._waiting)
                if self._stopping:
                    return
                item = self._waiting.popleft()
            try:
                self._send(item)
            except Exception:
                log.exception("could not send")
