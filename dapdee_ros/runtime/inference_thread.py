"""The thread that computes in the edge's own process: the usual worker of a ``TailRuntime``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dapdee_ros.core.frames import HeadFrame
from dapdee_ros.core.programs import TailProgram
from dapdee_ros.core.tail_events import (
    BatchesReady,
    PartReady,
    RunTail,
    TailEvent,
    TailUnready,
)
from dapdee_ros.runtime.finishing import (
    failure,
    finish_batch,
    finish_frame,
    part_of,
    program_of,
)
from dapdee_ros.runtime.tail_compiler import TailCompiler

if TYPE_CHECKING:
    from dapdee_ros.runtime.split_network import SplitNetwork


class _NotReady(Exception):
    """A frame's part has to be compiled first."""


class InferenceThread:
    """Computes one run after the other; parts are compiled beside it. See ``TailWorker``."""

    places = 1

    def __init__(self, network: SplitNetwork, clock: Callable[[], float]) -> None:
        """Prepare.

        Args:
            network: the model.
            clock: monotonic seconds.
        """
        self._network, self._clock = network, clock
        self._condition = threading.Condition()
        self._run: RunTail | None = None
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._tell: Callable[[TailEvent], None] = lambda event: None
        self._compiler = TailCompiler(
            network,
            lambda part: self._tell(PartReady(part)),
            lambda part, possible: self._tell(BatchesReady(part, possible)),
        )

    def start(self, tell: Callable[[TailEvent], None]) -> None:
        """Start the thread."""
        self._tell = tell
        self._thread = threading.Thread(target=self._loop, name="tail", daemon=True)
        self._thread.start()

    def begin(self, run: RunTail) -> None:
        """Compute frames on the thread."""
        with self._condition:
            self._run = run
            self._condition.notify_all()

    def expect(self, frame: HeadFrame, program: TailProgram) -> None:
        """Compile what an announced frame needs."""
        self._compiler.expect(part_of(self._network, frame), program)

    def prepare_batches(self, frame: HeadFrame) -> None:
        """Compile a frame's part for batches."""
        part = part_of(self._network, frame)
        # Such frames were computed before; this one is not checked yet, and may be refused.
        program = self._network.tail_program(part.exit_number, part.names)
        self._compiler.prepare_batches(part, program)

    def stop(self) -> None:
        """Finish what is computed, and end the threads."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        if self._thread:
            self._thread.join()
        self._compiler.stop()

    def _loop(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._stopping or self._run is not None)
                if self._run is None:
                    return
                frames = [frame.payload for frame in self._run.frames]
                self._run = None
            event = self._finish(frames)
            self._tell(event)
            if isinstance(event, TailUnready):
                # Only now: what is compiled must not be told before the core knows of it.
                part = part_of(self._network, frames[0])
                self._compiler.need(part, program_of(self._network, frames[0]))

    def _finish(self, frames: Sequence[HeadFrame]) -> TailEvent:
        network, frame = self._network, frames[0]
        try:
            if len(frames) == 1:
                return finish_frame(network, frame, self._clock, self._check_ready)
            ended, possible = finish_batch(network, frames, self._clock)
            if not possible:
                self._tell(BatchesReady(part_of(network, frame), False))
            return ended
        except _NotReady:
            return TailUnready()
        except Exception as error:
            return failure(frame, error)

    def _check_ready(self, frame: HeadFrame, program: TailProgram) -> None:
        """Raise _NotReady if something has to be compiled for a frame first, and can be."""
        ready = self._network.tail_is_ready(program, frame.codec)
        if not ready and part_of(self._network, frame) not in self._compiler.failed:
            raise _NotReady
