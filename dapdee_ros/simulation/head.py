"""The head on a simulated clock: drives ``core.head`` with profiled seconds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from dapdee_ros.core.frames import FrameResult
from dapdee_ros.core.head import HeadCore
from dapdee_ros.core.head_events import (
    Action,
    Drop,
    Encode,
    Encoded,
    Event,
    Finish,
    Finished,
    GateComputed,
    HeadComputed,
    Job,
    Publish,
    RunHead,
    RunRest,
    Send,
    TimePassed,
    Unused,
    WakeAt,
)
from dapdee_ros.core.programs import HeadProgram
from dapdee_ros.planning.overhead import Overhead
from dapdee_ros.simulation.agenda import Agenda
from dapdee_ros.simulation.frames import FrameSource
from dapdee_ros.simulation.load_trace import LoadTrace
from dapdee_ros.simulation.work import Workbook, seconds

CPU_WAIT_S = 0.0
"""The simulated car has a processor whenever it needs one: what it lacks is its slowdown."""


class Machine(Protocol):
    """What does a head's jobs in simulated time."""

    def run(self, job: Job, now_s: float) -> tuple[float, Event]:
        """Seconds that a job takes which is begun now, and the event that comes of it."""

    def forget(self, number: int) -> None:
        """A frame has ended."""

    def wakes_at(self, at_s: float, now_s: float) -> float:
        """When a thread really wakes that now begins to wait until a time."""


@dataclass(slots=True)
class _Begun:
    program: HeadProgram
    context: Any
    slowdown: float
    spent_s: float = 0.0


class ProfiledMachine:
    """Takes for each job what the profile says, times the slowdown of its beginning."""

    def __init__(
        self,
        book: Workbook,
        load: LoadTrace,
        overhead: Overhead,
        frames: FrameSource,
    ) -> None:
        """Prepare.

        Args:
            book: knows what plans take.
            load: the car's slowdown over time.
            overhead: what a frame costs the car beside the network.
            frames: what is true of each frame.
        """
        self._book = book
        self._load = load
        self._overhead = overhead
        self._frames = frames
        self._begun: dict[int, _Begun] = {}

    def run(self, job: Job, now_s: float) -> tuple[float, Event]:
        """Seconds that a job takes which is begun now, and the event that comes of it."""
        if isinstance(job, RunHead):
            begun = _Begun(job.program, job.context, self._load.at(now_s))
            self._begun[job.number] = begun
            # Whether it is sent is not known yet; what sending takes more comes with coding.
            beside_s = self._overhead.seconds()
            if job.program.plan.gate is None:
                takes_s, event = self._whole_head(job.number, begun)
                return beside_s + takes_s, event
            begun.spent_s = seconds(job.program.gate_profiled_s, begun.slowdown)
            score = self._frames.gate_score(job.number, job.context, job.program)
            event = GateComputed(job.number, score, None, begun.spent_s)
            return beside_s + begun.spent_s, event
        begun = self._begun[job.number]
        if isinstance(job, RunRest):
            return self._whole_head(job.number, begun)
        if isinstance(job, Encode):
            encode_s = seconds(self._book.work(begun.program).encode_s, begun.slowdown)
            sent_bytes = self._frames.sent_bytes(job.number, begun.context, begun.program)
            takes_s = self._overhead.seconds((sent_bytes,), frame_share=0.0) + encode_s
            return takes_s, Encoded(job.number, round(sent_bytes), CPU_WAIT_S)
        assert isinstance(job, Finish)
        finish_s = begun.program.finish_profiled_s[job.exit_number]
        takes_s = seconds(finish_s, self._load.at(now_s))
        return takes_s, Finished(job.number, None, takes_s)

    def forget(self, number: int) -> None:
        """A frame has ended."""
        self._begun.pop(number, None)

    def wakes_at(self, at_s: float, now_s: float) -> float:
        """On time."""
        return at_s

    def _whole_head(self, number: int, begun: _Begun) -> tuple[float, Event]:
        spent_s = seconds(begun.program.head_profiled_s, begun.slowdown)
        return max(0.0, spent_s - begun.spent_s), HeadComputed(number, None, spent_s)


class SimulatedHead:
    """Runs a ``HeadCore`` on an agenda: what a job takes passes before its event is told.

    Attributes:
        core: the head.
        busy_s: seconds that the inference thread computed.
    """

    def __init__(
        self,
        agenda: Agenda,
        core: HeadCore,
        machine: Machine,
        *,
        send: Callable[[Send], None],
        publish: Callable[[FrameResult], None],
        unused: Callable[[Unused], None],
        taken: Callable[[], None],
        dropped: Callable[[int, str], None],
        trace: Callable[[float, Event, list[Action]], None] | None = None,
    ) -> None:
        """Prepare.

        Args:
            agenda: the clock.
            core: the head.
            machine: does its jobs.
            send: sends a frame's boundary.
            publish: receives every result.
            unused: receives answers that ended no frame.
            taken: told when the mailbox was emptied.
            dropped: told the number of a frame that was given up, and why.
            trace: told every event and what followed.
        """
        self.core = core
        self.busy_s = 0.0
        self._agenda = agenda
        self._machine = machine
        self._send = send
        self._publish = publish
        self._unused = unused
        self._taken = taken
        self._dropped = dropped
        self._trace = trace
        self._wake_s = math.inf

    @property
    def is_idle(self) -> bool:
        """Whether no frame is open."""
        return self.core.queue_depth == 0

    def tell(self, event: Event) -> None:
        """Hand an event to the core and do what it says."""
        now_s = self._agenda.now_s
        actions = self.core.handle(now_s, event)
        if self._trace is not None:
            self._trace(now_s, event, actions)
        for action in actions:
            self._do(action, now_s)

    def _do(self, action: Action, now_s: float) -> None:
        if isinstance(action, Job):
            takes_s, event = self._machine.run(action, now_s)
            self.busy_s += takes_s
            self._agenda.at(now_s + takes_s, self.tell, event)
            if isinstance(action, RunHead):
                self._taken()
        elif isinstance(action, WakeAt):
            self._wake_s = action.at_s
            woken_s = self._machine.wakes_at(action.at_s, now_s)
            self._agenda.at(woken_s, self._wake, action.at_s)
        elif isinstance(action, Send):
            self._send(action)
        elif isinstance(action, Publish):
            self._machine.forget(action.result.number)
            self._publish(action.result)
        elif isinstance(action, Drop):
            self._machine.forget(action.number)
            self._dropped(action.number, action.reason)
        elif isinstance(action, Unused):
            self._unused(action)

    def _wake(self, at_s: float) -> None:
        if at_s == self._wake_s:
            self._wake_s = math.inf
            self.tell(TimePassed())
