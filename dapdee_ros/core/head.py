"""The car's side as a state machine: which frame is computed, sent, waited for, finished, and when.

One inference thread does all computing. Before it stands a one-slot mailbox in which the newest
frame wins; behind it a window of frames is on its way to the edge. Every accepted frame ends
exactly once, as a result or as a drop with its reason. Nothing in here computes, waits, sends or
looks at a clock: ``HeadCore.handle`` takes an event and its time and says what is to be done
(compare h11, which keeps a protocol apart from its sockets in the same way).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from dapdee_ros.core.flights import Flights
from dapdee_ros.core.frames import Place, Status
from dapdee_ros.core.head_events import (
    Action,
    AnswerArrived,
    ComputingFailed,
    Drop,
    Encode,
    Encoded,
    Event,
    Finish,
    Finished,
    FrameArrived,
    GateComputed,
    HeadComputed,
    ManagerHeard,
    PlanArrived,
    Publish,
    Refused,
    RunHead,
    RunRest,
    SendFailed,
    SettingsChanged,
    Stopped,
    TimePassed,
    WakeAt,
)
from dapdee_ros.core.head_frame import Frame, Waiting, refusal_of
from dapdee_ros.core.head_settings import HeadSettings
from dapdee_ros.core.ledger import DropKind, FrameLedger
from dapdee_ros.core.margin import LearnedMargin
from dapdee_ros.core.pace import Pace
from dapdee_ros.core.plan_in_force import PlanInForce
from dapdee_ros.core.programs import HeadProgram
from dapdee_ros.estimation.frame_delay import waited_since

SUPERSEDED = "superseded by a newer frame"
SHUTDOWN = "the head was stopped"

Chooser = Callable[[float, int, float], HeadProgram]
"""Says what to do with a frame, from the time, the frame's number and when it was accepted."""


class HeadCore:
    """Runs heads, keeps what was sent until it is answered, falls back in time.

    Not for several threads at once. Times are seconds on one monotonic clock, the caller's.

    Attributes:
        ledger: what became of the frames.
        session: this head's number; answers to another one are ignored.
        settings: what holds where no plan says otherwise; ``SettingsChanged`` changes it.
    """

    def __init__(
        self,
        alone: Sequence[HeadProgram],
        session: int,
        settings: HeadSettings | None = None,
        *,
        choose: Chooser | None = None,
    ) -> None:
        """Prepare.

        Args:
            alone: what the car does without a manager, one program per exit, shallowest first.
            session: this head's number.
            settings: deadline, window, margin, and how long a plan holds.
            choose: who says what to do with each frame, instead of the plan that came last.
        """
        self.ledger = FrameLedger()
        self.session = session
        self.settings = settings or HeadSettings()
        # Unless a manager says otherwise the car does everything itself: that needs nobody else.
        self._alone = list(alone)
        self._choose = choose or self._in_force
        self._plan = PlanInForce()
        self._waiting: Waiting | None = None
        self._work: Frame | None = None
        self._flights = Flights(session)
        self._stopped = False
        self._wake_s = math.inf
        self._pace = Pace()
        self._margin = LearnedMargin()
        self._actions: list[Action] = []
        self._handlers: dict[type, Callable[[float, Any], None]] = {
            FrameArrived: self._on_frame,
            PlanArrived: self._on_plan,
            ManagerHeard: self._on_manager,
            SettingsChanged: self._on_settings,
            GateComputed: self._on_gate,
            HeadComputed: self._on_head,
            Encoded: self._on_encoded,
            SendFailed: self._on_send_failed,
            Finished: self._on_finished,
            ComputingFailed: self._on_failed,
            AnswerArrived: self._on_answer,
            TimePassed: self._on_time,
            Stopped: self._on_stop,
        }

    def handle(self, now_s: float, event: Event) -> list[Action]:
        """Take an event and say what is to be done, in order.

        Args:
            now_s: when it happened; not before the last event.
            event: what happened.
        """
        self._actions = []
        self._handlers[type(event)](now_s, event)
        self._go_on(now_s)
        return self._actions

    # --- what is asked --------------------------------------------------------------------------

    def program(self, now_s: float) -> HeadProgram:
        """What a frame that is begun now goes by; epoch 0 while the car drives alone."""
        return self._in_force(now_s, 0, now_s)

    @property
    def heard_s(self) -> float:
        """When a plan came or its manager was heard last; minus infinity before the first plan."""
        return self._plan.heard_s

    @property
    def queue_depth(self) -> int:
        """Frames waiting, in work or on their way."""
        return len(self._flights) + (self._waiting is not None) + (self._work is not None)

    @property
    def slowdown(self) -> float:
        """Measured over profiled seconds of what is computed here, smoothed."""
        return self._pace.slowdown

    # --- what comes from outside ----------------------------------------------------------------

    def _on_frame(self, now_s: float, event: FrameArrived) -> None:
        number = self.ledger.accept()
        if self._stopped:
            self._drop(number, SHUTDOWN, DropKind.SHUTDOWN)
            return
        self._pace.on_frame(now_s)
        displaced, self._waiting = self._waiting, Waiting(number, event.context, now_s)
        if displaced is not None:
            self._drop(displaced.number, SUPERSEDED, DropKind.SUPERSEDED)

    def _on_plan(self, now_s: float, event: PlanArrived) -> None:
        self._plan.on_plan(now_s, event.program)

    def _on_manager(self, now_s: float, _event: ManagerHeard) -> None:
        self._plan.on_manager(now_s)

    def _on_settings(self, _now_s: float, event: SettingsChanged) -> None:
        self.settings = event.settings

    def _on_time(self, _now_s: float, _event: TimePassed) -> None:
        self._wake_s = math.inf  # that one is over; what is next is found anew

    def _on_stop(self, _now_s: float, _event: Stopped) -> None:
        self._stopped = True
        waiting = () if self._waiting is None else (self._waiting.number,)
        open_frames = [*self._flights.drain(), *waiting]
        self._waiting = None
        for number in open_frames:
            self._drop(number, SHUTDOWN, DropKind.SHUTDOWN)

    def _on_answer(self, now_s: float, event: AnswerArrived) -> None:
        answer = event.answer
        flights = self._flights
        frame = flights.waiting_for(answer)
        if frame is None:
            self.ledger.count_late_answer()
            limit = self._under(self.program(now_s)).max_in_flight
            self._actions += flights.on_unused(now_s, answer, event.cpu_wait_s, limit)
            return
        window = flights.servers.window(answer.server)
        window.on_share(now_s, answer.send_interval_s)
        limit = self._under(frame.program).max_in_flight
        if refusal := refusal_of(answer, event.misfit, frame, now_s):
            if answer.status is Status.BUSY:  # that is everyday life
                window.on_busy(limit)
            elif answer.status is not Status.DRAINING:
                self._actions.append(Refused("frame refused by the edge", refusal))
            # No use to wait any longer: it is finished from what was kept.
            flights.on_refused(now_s, frame, answer, f"{answer.server}: {refusal}")
            self.ledger.count_rejected(answer.status)
            self._actions += flights.on_unused(now_s, answer, event.cpu_wait_s, limit)
            return
        sending = frame.sending_to(answer.server)
        flights.on_answered(now_s, frame, answer, limit)
        self._end(
            frame,
            now_s,
            answer.answer,
            exit_number=answer.exit_number,
            place=Place.EDGE,
            transfer_s=max(0.0, now_s - sending.sent_s - answer.residence_s),
            tail_s=answer.tail_s,
            residence_s=answer.residence_s,
            edge_slowdown=answer.edge_slowdown,
            cpu_wait_s=waited_since(sending.cpu_wait_s, event.cpu_wait_s),
            sending=sending,
        )

    # --- what the inference thread did ----------------------------------------------------------

    def _on_gate(self, now_s: float, event: GateComputed) -> None:
        frame = self._working(event.number)
        program = frame.program
        if event.score >= program.plan.gate_threshold:
            frame.car_slowdown = self._pace.on_computed(event.spent_s, program.gate_profiled_s)
            self._end_here(frame, event.answer, program.plan.gate or 0, now_s)
        elif self._stopped:
            self._give_up(frame.number, SHUTDOWN, DropKind.SHUTDOWN)
        else:
            self._actions.append(RunRest(frame.number))

    def _on_head(self, now_s: float, event: HeadComputed) -> None:
        frame = self._working(event.number)
        program = frame.program
        frame.car_slowdown = self._pace.on_computed(event.spent_s, program.head_profiled_s)
        frame.unread_s = event.unread_s
        if program.outputs:
            self._end_here(frame, event.answer, program.plan.exit_number, now_s)
        elif self._stopped:
            self._give_up(frame.number, SHUTDOWN, DropKind.SHUTDOWN)
        elif frame.may_send:
            self._actions.append(Encode(frame.number))
        else:
            frame.detail = "the window to the edge is full"
            frame.head_s = now_s - frame.begun_s
            self._fall_back(frame, now_s)

    def _on_encoded(self, now_s: float, event: Encoded) -> None:
        frame = self._working(event.number)
        if self._stopped:
            self._give_up(frame.number, SHUTDOWN, DropKind.SHUTDOWN)
            return
        self._work = None
        program = frame.program
        frame.on_encoded(now_s, event)
        frame.planned_slowdown = self._pace.slowdown
        finish_s = {exit_: self._pace.seconds(s) for exit_, s in program.finish_profiled_s.items()}
        frame.deepest_s = finish_s[program.plan.exit_number]
        frame.quickest_s = min(finish_s.values())
        margin_s = self._margin_s(now_s, frame.settings)
        frame.done_by_s = frame.deadline_at_s - margin_s - frame.unread_s
        self._actions.append(self._flights.send(now_s, frame))

    def _on_send_failed(self, now_s: float, event: SendFailed) -> None:
        self._flights.on_send_failed(now_s, event.number, f"could not be sent: {event.reason}")

    def _on_finished(self, now_s: float, event: Finished) -> None:
        frame = self._working(event.number)
        self._work = None
        self._pace.on_computed(event.spent_s, frame.program.finish_profiled_s[frame.exit_number])
        self._margin.on_finish(now_s, frame.planned_s)
        number = frame.exit_number
        self._end(frame, now_s, event.answer, exit_number=number, place=Place.CAR_FALLBACK)

    def _on_failed(self, _now_s: float, event: ComputingFailed) -> None:
        self._working(event.number)
        self._give_up(event.number, event.reason, event.kind)

    def _give_up(self, number: int, reason: str, kind: DropKind) -> None:
        """Drop the frame in work."""
        self._work = None
        self._drop(number, reason, kind)

    def _working(self, number: int) -> Frame:
        if (frame := self._work) is None or frame.number != number:
            raise ValueError(f"frame {number} is not in work")
        return frame

    # --- what is next ---------------------------------------------------------------------------

    def _go_on(self, now_s: float) -> None:
        """Give the inference thread its next job, or name the time at which there may be one."""
        if self._stopped:
            return
        self._actions += self._flights.hand_over(now_s)  # that takes no computing
        if self._work is not None:
            return
        due = self._flights.take_due(now_s)
        if due is not None:
            self._work = due
            self._fall_back(due, now_s)
            return
        wake_s = self._flights.next_s
        waiting = self._waiting
        if waiting is not None:
            program = self._choose(now_s, waiting.number, waiting.accepted_s)
            settings = self._under(program)
            opens_s = self._flights.opens_s(now_s, program.plan, settings.max_in_flight)
            room = not program.boundary or opens_s <= now_s
            alone_at_s = waiting.accepted_s + self._pace.wait_for_window_s(
                program,
                settings.deadline_s,
                self._margin_s(now_s, settings),
                narrowed=self._flights.is_narrowed(now_s, program.plan, settings.max_in_flight),
            )
            if room or alone_at_s <= now_s:
                self._waiting = None
                self._begin(waiting, program, settings, room, now_s)
                return
            wake_s = min(wake_s, alone_at_s, opens_s)
        if wake_s != self._wake_s:
            self._wake_s = wake_s
            self._actions.append(WakeAt(wake_s))

    def _begin(
        self,
        waiting: Waiting,
        program: HeadProgram,
        settings: HeadSettings,
        may_send: bool,
        now_s: float,
    ) -> None:
        self._pace.overhead_s = program.overhead_s
        if news := self._plan.news(program.plan.epoch, self.settings.plan_timeout_s):
            self._actions.append(news)
        self._work = Frame(
            waiting.number, waiting.context, waiting.accepted_s, program, settings, may_send, now_s
        )
        self._actions.append(RunHead(waiting.number, waiting.context, program))

    def _fall_back(self, frame: Frame, now_s: float) -> None:
        """Finish a frame here, at the deepest exit that still fits its deadline."""
        program = frame.program
        # Of what was kept back, waking up took its part; the rest is for computing.
        margin_s = self._margin_s(now_s, frame.settings) / 2 + frame.unread_s
        left_s = frame.deadline_at_s - now_s - margin_s
        others = int(self._waiting is not None) + self._flights.fall_back_by(frame.deadline_at_s)
        frame.exit_number = self._pace.fallback_exit(program.finish_profiled_s, left_s, others)
        # By the slowdown at planning: that the car has become slower since makes it late.
        finish_s = self._pace.seconds(
            program.finish_profiled_s[frame.exit_number], frame.planned_slowdown
        )
        frame.planned_s = min(frame.fallback_at_s, now_s) + frame.unread_s + finish_s
        self._actions.append(Finish(frame.number, frame.exit_number))

    def _in_force(self, now_s: float, _number: int, _accepted_s: float) -> HeadProgram:
        settings = self.settings
        if (planned := self._plan.at(now_s, settings.plan_timeout_s)) is not None:
            return planned
        return self._pace.deepest_alone(
            self._alone, settings.deadline_s, self._margin_s(now_s, settings)
        )

    def _under(self, program: HeadProgram) -> HeadSettings:
        return self.settings.under(program.plan)

    def _margin_s(self, now_s: float, settings: HeadSettings) -> float:
        return self._margin.margin_s(now_s, settings.margin_s, settings.deadline_s)

    # --- how a frame ends -----------------------------------------------------------------------

    def _drop(self, number: int, reason: str, kind: DropKind) -> None:
        self.ledger.end_with_drop(number, reason, kind)
        self._actions.append(Drop(number, reason, kind))

    def _end_here(self, frame: Frame, answer: Any, exit_number: int, now_s: float) -> None:
        self._work = None
        frame.head_s = now_s - frame.begun_s
        self._end(frame, now_s, answer, exit_number=exit_number, place=Place.CAR)

    def _end(self, frame: Frame, now_s: float, answer: Any, **of_result: Any) -> None:
        """Close the frame in the ledger and publish its one result; see ``Frame.result``."""
        result = frame.result(self.session, now_s, answer, **of_result)
        missed = now_s > frame.deadline_at_s
        self.ledger.end_with_result(frame.number, result.place, missed=missed)
        self._actions.append(Publish(result))
