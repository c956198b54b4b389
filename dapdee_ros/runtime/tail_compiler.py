"""Compile what frames will need, beside the thread that computes them."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from dapdee_ros.engines.engine import EngineError, NotBatchable

if TYPE_CHECKING:
    from dapdee_ros.core.programs import TailProgram
    from dapdee_ros.runtime.split_network import SplitNetwork

log = logging.getLogger(__name__)


class Part(NamedTuple):
    """What frames have in common that need the same compiled.

    Attributes:
        exit_number: the exit.
        names: the tensors that it is computed from.
        decoder: the codec, if it has a network to restore them.
    """

    exit_number: int
    names: frozenset[str]
    decoder: str = ""


MOST_WAITING = 8
"""Parts that may wait to be compiled. Of more the oldest is forgotten: if a frame comes that needs
it, it is asked for again."""


class TailCompiler:
    """Compiles parts one after the other on a thread of its own, what frames wait for first.

    What would make several frames faster comes last.

    Attributes:
        failed: parts that cannot be compiled; running them raises why.
    """

    def __init__(
        self,
        network: SplitNetwork,
        ready: Callable[[Part], None],
        batches_ready: Callable[[Part, bool], None] = lambda part, possible: None,
    ) -> None:
        """Prepare; the thread starts with the first part.

        Args:
            network: whose parts are compiled.
            ready: told every part that was asked for by ``need``, once it is compiled or has
                turned out not to be possible; on the thread.
            batches_ready: told every part that was asked for by ``prepare_batches``, and whether it
                can be computed in batches; likewise.
        """
        self._network = network
        self._ready = ready
        self._condition = threading.Condition()
        self._needed: OrderedDict[Part, TailProgram] = OrderedDict()
        self._likely: OrderedDict[Part, TailProgram] = OrderedDict()
        self._batches: OrderedDict[Part, TailProgram] = OrderedDict()
        self._batches_ready = batches_ready
        self.failed: set[Part] = set()
        self._ended = False
        self._thread: threading.Thread | None = None

    def need(self, part: Part, program: TailProgram) -> None:
        """A frame waits for this part, whose exit is computed by this program; from any thread."""
        self._put(self._needed, part, program)

    def expect(self, part: Part, program: TailProgram) -> None:
        """Frames that need this part are likely to come; from any thread."""
        if not self._network.tail_is_ready(program, part.decoder):
            self._put(self._likely, part, program)

    def prepare_batches(self, part: Part, program: TailProgram) -> None:
        """Frames of this part would be computed together; from any thread."""
        self._put(self._batches, part, program)

    def stop(self) -> None:
        """End the thread after what it is compiling now."""
        with self._condition:
            self._ended = True
            self._condition.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _put(
        self, waiting: OrderedDict[Part, TailProgram], part: Part, program: TailProgram
    ) -> None:
        with self._condition:
            if self._ended:
                return
            waiting[part] = program
            if waiting is self._likely and len(waiting) > MOST_WAITING:
                waiting.popitem(last=False)
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="compiler", daemon=True)
                self._thread.start()
            self._condition.notify_all()

    def _loop(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(
                    lambda: self._ended or self._needed or self._likely or self._batches
                )
                if self._ended:
                    return
                waiting = self._needed or self._likely or self._batches
                # Of what is only likely, the newest: plans come one after the other.
                part, program = waiting.popitem(last=waiting is self._likely)
            if waiting is self._batches:
                self._batches_ready(part, self._can_batch(part, program))
                continue
            try:
                self._network.prepare_tail(program, part.decoder)
            except EngineError as error:
                self.failed.add(part)
                log.error(
                    "exit %d cannot be computed from %s: %s",
                    part.exit_number,
                    sorted(part.names),
                    error,
                )
            except Exception:
                self.failed.add(part)
                log.exception(
                    "exit %d from %s could not be compiled", part.exit_number, sorted(part.names)
                )
            if waiting is self._needed:
                self._ready(part)

    def _can_batch(self, part: Part, program: TailProgram) -> bool:
        """Compile a part for batches; whether that is possible."""
        try:
            self._network.engine.prepare_batches(program.expected, program.outputs)
        except NotBatchable as error:
            names = sorted(part.names)
            log.info("exit %d from %s: one frame at a time: %s", part.exit_number, names, error)
            return False
        except Exception:
            log.exception("exit %d: batches could not be compiled", part.exit_number)
            return False
        return True
