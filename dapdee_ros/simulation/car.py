"""The car in a simulation: the rules of ``runtime.head``, step by step on a simulated clock."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from dapdee_ros.core.frames import Place, Status
from dapdee_ros.core.ledger import FrameLedger
from dapdee_ros.core.margin import LearnedMargin
from dapdee_ros.core.pace import Pace
from dapdee_ros.core.patience import fallback_time
from dapdee_ros.core.window import SendWindow
from dapdee_ros.runtime.head import SHUTDOWN, SUPERSEDED, HeadSettings
from dapdee_ros.simulation.agenda import Agenda
from dapdee_ros.simulation.load_trace import LoadTrace
from dapdee_ros.simulation.work import PlanWork, Workbook, seconds


@dataclass(slots=True)
class Frame:
    """A frame on the car.

    Attributes:
        number: counted from 1.
        difficulty: 0 (easy) to 1; a gate ends the frames below its share.
        accepted_s: when it came.
        work: what its plan means, from when it is begun.
        sent_s: when it was sent, NaN before.
        head_s: T_d in s.
        sent_bytes: coded tensor bytes sent.
        fallback_at_s: when the car stops waiting for the edge.
        car_slowdown: as measured on it, NaN where nothing of the network ran.
    """

    number: int
    difficulty: float
    accepted_s: float
    work: PlanWork | None = None
    sent_s: float = math.nan
    head_s: float = 0.0
    sent_bytes: float = 0.0
    fallback_at_s: float = math.inf
    car_slowdown: float = math.nan


@dataclass(frozen=True, slots=True)
class Answer:
    """What the edge says; ``ok`` is False where it was busy.

    Attributes:
        frame: the frame.
        ok: whether it was computed.
        tail_s: T_e in s.
        residence_s: between arrival and answer.
        edge_slowdown: measured over profiled, NaN where nothing ran.
    """

    frame: Frame
    ok: bool
    tail_s: float
    residence_s: float
    edge_slowdown: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a frame; field for field what the head publishes.

    Attributes:
        frame: the frame.
        at_s: when it ended.
        exit_number: exit that answered.
        place: where.
        transfer_s: T_t in s, 0 unless finished on the edge.
        tail_s: T_e in s, likewise.
        residence_s: seconds on the edge, likewise.
        edge_slowdown: measured there, else NaN.
        accuracy: expected share of right answers of frames like this.
    """

    frame: Frame
    at_s: float
    exit_number: int
    place: Place
    transfer_s: float
    tail_s: float
    residence_s: float
    edge_slowdown: float
    accuracy: float

    @property
    def latency_s(self) -> float:
        """From accepting the frame to this, in s."""
        return self.at_s - self.frame.accepted_s


class SimulatedCar:
    """One inference thread behind a one-slot mailbox in which the newest frame wins.

    Attributes:
        ledger: what became of the frames.
        busy_s: seconds that the thread computed.
        epoch_work: the plan for the next frame; None before the first: the car works alone.
    """

    def __init__(
        self,
        agenda: Agenda,
        book: Workbook,
        settings: HeadSettings,
        load: LoadTrace,
        overhead_s: float,
        send_overhead_s: float,
        *,
        send: Callable[[Frame], None],
        publish: Callable[[Outcome], None],
        unused: Callable[[Answer], None],
        taken: Callable[[], None],
        dropped: Callable[[int, str], None],
    ) -> None:
        """Prepare.

        Args:
            agenda: the clock.
            book: works out plans.
            settings: margin, and deadline and window where a plan has none of its own.
            load: the car's slowdown over time.
            overhead_s: seconds a frame beside the network.
            send_overhead_s: the same for a frame that is sent.
            send: sends a frame's boundary.
            publish: receives every result.
            unused: receives answers that end no frame.
            taken: told when the mailbox was emptied.
            dropped: told the number of a frame that was given up, and why.
        """
        self._agenda = agenda
        self._book = book
        self._settings = settings
        self._load = load
        self._overhead_s = overhead_s
        self._send_overhead_s = send_overhead_s
        self._send = send
        self._publish = publish
        self._unused = unused
        self._taken = taken
        self._dropped = dropped
        self._pace = Pace()
        self._margin = LearnedMargin()
        self._window = SendWindow()
        self._waiting: Frame | None = None
        self._flights: dict[int, Frame] = {}
        self._busy = False
        self._wake_s = math.inf
        self._programs = [work.program for work in book.alone]
        self.choose: Callable[[Frame], PlanWork] | None = None
        self.epoch_work: PlanWork | None = None
        self.ledger = FrameLedger()
        self.busy_s = 0.0

    def set_plan(self, work: PlanWork) -> None:
        """Use another plan from the next frame on."""
        self.epoch_work = work
        self.look()

    def accept(self, difficulty: float) -> None:
        """Take on a frame; the one that it displaces is dropped."""
        now_s = self._agenda.now_s
        number = self.ledger.accept()
        self._pace.on_frame(now_s)
        displaced, self._waiting = self._waiting, Frame(number, difficulty, now_s)
        if displaced is not None:
            self._drop(displaced, SUPERSEDED)
        self.look()

    def answer(self, answer: Answer) -> None:
        """Take an answer of the edge."""
        now_s = self._agenda.now_s
        frame = answer.frame
        waited_for = frame.number in self._flights
        limit = self._under(frame).max_in_flight
        if waited_for and not answer.ok:
            self._window.on_busy(limit)
            frame.fallback_at_s = now_s
            self.ledger.count_rejected(Status.BUSY)
            self._unused(answer)
            self.look()
            return
        if not waited_for:
            self.ledger.count_late_answer()
            self._unused(answer)
            return
        self._window.on_answered(limit)
        del self._flights[frame.number]
        assert frame.work is not None  # it was sent under a plan
        self._end(
            Outcome(
                frame, now_s, frame.work.program.plan.exit_number, Place.EDGE,
                max(0.0, now_s - frame.sent_s - answer.residence_s), answer.tail_s,
                answer.residence_s, answer.edge_slowdown, frame.work.accuracy,
            )
        )  # fmt: skip
        self.look()

    def stop(self) -> None:
        """What is still open ends as a drop."""
        waiting = [self._waiting] if self._waiting is not None else []
        for frame in [*self._flights.values(), *waiting]:
            self._drop(frame, SHUTDOWN)
        self._flights.clear()
        self._waiting = None

    def _drop(self, frame: Frame, reason: str) -> None:
        self.ledger.end_with_drop(frame.number, reason)
        self._dropped(frame.number, reason)

    @property
    def is_idle(self) -> bool:
        """Whether no frame is open."""
        return not self._busy and self._waiting is None and not self._flights

    def look(self) -> None:
        """Begin the next thing to do, if nothing is in work: as the head's inference thread."""
        if self._busy:
            return
        now_s = self._agenda.now_s
        due = min(self._flights.values(), key=lambda f: f.fallback_at_s, default=None)
        if due is not None and due.fallback_at_s <= now_s:
            del self._flights[due.number]
            self._fall_back(due)
            return
        wake_s = due.fallback_at_s if due is not None else math.inf
        waiting = self._waiting
        if waiting is not None:
            work = self._work(waiting)
            settings = self._settings.under(work.program.plan)
            window = self._window.width(settings.max_in_flight)
            room = not work.program.boundary or len(self._flights) < window
            alone_at_s = waiting.accepted_s + self._pace.wait_for_window_s(
                work.program, settings.deadline_s, self._margin_s(settings)
            )
            if room or alone_at_s <= now_s:
                self._waiting = None
                self._begin(waiting, work, room)
                self._taken()
                return
            wake_s = min(wake_s, alone_at_s)
        if wake_s < self._wake_s or self._wake_s <= now_s:
            self._wake_s = wake_s
            self._agenda.at(wake_s, self.look)

    def _under(self, frame: Frame) -> HeadSettings:
        """What holds for a frame that was begun."""
        assert frame.work is not None  # it has had a plan since then
        return self._settings.under(frame.work.program.plan)

    def _work(self, frame: Frame) -> PlanWork:
        if self.choose is not None:
            return self.choose(frame)
        if self.epoch_work is not None:
            return self.epoch_work
        settings = self._settings
        program = self._pace.deepest_alone(
            self._programs, settings.deadline_s, self._margin_s(settings)
        )
        return self._book.alone[self._programs.index(program)]

    def _begin(self, frame: Frame, work: PlanWork, may_send: bool) -> None:
        now_s = self._agenda.now_s
        slowdown = self._load.at(now_s)
        frame.work = work
        program = work.program
        if program.plan.gate is not None and frame.difficulty < work.gate_share:
            spent_s = seconds(program.gate_profiled_s, slowdown)
            ended_s = now_s + self._overhead_s + spent_s
            self._occupy(ended_s, self._gate_done, frame, now_s, spent_s)
            return
        spent_s = seconds(program.head_profiled_s, slowdown)
        sends = may_send and bool(program.boundary)
        coded_s = seconds(work.encode_s, slowdown) if sends else 0.0
        beside_s = self._send_overhead_s if sends else self._overhead_s
        ended_s = now_s + beside_s + spent_s + coded_s
        self._occupy(ended_s, self._head_done, frame, now_s, spent_s, sends)

    def _occupy(self, until_s: float, then: Callable[..., None], *arguments: object) -> None:
        self._busy = True
        self.busy_s += until_s - self._agenda.now_s
        self._agenda.at(until_s, self._free, then, arguments)

    def _free(self, then: Callable[..., None], arguments: tuple[object, ...]) -> None:
        self._busy = False
        then(*arguments)
        self.look()

    def _gate_done(self, frame: Frame, started_s: float, spent_s: float) -> None:
        assert frame.work is not None and frame.work.program.plan.gate is not None
        program = frame.work.program
        frame.car_slowdown = self._pace.on_computed(spent_s, program.gate_profiled_s)
        frame.head_s = self._agenda.now_s - started_s
        self._finish(frame, program.plan.gate, Place.CAR)  # type: ignore[arg-type]

    def _head_done(self, frame: Frame, started_s: float, spent_s: float, sends: bool) -> None:
        assert frame.work is not None
        program = frame.work.program
        now_s = self._agenda.now_s
        frame.car_slowdown = self._pace.on_computed(spent_s, program.head_profiled_s)
        frame.head_s = now_s - started_s
        if program.sink is not None:
            self._finish(frame, program.plan.exit_number, Place.CAR)
            return
        if not sends:
            self._fall_back(frame)
            return
        frame.sent_bytes = frame.work.coded_bytes
        frame.sent_s = now_s
        settings = self._under(frame)
        finish_s = {e: self._pace.seconds(s) for e, s in program.finish_profiled_s.items()}
        frame.fallback_at_s = fallback_time(
            now_s,
            frame.accepted_s + settings.deadline_s - self._margin_s(settings),
            program.plan.predicted_remote_s,
            deepest_s=finish_s[program.plan.exit_number],
            quickest_s=min(finish_s.values()),
        )
        self._flights[frame.number] = frame
        self._send(frame)

    def _fall_back(self, frame: Frame) -> None:
        assert frame.work is not None
        program = frame.work.program
        now_s = self._agenda.now_s
        settings = self._under(frame)
        deadline_at_s = frame.accepted_s + settings.deadline_s
        others = int(self._waiting is not None) + sum(
            other.fallback_at_s <= deadline_at_s for other in self._flights.values()
        )
        exit_number = self._pace.fallback_exit(
            program.finish_profiled_s,
            deadline_at_s - now_s - self._margin_s(settings) / 2,
            others,
        )
        profiled_s = program.finish_profiled_s[exit_number]
        spent_s = seconds(profiled_s, self._load.at(now_s))
        planned_s = min(frame.fallback_at_s, now_s) + self._pace.seconds(profiled_s)
        self._occupy(now_s + spent_s, self._fell_back, frame, exit_number, spent_s, planned_s)

    def _fell_back(self, frame: Frame, exit_number: int, spent_s: float, planned_s: float) -> None:
        assert frame.work is not None
        profiled_s = frame.work.program.finish_profiled_s[exit_number]
        self._pace.on_computed(spent_s, profiled_s)
        self._margin.on_finish(self._agenda.now_s, planned_s)
        self._finish(frame, exit_number, Place.CAR_FALLBACK)

    def _margin_s(self, settings: HeadSettings) -> float:
        return self._margin.margin_s(self._agenda.now_s, settings.margin_s, settings.deadline_s)

    def _finish(self, frame: Frame, exit_number: int, place: Place) -> None:
        assert frame.work is not None
        accuracy = self._book.accuracy(frame.work, exit_number, place is Place.CAR_FALLBACK)
        self._end(
            Outcome(
                frame, self._agenda.now_s, exit_number, place, 0.0, 0.0, 0.0, math.nan, accuracy
            )
        )

    def _end(self, outcome: Outcome) -> None:
        missed = outcome.latency_s > self._under(outcome.frame).deadline_s
        self.ledger.end_with_result(outcome.frame.number, outcome.place, missed=missed)
        self._publish(outcome)
