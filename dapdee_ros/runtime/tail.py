"""The edge's side: takes heads' frames, has them computed in turn, and answers each."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from dapdee_ros.codecs.wire import MOST_TENSORS
from dapdee_ros.core.fair_queue import QueueBounds
from dapdee_ros.core.frames import HeadFrame, Status, TailAnswer
from dapdee_ros.core.programs import TailProgram
from dapdee_ros.core.tail import TailCore
from dapdee_ros.core.tail_events import (
    PrepareBatches,
    RunTail,
    SendAnswer,
    SharesSet,
    TailEvent,
    TailStopped,
    TensorsArrived,
)
from dapdee_ros.estimation.rejections import Rejections
from dapdee_ros.runtime.finishing import FrameRefused, part_of, program_of
from dapdee_ros.runtime.inference_thread import InferenceThread
from dapdee_ros.runtime.split_network import ModelPrograms, SplitNetwork

log = logging.getLogger(__name__)


class TailWorker(Protocol):
    """What computes the frames of a ``TailRuntime``."""

    @property
    def places(self) -> int:
        """Most runs at once, at the start; it may tell ``PlacesSet`` later."""

    def start(self, tell: Callable[[TailEvent], None]) -> None:
        """Be ready; events are told from any thread but one that is in a call of this."""

    def begin(self, run: RunTail) -> None:
        """Compute frames; returns at once. The event that ends the run follows, with its place."""

    def expect(self, frame: HeadFrame, program: TailProgram) -> None:
        """Frames like this one, computed by this program, are about to come; returns at once."""

    def prepare_batches(self, frame: HeadFrame) -> None:
        """``PrepareBatches`` for frames like this one; returns at once."""

    def stop(self) -> None:
        """End what is computed, tell how it ended, and tell nothing after that."""


class TailRuntime:
    """Runs a ``TailCore``: a worker computes, any thread may submit frames.

    Attributes:
        rejections: what was refused and why, except frames refused as busy.
    """

    def __init__(
        self,
        network: ModelPrograms,
        answer: Callable[[TailAnswer], object],
        *,
        bounds: QueueBounds | None = None,
        shares: Mapping[str, float] | None = None,
        most_batch: int = 1,
        rejections: Rejections | None = None,
        clock: Callable[[], float] = time.monotonic,
        worker: TailWorker | None = None,
    ) -> None:
        """Prepare; ``start`` starts computing.

        Args:
            network: the model that is run.
            answer: receives every answer, on the worker's thread or the submitting one.
            bounds: how many frames may wait; by default the newest of each car.
            shares: the cars' shares of the edge's time, relative to each other; not named: 1.
            most_batch: most frames that are computed together, where that pays; 1: none.
            rejections: counts what is refused.
            clock: monotonic seconds.
            worker: what computes; None: a thread here, with the network's engine.

        Raises:
            TypeError: if there is neither a worker nor an engine.
        """
        if worker is None:
            if not isinstance(network, SplitNetwork):
                raise TypeError("a network without an engine needs a worker")
            worker = InferenceThread(network, clock)
        self._network = network
        self._answer = answer
        self._clock = clock
        self._worker = worker
        self._core = TailCore(bounds, shares, most_batch, worker.places)
        self._lock = threading.Lock()
        self.rejections = rejections or Rejections()

    @property
    def queue_depth(self) -> int:
        """Frames waiting or being computed."""
        with self._lock:
            return self._core.queue_depth

    @property
    def computed(self) -> int:
        """Frames answered with a class."""
        return self._core.computed

    @property
    def runs(self) -> int:
        """Runs of the network that they took: fewer where frames were computed together."""
        return self._core.runs

    @property
    def refused(self) -> dict[Status, int]:
        """Frames answered with a status other than ok, by status."""
        with self._lock:
            return dict(self._core.refused)

    def set_shares(self, shares: Mapping[str, float]) -> None:
        """Change the cars' shares from the next frame on; from any thread.

        Raises:
            ShareError: if one makes no sense; then all stay as they are.
        """
        self._tell(SharesSet(shares))

    def start(self) -> None:
        """Start computing."""
        self._worker.start(self._tell)

    def stop(self) -> None:
        """Finish the current frame, answer waiting ones as busy, end the worker."""
        self._tell(TailStopped())
        self._worker.stop()

    def expect(self, frame: HeadFrame) -> None:
        """Frames of the same exit and tensors are about to come: compile what they need.

        Returns at once. May be called from any thread.
        """
        try:
            program = program_of(self._network, frame)
        except FrameRefused as refused:
            self.rejections.count(self._clock(), "announced plan", str(refused))
        else:
            self._worker.expect(frame, program)

    def submit(self, frame: HeadFrame) -> None:
        """Submit a frame; returns at once. May be called from any thread."""
        self._tell(
            TensorsArrived(
                frame.number,
                frame.session,
                frame.exit_number,
                frame.sent_s,
                len(frame.data),
                frame.car_id,
                part_of(self._network, frame) if len(frame.specs) <= MOST_TENSORS else None,
                frame,
                frame.context,
                frame.answer_within_s,
            )
        )

    def _tell(self, event: TailEvent) -> None:
        with self._lock:
            actions = self._core.handle(self._clock(), event)
            for action in actions:
                if isinstance(action, RunTail):
                    # Here, so that a stop finds everything begun that the core has let go.
                    self._worker.begin(action)
        for action in actions:
            if isinstance(action, SendAnswer):
                self._note_refusal(action.answer)
                self._answer(action.answer)
            elif isinstance(action, PrepareBatches):
                self._worker.prepare_batches(action.frame.payload)

    def _note_refusal(self, answer: TailAnswer) -> None:
        status = answer.status
        if status in (Status.OK, Status.BUSY):
            return
        name = status.name.lower()
        if self.rejections.count(self._clock(), f"frame ({name})", answer.detail):
            log.warning("frame %d refused, %s: %s", answer.number, name, answer.detail)
