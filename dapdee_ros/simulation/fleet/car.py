"""One car of a simulated fleet: the live head's core on a profiled machine, and its battery."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from dapdee_ros.core.frames import FrameResult, Place, TailAnswer
from dapdee_ros.core.head import HeadCore
from dapdee_ros.core.head_events import (
    AnswerArrived,
    FrameArrived,
    ManagerHeard,
    PlanArrived,
    Send,
    Stopped,
    Unused,
)
from dapdee_ros.simulation.agenda import Agenda
from dapdee_ros.simulation.fleet.agent import Assignment
from dapdee_ros.simulation.fleet.members import Member
from dapdee_ros.simulation.frames import ExpectedFrames
from dapdee_ros.simulation.head import CPU_WAIT_S, ProfiledMachine, SimulatedHead
from dapdee_ros.simulation.work import seconds

_SESSION = 1
_EXPIRES_AFTER_ROUNDS = 3
_SAME_SHARES = 0.05


@dataclass
class CarFigures:
    """What became of a car's frames.

    Attributes:
        ended_s: when each result came, in s.
        latency_s: of each result.
        quality: expected quality of each result.
        places: results by ``Place``.
        late: results after the deadline.
        dropped_s: when each drop was, in s.
        sent_bytes: coded bytes sent.
        waited_s: for how long frames were in flight.
        empty_s: when the battery was empty; infinity if it never was.
        plan_changes: how often the plan, the server or the shares changed.
    """

    ended_s: array[float] = field(default_factory=lambda: array("d"))
    latency_s: array[float] = field(default_factory=lambda: array("d"))
    quality: array[float] = field(default_factory=lambda: array("d"))
    places: dict[Place, int] = field(default_factory=lambda: dict.fromkeys(Place, 0))
    late: int = 0
    dropped_s: array[float] = field(default_factory=lambda: array("d"))
    sent_bytes: float = 0.0
    waited_s: float = 0.0
    empty_s: float = math.inf
    plan_changes: int = 0


class FleetMember:
    """One car on the common agenda.

    Attributes:
        member: the car as it was drawn.
        head: its head.
        figures: what became of its frames.
        drives: whether its battery is not empty.
        assignment: what it does now; None before the first plan.
    """

    def __init__(
        self,
        agenda: Agenda,
        member: Member,
        replan_s: float,
        send: Callable[[FleetMember, Send, int, float], None],
    ) -> None:
        """Prepare.

        Args:
            agenda: the clock.
            member: the car as it was drawn.
            replan_s: between two rounds of planning; a plan expires after three of them.
            send: sends a frame's boundary, given the server and when the frame is due.
        """
        self.member = member
        self.figures = CarFigures()
        self.drives = True
        self.assignment: Assignment | None = None
        self._agenda = agenda
        self._send_over = send
        self._servers: dict[int, int] = {}
        self._accepted_s: dict[int, float] = {}
        self._epoch = 0
        self._came = 0
        scenario = member.frames
        self._frames = ExpectedFrames(scenario, member.book)
        settings = replace(scenario.head, plan_timeout_s=max(2.0, _EXPIRES_AFTER_ROUNDS * replan_s))
        self.head = SimulatedHead(
            agenda,
            HeadCore(member.book.alone, _SESSION, settings),
            ProfiledMachine(
                member.book, scenario.car_load, member.problem.car.overhead, self._frames
            ),
            send=self._send,
            publish=self._take_result,
            unused=self._take_unused,
            taken=_nothing,
            dropped=self._take_drop,
        )

    # --- its frames -----------------------------------------------------------------------------

    def start(self) -> None:
        """Wait for the first frame."""
        self._next()

    def _next(self) -> None:
        if self._came < len(self.member.arrivals_s):
            self._agenda.at(float(self.member.arrivals_s[self._came]), self._accept)

    def _accept(self) -> None:
        if not self.drives:
            return
        self._came += 1
        self._accepted_s[self._came] = self._agenda.now_s
        self.head.tell(FrameArrived(self._frames.context(self._came)))
        self._next()

    def _send(self, send: Send) -> None:
        self.figures.sent_bytes += send.sent_bytes
        due_s = self._accepted_s[send.number] + self.member.group.deadline_s
        self._send_over(self, send, self._servers[send.program.plan.epoch], due_s)

    def take_answer(self, answer: TailAnswer) -> None:
        """The answer of an edge server came."""
        self.head.tell(AnswerArrived(answer, cpu_wait_s=CPU_WAIT_S))

    def _take_result(self, result: FrameResult) -> None:
        figures, now_s = self.figures, self._agenda.now_s
        del self._accepted_s[result.number]
        fallback = result.place is Place.CAR_FALLBACK
        figures.ended_s.append(now_s)
        figures.latency_s.append(result.latency_s)
        quality = self.member.book.quality(result.plan, result.exit_number, fallback)
        figures.quality.append(quality)
        figures.places[result.place] += 1
        figures.late += result.latency_s > result.deadline_s
        if not math.isnan(result.sent_s):
            waited_s = now_s - result.sent_s
            if fallback:
                program = self.head.core.program(now_s)
                rest_s = program.finish_profiled_s.get(result.exit_number, 0.0)
                waited_s -= seconds(rest_s, self.member.slowdown)
            figures.waited_s += max(0.0, waited_s)

    def _take_drop(self, number: int, _reason: str) -> None:
        del self._accepted_s[number]
        self.figures.dropped_s.append(self._agenda.now_s)

    def _take_unused(self, _unused: Unused) -> None:
        """A late answer; the ledger counts it."""

    # --- its plan and battery -------------------------------------------------------------------

    def take(self, new: Assignment) -> None:
        """Follow a plan from the next frame on, or hear that it still holds."""
        old = self.assignment
        if old is not None and _same(old, new):
            self.head.tell(ManagerHeard())
            return
        self.assignment = new
        self._epoch += 1
        self.figures.plan_changes += old is not None
        self._servers[self._epoch] = new.server
        self.head.tell(PlanArrived(self.member.book.program(new.plan, self._epoch)))

    @property
    def energy_j(self) -> float:
        """Joules for computing, sending and waiting so far."""
        energy, figures = self.member.energy, self.figures
        return (
            energy.compute_w * self.head.busy_s
            + energy.send_j_per_byte * figures.sent_bytes
            + energy.wait_w * figures.waited_s
        )

    def level(self, now_s: float) -> float:
        """What is left in the battery, 0 to 1 of a full one; NaN without one."""
        member = self.member
        if math.isinf(member.battery_j):
            return math.nan
        left_j = member.battery_j - self.energy_j - member.group.base_w * now_s
        return min(1.0, max(0.0, left_j / member.group.battery_j))

    def stop(self) -> None:
        """Its battery is empty: open frames are dropped, no more come."""
        self.drives = False
        self.figures.empty_s = self._agenda.now_s
        self.head.tell(Stopped())


def _same(old: Assignment, new: Assignment) -> bool:
    if old.server != new.server or old.plan.key != new.plan.key:
        return False
    pairs = ((old.edge_share, new.edge_share), (old.air_share, new.air_share))
    return all(abs(a - b) <= _SAME_SHARES * max(a, b) for a, b in pairs)


def _nothing() -> None:
    pass
