"""The edge server in a simulation: the rules of ``runtime.tail`` on a simulated clock."""

from __future__ import annotations

import math
from collections.abc import Callable

from dapdee_ros.simulation.agenda import Agenda
from dapdee_ros.simulation.car import Answer, Frame
from dapdee_ros.simulation.load_trace import LoadTrace
from dapdee_ros.simulation.work import seconds


class SimulatedEdge:
    """One inference thread behind a one-slot mailbox; the displaced frame is answered as busy."""

    def __init__(
        self,
        agenda: Agenda,
        load: LoadTrace,
        overhead_s: float,
        answer: Callable[[Answer], None],
    ) -> None:
        """Prepare; ``answer`` sends an answer back."""
        self._agenda = agenda
        self._load = load
        self._overhead_s = overhead_s
        self._answer = answer
        self._waiting: tuple[Frame, float] | None = None
        self._busy = False

    def submit(self, frame: Frame) -> None:
        """A frame's tensors are there."""
        now_s = self._agenda.now_s
        displaced, self._waiting = self._waiting, (frame, now_s)
        if displaced is not None:
            other, since_s = displaced
            self._answer(Answer(other, False, 0.0, now_s - since_s, math.nan))
        self._begin()

    def _begin(self) -> None:
        if self._busy or self._waiting is None:
            return
        (frame, received_s), self._waiting = self._waiting, None
        assert frame.work is not None  # it was sent under a plan
        self._busy = True
        now_s = self._agenda.now_s
        slowdown = self._load.at(now_s)
        work = frame.work
        spent_s = self._overhead_s + seconds(work.decode_s + work.tail_s, slowdown)
        known = slowdown if work.tail_s > 0 else math.nan
        self._agenda.at(now_s + spent_s, self._done, frame, received_s, spent_s, known)

    def _done(self, frame: Frame, received_s: float, spent_s: float, slowdown: float) -> None:
        self._busy = False
        residence_s = self._agenda.now_s - received_s
        self._answer(Answer(frame, True, spent_s, residence_s, slowdown))
        self._begin()
