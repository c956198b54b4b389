"""An edge server in simulated time: the live tail's core with shares, on a profiled machine."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from dapdee_ros.core.fair_queue import SHARE_BOUNDS, QueueBounds
from dapdee_ros.core.frames import TailAnswer
from dapdee_ros.core.tail import TailCore
from dapdee_ros.core.tail_events import (
    RunTail,
    SendAnswer,
    SharesSet,
    TailComputed,
    TailEvent,
    TensorsArrived,
)
from dapdee_ros.planning.overhead import Overhead
from dapdee_ros.simulation.agenda import Agenda
from dapdee_ros.simulation.fleet.air import LEAST_WEIGHT
from dapdee_ros.simulation.work import PlanWork, seconds

MOST_FRAMES = 16
"""Of one car that may wait: as many as a head may have in flight."""
_MOST_CARS = 1_000_000


@dataclass(slots=True)
class EdgeJob:
    """A frame at an edge server.

    Attributes:
        car: index of the car it came from.
        frame: the frame; its payload is the ``PlanWork`` of its plan.
        due_s: when its answer is of no use any more.
        overhead: what a frame costs the server beside the network.
        answer: sends the answer back.
    """

    car: int
    frame: TensorsArrived
    due_s: float
    overhead: Overhead
    answer: Callable[[TailAnswer], None]


class EdgeStation:
    """One edge server.

    Attributes:
        up: whether it works.
        busy_s: seconds that it computed.
        served_s: of them for each car, by index.
        computed: frames that were computed.
        refused: frames that were refused.
        lost: frames that came while it was down, or were here when it failed.
    """

    def __init__(self, agenda: Agenda, slowdown: float, most_frames: int = MOST_FRAMES) -> None:
        """Prepare.

        Args:
            agenda: the clock.
            slowdown: that of its profile with nobody else on it.
            most_frames: of one car that may wait.
        """
        self.up = True
        self.busy_s = 0.0
        self.served_s: dict[int, float] = {}
        self.computed = self.refused = self.lost = 0
        self._agenda = agenda
        self._slowdown = slowdown
        self._bounds = QueueBounds(frames=most_frames, cars=_MOST_CARS)
        self._core = TailCore(self._bounds)
        self._shares: dict[str, float] = {}
        self._told = True

    def set_weight(self, car: int, weight: float) -> None:
        """A car's share from its next frame on."""
        low, _ = SHARE_BOUNDS
        # Only their ratios count; the least weight becomes the least share that there may be.
        self._shares[str(car)] = max(weight, LEAST_WEIGHT) * low / LEAST_WEIGHT
        self._told = False

    def submit(self, job: EdgeJob) -> None:
        """A frame's tensors are there."""
        if not self.up:
            self.lost += 1
            return
        if not self._told:
            self._told = True
            self._tell(self._core, SharesSet(dict(self._shares)))
        frame = replace(
            job.frame,
            car_id=str(job.car),
            part=job.frame.payload,
            context=job,
            # A frame that has no time left is refused like any other that has not enough.
            answer_within_s=max(job.due_s - self._agenda.now_s, 1e-9),
        )
        self._tell(self._core, frame)

    def fail(self) -> None:
        """It is gone, with everything in it."""
        self.up = False
        self.lost += self._core.queue_depth
        self._core = TailCore(self._bounds)
        self._told = False

    def restore(self) -> None:
        """It is back, with nothing in it."""
        self.up = True

    def _tell(self, core: TailCore, event: TailEvent) -> None:
        if core is not self._core:
            # It failed while it computed.
            return
        now_s = self._agenda.now_s
        for action in core.handle(now_s, event):
            if isinstance(action, RunTail):
                self._run(core, action.frame, now_s)
            if not isinstance(action, SendAnswer):
                continue
            answer = action.answer
            job: EdgeJob = answer.context
            if answer.detail:
                self.refused += 1
            job.answer(replace(answer, context=None))

    def _run(self, core: TailCore, frame: TensorsArrived, now_s: float) -> None:
        job: EdgeJob = frame.context
        work: PlanWork = frame.payload
        beside_s = job.overhead.seconds((frame.received_bytes,))
        takes_s = beside_s + seconds(work.decode_s + work.tail_s, self._slowdown)
        tail_s = work.tail_s if work.tail_s > 0 else math.nan
        done = TailComputed(None, seconds(tail_s, self._slowdown), tail_s)
        self._agenda.at(now_s + takes_s, self._computed, core, job.car, takes_s, done)

    def _computed(self, core: TailCore, car: int, takes_s: float, done: TailComputed) -> None:
        if core is self._core:
            self.computed += 1
            self.busy_s += takes_s
            self.served_s[car] = self.served_s.get(car, 0.0) + takes_s
        self._tell(core, done)
