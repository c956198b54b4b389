"""The worker of a ``TailRuntime`` whose network runs as replicas on a Ray cluster.

The core decides as ever whose frame is next, and with which others; what it lets go goes to a
replica as it came from the car. There are as many places as the replicas that run now have
together, so that frames wait where their order can still change, and not on the cluster.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from dapdee_ros.core.frames import HeadFrame, Status
from dapdee_ros.core.programs import TailProgram
from dapdee_ros.core.tail import BUSY_SHUTDOWN
from dapdee_ros.core.tail_events import (
    BatchEnded,
    BatchesReady,
    PlacesSet,
    RunTail,
    TailComputed,
    TailEvent,
    TailFailed,
)
from dapdee_ros.engines.engine import EngineError
from dapdee_ros.runtime.finishing import failure, part_of, program_of

if TYPE_CHECKING:
    from dapdee_ros.runtime.ray_replica import Finished
    from dapdee_ros.runtime.split_network import ModelPrograms
    from dapdee_ros.runtime.tail_compiler import Part

log = logging.getLogger(__name__)

LEAST_WAIT_S = 1.0
"""An answer is waited for at least this long, though it may be late: a head learns from that."""

MOST_WAIT_S = 10.0
STOP_S = 2.0
"""Frames on their way when the edge stops may take this long."""

_LOOK_S = 1.0
_MOST_EXPECTED = 8


class Replicas(Protocol):
    """What the worker needs of ``RayCluster``."""

    @property
    def running(self) -> int:
        """Replicas that take frames now."""

    def finish(self, frames: Sequence[HeadFrame], within_s: float) -> Finished:
        """Have frames computed; waits for it."""

    def prepare(self, frame: HeadFrame, count: int, *, batches: bool = False) -> bool:
        """Have replicas compile what frames like this one need."""


class RayWorker:
    """Gives runs to replicas, as many at once as they have places. See ``TailWorker``.

    Attributes:
        replicas: how many take frames.
    """

    def __init__(
        self, network: ModelPrograms, cluster: Replicas, *, in_flight: int, most_replicas: int
    ) -> None:
        """Prepare.

        Args:
            network: the model, with the profile that cars know.
            cluster: its replicas.
            in_flight: runs that a replica has at once.
            most_replicas: replicas that there may be.
        """
        self._network, self._cluster = network, cluster
        self._in_flight, self._most = in_flight, most_replicas
        self.replicas = cluster.running
        self._runs: queue.SimpleQueue[RunTail | None] = queue.SimpleQueue()
        self._condition = threading.Condition()
        self._open: dict[int, RunTail] = {}
        self._expected: OrderedDict[Part, HeadFrame] = OrderedDict()
        self._to_batch: OrderedDict[Part, HeadFrame] = OrderedDict()
        self._stopping = False
        self._tell: Callable[[TailEvent], None] = lambda event: None
        self._watch: threading.Thread | None = None

    @property
    def places(self) -> int:
        """Runs that the replicas which are there have at once."""
        return self._in_flight * min(max(1, self.replicas), self._most)

    def start(self, tell: Callable[[TailEvent], None]) -> None:
        """Start the threads, one for each run that there can be at once."""
        self._tell = tell
        for number in range(self._in_flight * self._most):
            # They wait for other machines: the end of the process does not wait for them.
            threading.Thread(target=self._work, name=f"tail {number}", daemon=True).start()
        self._watch = threading.Thread(target=self._look, name="replicas", daemon=True)
        self._watch.start()

    def begin(self, run: RunTail) -> None:
        """Give frames to a replica."""
        with self._condition:
            self._open[run.place] = run
        self._runs.put(run)

    def expect(self, frame: HeadFrame, program: TailProgram) -> None:
        """Have the replicas compile what an announced frame needs."""
        with self._condition:
            self._expected[part_of(self._network, frame)] = _without_data(frame)
            if len(self._expected) > _MOST_EXPECTED:
                self._expected.popitem(last=False)
            self._condition.notify_all()

    def prepare_batches(self, frame: HeadFrame) -> None:
        """Have the replicas compile a frame's part for batches."""
        with self._condition:
            # Not checked yet; others like it were computed.
            known = replace(frame, model_id=self._network.card.model_id)
            self._to_batch[part_of(self._network, frame)] = _without_data(known)
            self._condition.notify_all()

    def stop(self) -> None:
        """Wait a moment for what is on its way, and refuse the rest."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
            self._condition.wait_for(lambda: not self._open, STOP_S)
            left = list(self._open.values())
        for run in left:
            self._end(run, _of_all(run, TailFailed(Status.BUSY, BUSY_SHUTDOWN)))
        for _ in range(self._in_flight * self._most):
            self._runs.put(None)
        if self._watch is not None:
            self._watch.join(_LOOK_S)

    def _work(self) -> None:
        while (run := self._runs.get()) is not None:
            self._end(run, self._finished(run))

    def _end(self, run: RunTail, event: TailComputed | TailFailed | BatchEnded) -> None:
        """Tell how a run ended, unless that was told before."""
        with self._condition:
            if self._open.get(run.place) is not run:
                return
            del self._open[run.place]
            self._condition.notify_all()
        self._tell(replace(event, place=run.place))

    def _finished(self, run: RunTail) -> TailComputed | TailFailed | BatchEnded:
        frames = [replace(of.payload, context=None) for of in run.frames]
        within_s = max(of.answer_within_s for of in run.frames)
        within_s = min(max(LEAST_WAIT_S, within_s), MOST_WAIT_S) if within_s > 0 else MOST_WAIT_S
        try:
            done = self._cluster.finish(frames, within_s)
            if not done.possible:
                self._tell(BatchesReady(part_of(self._network, frames[0]), False))
            return self._judged(frames, done)
        except Exception as error:
            return _of_all(run, failure(frames[0], error))

    def _judged(
        self, frames: Sequence[HeadFrame], done: Finished
    ) -> TailComputed | TailFailed | BatchEnded:
        """How a run ended, its frames' seconds beside those of the profile that cars know."""
        event = done.event
        if isinstance(event, TailFailed):
            return event
        if isinstance(event, TailComputed):
            return replace(self._beside_profile(event, frames[0]), waited_s=done.waited_s)
        outcomes = [
            self._beside_profile(outcome, frame) if isinstance(outcome, TailComputed) else outcome
            for outcome, frame in zip(event.outcomes, frames, strict=True)
        ]
        return replace(event, outcomes=outcomes, waited_s=done.waited_s)

    def _beside_profile(self, done: TailComputed, frame: HeadFrame) -> TailComputed:
        return replace(done, profiled_s=program_of(self._network, frame).profiled_s)

    def _look(self) -> None:
        """Follow how many replicas there are, and pass on what they shall compile."""
        while True:
            with self._condition:
                self._condition.wait_for(
                    lambda: self._stopping or self._expected or self._to_batch, _LOOK_S
                )
                if self._stopping:
                    return
                expected, self._expected = self._expected, OrderedDict()
                to_batch, self._to_batch = self._to_batch, OrderedDict()
            for frame in expected.values():
                self._cluster.prepare(frame, max(1, self.replicas))
            for part, frame in to_batch.items():
                possible = self._cluster.prepare(frame, max(1, self.replicas), batches=True)
                self._tell(BatchesReady(part, possible))
            self._count()

    def _count(self) -> None:
        try:
            running = self._cluster.running
        except EngineError as error:
            log.warning("%s", error)
            return
        if running != self.replicas:
            log.info("%d replicas take frames, %d before", running, self.replicas)
            self.replicas = running
            self._tell(PlacesSet(self.places))


def _without_data(frame: HeadFrame) -> HeadFrame:
    """A frame that says what others like it need, and has nothing to compute."""
    return replace(frame, data=b"", context=None)


def _of_all(run: RunTail, failed: TailFailed) -> TailFailed | BatchEnded:
    return BatchEnded([failed] * len(run.frames)) if run.others else failed
