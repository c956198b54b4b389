"""Compile what frames will need, beside the thread that computes them."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dapdee_ros.engines.engine import EngineError

if TYPE_CHECKING:
    from dapdee_ros.engines.engine import Engine

log = logging.getLogger(__name__)

Part = tuple[int, frozenset[str]]
"""An exit and the tensors that it is computed from."""

MOST_WAITING = 8
"""Parts that may wait to be compiled. Of more the oldest is forgotten: if a frame comes that needs
it, it is asked for again."""


class TailCompiler:
    """Compiles parts one after the other on a thread of its own, what frames wait for first.

    Attributes:
        failed: parts that cannot be compiled; running them raises why.
    """

    def __init__(self, engine: Engine, ready: Callable[[Part], None]) -> None:
        """Prepare; the thread starts with the first part.

        Args:
            engine: compiles.
            ready: told every part that was asked for by ``need``, once it is compiled or has
                turned out not to be possible; on the thread.
        """
        self._engine = engine
        self._ready = ready
        self._condition = threading.Condition()
        self._needed: OrderedDict[Part, Sequence[str]] = OrderedDict()
        self._likely: OrderedDict[Part, Sequence[str]] = OrderedDict()
        self.failed: set[Part] = set()
        self._ended = False
        self._thread: threading.Thread | None = None

    def need(self, part: Part, outputs: Sequence[str]) -> None:
        """A frame waits for this part, whose exit has these outputs; from any thread."""
        self._put(self._needed, part, outputs)

    def expect(self, part: Part, outputs: Sequence[str]) -> None:
        """Frames that need this part are likely to come; from any thread."""
        if not self._engine.is_ready(part[1], [outputs]):
            self._put(self._likely, part, outputs)

    def stop(self) -> None:
        """End the thread after what it is compiling now."""
        with self._condition:
            self._ended = True
            self._condition.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _put(
        self, waiting: OrderedDict[Part, Sequence[str]], part: Part, outputs: Sequence[str]
    ) -> None:
        with self._condition:
            if self._ended:
                return
            waiting[part] = outputs
            if waiting is self._likely and len(waiting) > MOST_WAITING:
                waiting.popitem(last=False)
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="compiler", daemon=True)
                self._thread.start()
            self._condition.notify_all()

    def _loop(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._ended or self._needed or self._likely)
                if self._ended:
                    return
                # Of what is only likely, the newest: plans come one after the other.
                is_needed = bool(self._needed)
                part, outputs = (
                    self._needed.popitem(last=False) if is_needed else self._likely.popitem()
                )
            try:
                self._engine.prepare(part[1], [outputs])
            except EngineError as error:
                self.failed.add(part)
                log.error("exit %d cannot be computed from %s: %s", part[0], sorted(part[1]), error)
            except Exception:
                self.failed.add(part)
                log.exception("exit %d from %s could not be compiled", part[0], sorted(part[1]))
            if is_needed:
                self._ready(part)
