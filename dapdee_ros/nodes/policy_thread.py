"""A thread for slow policies, in addition to the callbacks' thread."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from rclpy.node import Node

_SWITCH_S = 1e-3

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class PolicyThread(Generic[Asked, Answer]):
    """Handles one request after the other on a thread; of those waiting the latest wins.

    Measurements continue meanwhile: a manager that is blocked for a second by a policy's search
    would attribute that second to the link.
    """

    def __init__(
        self,
        node: Node,
        work: Callable[[Asked], Answer],
        take: Callable[[Asked, Answer], None],
        merge: Callable[[Asked, Asked], Asked],
    ) -> None:
        """Prepare; the thread starts with the first request.

        Args:
            node: whose executor calls ``take``.
            work: handles a request, on the thread. It must not raise.
            take: receives request and response, on the executor's thread.
            merge: combines a waiting request with the one that replaces it.
        """
        self._work, self._take, self._merge = work, take, merge
        self._changed = threading.Condition()
        self._waiting: Asked | None = None
        self._answered: list[tuple[Asked, Answer]] = []
        self._thread: threading.Thread | None = None
        self._guard = node.create_guard_condition(self._deliver)

    def ask(self, asked: Asked) -> None:
        """Submit a request; returns at once."""
        if self._thread is None:
            # The default of 5 ms would delay every callback that long while a policy computes.
            sys.setswitchinterval(_SWITCH_S)
            # A daemon: a process that is shutting down must not wait for a search.
            self._thread = threading.Thread(target=self._run, name="policy", daemon=True)
            self._thread.start()
        with self._changed:
            before = self._waiting
            self._waiting = asked if before is None else self._merge(before, asked)
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting is not None)
                asked, self._waiting = self._waiting, None
            assert asked is not None
            answer = self._work(asked)
            with self._changed:
                self._answered.append((asked, answer))
            self._guard.trigger()

    def _deliver(self) -> None:
        with self._changed:
            answered, self._answered = self._answered, []
        for asked, answer in answered:
            self._take(asked, answer)
