"""An edge server in simulated time: a queue per car, weighted fair by shares, admission.

Between cars start-time fair queueing (P. Goyal, H. Vin, H. Cheng: Start-time Fair Queuing, SIGCOMM
1996), which needs no preemption: a frame in work is finished. Within a car the earliest deadline is
first. What cannot be done in time is refused at once, so that its car can finish it.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

from dapdee_ros.core.frames import Status, TailAnswer
from dapdee_ros.core.tail import TensorsArrived
from dapdee_ros.planning.overhead import Overhead
from dapdee_ros.simulation.agenda import Agenda
from dapdee_ros.simulation.fleet.air import LEAST_WEIGHT
from dapdee_ros.simulation.work import PlanWork, seconds

NOT_IN_TIME = "the edge server cannot finish it in time"


@dataclass(slots=True)
class EdgeJob:
    """A frame at an edge server.

    Attributes:
        car: index of the car it came from.
        frame: the frame; its payload is the ``PlanWork`` of its plan.
        due_s: when it should be finished.
        overhead: what a frame costs the server beside the network.
        answer: sends the answer back.
        received_s: when it came.
        takes_s: seconds that it takes here.
    """

    car: int
    frame: TensorsArrived
    due_s: float
    overhead: Overhead
    answer: Callable[[TailAnswer], None]
    received_s: float = 0.0
    takes_s: float = 0.0


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

    def __init__(self, agenda: Agenda, slowdown: float) -> None:
        """Prepare; ``slowdown`` is that of its profile with nobody else on it."""
        self.up = True
        self.busy_s = 0.0
        self.served_s: dict[int, float] = {}
        self.computed = self.refused = self.lost = 0
        self._agenda = agenda
        self._slowdown = slowdown
        self._weights: dict[int, float] = {}
        self._queues: dict[int, list[tuple[float, int, EdgeJob]]] = {}
        self._turns: list[tuple[float, int, int]] = []
        self._ends: dict[int, float] = {}
        self._virtual = 0.0
        self._order = itertools.count()
        self._work: EdgeJob | None = None
        self._until_s = 0.0
        self._waiting_s = 0.0
        self._own_s: dict[int, float] = {}
        self._life = 0

    def set_weight(self, car: int, weight: float) -> None:
        """A car's share from its next frame on."""
        self._weights[car] = max(weight, LEAST_WEIGHT)

    def submit(self, job: EdgeJob) -> None:
        """A frame's tensors are there."""
        if not self.up:
            self.lost += 1
            return
        now_s = job.received_s = self._agenda.now_s
        work: PlanWork = job.frame.payload
        beside_s = job.overhead.seconds((job.frame.received_bytes,))
        job.takes_s = beside_s + seconds(work.decode_s + work.tail_s, self._slowdown)
        weight = self._weights.get(job.car, LEAST_WEIGHT)
        # No car waits for more than is here, nor for more than its own frames at its share.
        own_s = self._own_s.get(job.car, 0.0)
        left_s = max(0.0, self._until_s - now_s) if self._work is not None else 0.0
        wait_s = left_s + min(self._waiting_s, own_s / weight)
        if now_s + wait_s + job.takes_s > job.due_s:
            self.refused += 1
            self._answer(job, Status.BUSY, NOT_IN_TIME)
            return
        queue = self._queues.setdefault(job.car, [])
        heapq.heappush(queue, (job.due_s, next(self._order), job))
        self._waiting_s += job.takes_s
        self._own_s[job.car] = own_s + job.takes_s
        if len(queue) == 1:
            self._queue_up(job.car)
        self._go_on()

    def fail(self) -> None:
        """It is gone, with everything in it."""
        self.lost += sum(map(len, self._queues.values())) + (self._work is not None)
        self.up = False
        self._life += 1
        for kept in (self._queues, self._own_s, self._ends):
            kept.clear()
        self._turns.clear()
        self._work, self._waiting_s, self._virtual = None, 0.0, 0.0

    def restore(self) -> None:
        """It is back, with nothing in it."""
        self.up = True

    def _queue_up(self, car: int) -> None:
        starts = max(self._virtual, self._ends.get(car, 0.0))
        heapq.heappush(self._turns, (starts, next(self._order), car))

    def _go_on(self) -> None:
        if self._work is not None or not self._turns:
            return
        self._virtual, _, car = heapq.heappop(self._turns)
        job = heapq.heappop(self._queues[car])[2]
        weight = self._weights.get(car, LEAST_WEIGHT)
        self._ends[car] = self._virtual + job.takes_s / weight
        self._waiting_s -= job.takes_s
        self._own_s[car] -= job.takes_s
        if self._queues[car]:
            self._queue_up(car)
        self._work = job
        self._until_s = self._agenda.now_s + job.takes_s
        self._agenda.at(self._until_s, self._done, self._life)

    def _done(self, life: int) -> None:
        job = self._work
        if life != self._life or job is None:
            return
        self._work = None
        self.computed += 1
        self.busy_s += job.takes_s
        self.served_s[job.car] = self.served_s.get(job.car, 0.0) + job.takes_s
        self._answer(job, Status.OK, "")
        self._go_on()

    def _answer(self, job: EdgeJob, status: Status, why: str) -> None:
        now_s, frame = self._agenda.now_s, job.frame
        done = status is Status.OK
        job.answer(
            TailAnswer(
                number=frame.number,
                session=frame.session,
                status=status,
                detail=why,
                answer=None,
                exit_number=frame.exit_number,
                tail_s=job.takes_s if done else 0.0,
                residence_s=now_s - job.received_s,
                sent_echo_s=frame.sent_s,
                received_bytes=frame.received_bytes,
                edge_slowdown=self._slowdown if done else math.nan,
            )
        )
