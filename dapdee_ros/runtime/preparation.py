"""Compile what a new plan needs beside the inference thread, and only then let it arrive."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from dapdee_ros.core.programs import HeadProgram
from dapdee_ros.engines.engine import EngineError

if TYPE_CHECKING:
    from dapdee_ros.runtime.split_network import SplitNetwork

log = logging.getLogger(__name__)


class Preparation:
    """Hands programs on in their order, each when its parts are compiled.

    A program that an engine can run at once is handed on by the thread that brings it. Until one
    that has to be compiled is ready, frames are computed under the plan before it. Of several that
    wait to be compiled only the newest is; one that is ready after a newer one is dropped.
    """

    def __init__(self, network: SplitNetwork, hand_on: Callable[[HeadProgram], None]) -> None:
        """Prepare.

        Args:
            network: whose parts are compiled.
            hand_on: receives a program that is ready, on any thread.
        """
        self._network = network
        self._hand_on = hand_on
        self._condition = threading.Condition()
        self._waiting: HeadProgram | None = None
        self._brought = self._handed_on = 0
        self._ended = False
        self._thread: threading.Thread | None = None

    def bring(self, program: HeadProgram) -> None:
        """Hand a program on as soon as it is ready."""
        with self._condition:
            self._brought += 1
            if self._network.is_ready(program):
                self._waiting = None
                self._handed_on = self._brought
                self._hand_on(program)
                return
            self._waiting = program
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="compiler", daemon=True)
                self._thread.start()
            self._condition.notify_all()

    def stop(self) -> None:
        """End the thread after what it is compiling now."""
        with self._condition:
            self._ended = True
            self._condition.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _loop(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._ended or self._waiting is not None)
                if self._ended:
                    return
                program, self._waiting = self._waiting, None
                number = self._brought
            assert program is not None
            try:
                self._network.prepare(program)
            except EngineError as error:
                log.error("plan %d is not followed: %s", program.plan.epoch, error)
                continue
            with self._condition:
                if number > self._handed_on and not self._ended:
                    self._handed_on = number
                    self._hand_on(program)
