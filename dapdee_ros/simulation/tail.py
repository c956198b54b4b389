"""The edge server on a simulated clock: drives ``core.tail`` with profiled seconds."""

from __future__ import annotations

import math
from collections.abc import Callable

from dapdee_ros.core.frames import TailAnswer
from dapdee_ros.core.tail import TailCore
from dapdee_ros.core.tail_events import (
    RunTail,
    SendAnswer,
    TailComputed,
    TailEvent,
    TensorsArrived,
)
from dapdee_ros.planning.overhead import Overhead
from dapdee_ros.simulation.agenda import Agenda
from dapdee_ros.simulation.load_trace import LoadTrace
from dapdee_ros.simulation.work import PlanWork, seconds


class SimulatedTail:
    """Runs a ``TailCore`` on an agenda; a frame's payload is the ``PlanWork`` of its plan."""

    def __init__(
        self,
        agenda: Agenda,
        load: LoadTrace,
        overhead: Overhead,
        answer: Callable[[TailAnswer], None],
    ) -> None:
        """Prepare; ``answer`` sends an answer back."""
        self._agenda = agenda
        self._load = load
        self._overhead = overhead
        self._answer = answer
        self._core = TailCore()

    def submit(self, frame: TensorsArrived) -> None:
        """A frame's tensors are there."""
        self._tell(frame)

    def _tell(self, event: TailEvent) -> None:
        now_s = self._agenda.now_s
        for action in self._core.handle(now_s, event):
            if isinstance(action, RunTail):
                self._run(action.frame, now_s)
            elif isinstance(action, SendAnswer):
                self._answer(action.answer)

    def _run(self, frame: TensorsArrived, now_s: float) -> None:
        work: PlanWork = frame.payload
        slowdown = self._load.at(now_s)
        beside_s = self._overhead.seconds((frame.received_bytes,))
        takes_s = beside_s + seconds(work.decode_s + work.tail_s, slowdown)
        tail_s = work.tail_s if work.tail_s > 0 else math.nan
        done = TailComputed(None, seconds(tail_s, slowdown), tail_s)
        self._agenda.at(now_s + takes_s, self._tell, done)
