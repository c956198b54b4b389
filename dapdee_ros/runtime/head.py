"""The car's side: run the head, send the boundary, wait for the edge, finish alone if need be.

One inference thread does all computing. Before it stands a one-slot mailbox in which the newest
frame wins; behind it at most ``max_in_flight`` frames are on their way to the edge. Every accepted
frame ends exactly once, as a result or as a drop with its reason.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dapdee_ros.codec import encode
from dapdee_ros.core.frames import (
    Classification,
    Flight,
    FramePlan,
    FrameResult,
    HeadFrame,
    Place,
    Status,
    TailAnswer,
)
from dapdee_ros.core.head_settings import HeadSettings
from dapdee_ros.core.ledger import DropKind, FrameLedger, LedgerError
from dapdee_ros.core.margin import LearnedMargin
from dapdee_ros.core.pace import Pace
from dapdee_ros.core.patience import fallback_time
from dapdee_ros.core.window import SendWindow
from dapdee_ros.estimation.rejections import Rejections, shortened
from dapdee_ros.graph.dag import GraphError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dapdee_ros.runtime.split_network import HeadProgram, SplitNetwork

log = logging.getLogger(__name__)

SUPERSEDED = "superseded by a newer frame"
SHUTDOWN = "the head was stopped"
FAILED = "could not be computed"

_SENT_REMEMBERED = 256


class FrameError(ValueError):
    """An image that the network cannot be given; the message says why."""


@dataclass(frozen=True)
class Sent:
    """What is remembered of a frame that was sent, also when it has ended.

    Attributes:
        sent_s: when it was sent, car's clock, in s.
        n_bytes: coded tensor bytes.
    """

    sent_s: float
    n_bytes: int


@dataclass(frozen=True)
class _Waiting:
    number: int
    payload: Any
    accepted_s: float


class HeadRuntime:
    """Runs heads, keeps what was sent until it is answered, falls back in time.

    Attributes:
        ledger: what became of the frames.
        rejections: what was refused of what came from outside: plans, answers, images.
        session: drawn anew for every head; answers to another one are ignored.
    """

    def __init__(
        self,
        network: SplitNetwork,
        *,
        load: Callable[[Any], NDArray[np.uint8]],
        send: Callable[[HeadFrame], None],
        publish: Callable[[FrameResult], None],
        session: int,
        settings: HeadSettings | None = None,
        rejections: Rejections | None = None,
        check_plan: Callable[[FramePlan], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; ``start`` starts the thread.

        Args:
            network: the model that is run.
            load: turns what ``accept`` was given into the network's input, uint8 of shape
                (1, H, W, 3); raises FrameError if it can't. Called on the inference thread.
            send: sends a boundary to the edge. Called on the inference thread.
            publish: receives every result, on the inference thread or the one that answers.
            session: this head's number.
            settings: deadline and window.
            rejections: where to count what is refused.
            check_plan: raises what ``set_plan`` shall raise for plans that fit the network, but
                must not be followed.
            clock: monotonic seconds.
        """
        self._network = network
        self._load = load
        self._send = send
        self._publish = publish
        self._check_plan = check_plan
        self._clock = clock
        self._settings = settings or HeadSettings()
        self._condition = threading.Condition()
        self._waiting: _Waiting | None = None
        self._flights: dict[int, Flight] = {}
        self._sent: OrderedDict[int, Sent] = OrderedDict()
        self._stopping = False
        self._busy = False
        self._thread: threading.Thread | None = None
        self._pace = Pace()
        self._margin = LearnedMargin()
        self._window = SendWindow()
        # Unless a manager says otherwise the car does everything itself: that needs nobody else.
        self._alone = [
            network.head_program(FramePlan(0, number))
            for number in range(1, network.exit_count + 1)
        ]
        self._planned: HeadProgram | None = None
        self._heard_s = -math.inf
        self._expired = False
        self.ledger = FrameLedger()
        self.rejections = rejections or Rejections()
        self.session = session

    # --- called by the node, on any thread ------------------------------------------------------

    @property
    def plan(self) -> FramePlan:
        """The plan for the next frame; its epoch is 0 while the car drives alone."""
        with self._condition:
            return self._program(self._clock()).plan

    @property
    def manager_silent_s(self) -> float:
        """Seconds since a plan came or its manager was heard; infinite before the first plan."""
        return self._clock() - self._heard_s

    @property
    def settings(self) -> HeadSettings:
        """What holds where no plan says otherwise; set it to change it for the next frame."""
        return self._settings

    @settings.setter
    def settings(self, settings: HeadSettings) -> None:
        with self._condition:
            self._settings = settings
            self._condition.notify_all()

    @property
    def queue_depth(self) -> int:
        """Frames waiting, in work or on their way."""
        with self._condition:
            return len(self._flights) + int(self._waiting is not None) + int(self._busy)

    @property
    def slowdown(self) -> float:
        """Measured over profiled seconds of what is computed here, smoothed."""
        return self._pace.slowdown

    def set_plan(self, plan: FramePlan) -> None:
        """Use another plan from the next frame on; frames that were sent are not touched.

        Raises:
            GraphError: if it does not fit the network; the old plan stays.
        """
        if plan.epoch < 1:
            raise GraphError(f"a plan's epoch is {plan.epoch}, expected 1 or more")
        program = self._network.head_program(plan)
        if self._check_plan is not None:
            self._check_plan(plan)
        with self._condition:
            self._planned = program
            self._heard_s = self._clock()
            self._condition.notify_all()

    def hear_manager(self) -> None:
        """The manager lives, so the last plan holds on, or holds again."""
        with self._condition:
            if self._planned is not None:
                self._heard_s = self._clock()
                self._condition.notify_all()

    def accept(self, payload: Any) -> int:
        """Take on a frame and return its number. The frame that it displaces is dropped."""
        now = self._clock()
        with self._condition:
            number = self.ledger.accept()
            if self._stopping:
                self.ledger.end_with_drop(number, SHUTDOWN, DropKind.SHUTDOWN)
                return number
            self._pace.on_frame(now)
            displaced, self._waiting = self._waiting, _Waiting(number, payload, now)
            self._condition.notify_all()
        if displaced:
            self.ledger.end_with_drop(displaced.number, SUPERSEDED)
        return number

    def answer(self, answer: TailAnswer) -> bool:
        """Take an answer of the edge; the first that ends a frame counts.

        Returns:
            Whether it ended a frame: False for late, refused and foreign ones.
        """
        now = self._clock()
        with self._condition:
            ours = answer.session == self.session
            flight = self._flights.get(answer.number) if ours else None
            if flight is None:
                self.ledger.count_late_answer()
                return False
            refusal = ""
            if answer.status is not Status.OK:
                refusal = f"{answer.status.name.lower()}: {shortened(answer.detail)}"
            elif misfit := self._network.misfit(answer, flight.plan.exit_number):
                refusal = f"its answer makes no sense: {misfit}"
            elif answer.residence_s > now - flight.sent_s:
                refusal = (
                    f"its answer makes no sense: {answer.residence_s} s of residence in a round "
                    f"trip of {now - flight.sent_s} s"
                )
            limit = self._settings.under(flight.plan).max_in_flight
            if refusal:
                if answer.status is Status.BUSY:
                    self._window.on_busy(limit)
                # No use to wait any longer: the inference thread finishes it from what was kept.
                flight.fallback_at_s = now
                flight.detail = f"edge: {refusal}"
                self.ledger.count_rejected(answer.status)
                if answer.status is not Status.BUSY:  # that one is everyday life
                    self.rejections.count(now, "frame refused by the edge", refusal)
                self._condition.notify_all()
                return False
            classification = answer.classification
            assert classification is not None  # or it would not have made sense
            self._window.on_answered(limit)
            del self._flights[answer.number]
            self._sent.pop(answer.number, None)
            self._condition.notify_all()
        self._end(
            flight,
            classification,
            answer.exit_number,
            Place.EDGE,
            now,
            transfer_s=max(0.0, now - flight.sent_s - answer.residence_s),
            tail_s=answer.tail_s,
            residence_s=answer.residence_s,
            edge_slowdown=answer.edge_slowdown,
        )
        return True

    def take_sent(self, answer: TailAnswer) -> Sent | None:
        """What is known here of the frame that an answer belongs to, told once for each.

        Of an answer itself, which anybody may have sent, it is not known that there was a frame.

        Returns:
            None if no such frame was sent lately, or it has been asked for before.
        """
        with self._condition:
            ours = answer.session == self.session
            return self._sent.pop(answer.number, None) if ours else None

    def start(self) -> None:
        """Start the inference thread."""
        self._thread = threading.Thread(target=self._loop, name="head", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; frames that are open then end as drops, so the ledger is closed."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        if self._thread:
            self._thread.join()
        with self._condition:
            open_frames = [*self._flights]
            if self._waiting:
                open_frames.append(self._waiting.number)
            self._flights.clear()
            self._waiting = None
        for number in open_frames:
            self.ledger.end_with_drop(number, SHUTDOWN, DropKind.SHUTDOWN)

    # --- the inference thread -------------------------------------------------------------------

    def _loop(self) -> None:
        while True:
            job = self._next_job()
            if job is None:
                return
            try:
                if isinstance(job, Flight):
                    self._fall_back(job)
                else:
                    self._begin(*job)
            except Exception as error:
                # Whatever one frame does, the car drives on; the frame is accounted for.
                log.exception("frame %d could not be computed", _number(job))
                with contextlib.suppress(LedgerError):  # it had ended, only publishing failed
                    self.ledger.end_with_drop(
                        _number(job), f"{FAILED}: {type(error).__name__}", DropKind.FAILED
                    )

    def _next_job(self) -> Flight | tuple[_Waiting, HeadProgram, bool] | None:
        """Wait for the next thing to do: a frame that has to be finished here, or a new one."""
        with self._condition:
            self._busy = False
            while not self._stopping:
                now = self._clock()
                due = min(self._flights.values(), key=lambda f: f.fallback_at_s, default=None)
                if due is not None and due.fallback_at_s <= now:
                    self._busy = True
                    return self._flights.pop(due.number)
                wake_s = due.fallback_at_s if due is not None else math.inf
                if self._waiting is not None:
                    waiting, program = self._waiting, self._program(now)
                    self._log_expiry(program)
                    settings = self._settings.under(program.plan)
                    room = not program.boundary or (
                        len(self._flights) < self._window.width(settings.max_in_flight)
                    )
                    alone_at_s = waiting.accepted_s + self._pace.wait_for_window_s(
                        program, settings.deadline_s, self._margin_s(now, settings)
                    )
                    if room or alone_at_s <= now:
                        self._waiting = None
                        self._busy = True
                        return waiting, program, room
                    wake_s = min(wake_s, alone_at_s)
                self._condition.wait(None if math.isinf(wake_s) else max(0.0, wake_s - now))
            return None

    def _program(self, now: float) -> HeadProgram:
        """What to do with a frame that is begun now."""
        settings = self._settings
        if self._planned is not None and now - self._heard_s <= settings.plan_timeout_s:
            return self._planned
        return self._pace.deepest_alone(
            self._alone, settings.deadline_s, self._margin_s(now, settings)
        )

    def _margin_s(self, now: float, settings: HeadSettings) -> float:
        return self._margin.margin_s(now, settings.margin_s, settings.deadline_s)

    def _log_expiry(self, program: HeadProgram) -> None:
        """Say it when a plan has expired, and when it holds again."""
        expired = self._planned is not None and program is not self._planned
        if expired != self._expired:
            if expired:
                log.warning(
                    "no manager was heard for %g s, so its plan has expired: the car drives alone",
                    self._settings.plan_timeout_s,
                )
            else:
                log.info("a manager is heard: plan %d holds", program.plan.epoch)
        self._expired = expired

    def _begin(self, waiting: _Waiting, program: HeadProgram, may_send: bool) -> None:
        import torch

        started_s = self._clock()
        plan = program.plan
        try:
            image = torch.from_numpy(self._load(waiting.payload))
        except FrameError as error:
            reason = shortened(str(error))
            if self.rejections.count(self._clock(), "image", reason):
                log.warning("frame %d: %s", waiting.number, reason)
            self.ledger.end_with_drop(waiting.number, f"bad image: {reason}", DropKind.BAD_IMAGE)
            return
        network = self._network
        loaded_s = self._clock()
        values: dict[str, Any] = {}
        given = {network.dag.input: image}
        for number, values in enumerate(network.runner.run_stages(given, program.stages)):
            if number == 0 and plan.gate is not None:
                gate = network.classify(values[program.stages[0][0]], plan.gate)
                if gate.score >= plan.gate_threshold:
                    slowdown = self._pace.on_computed(
                        self._clock() - loaded_s, program.gate_profiled_s
                    )
                    self._finish_here(waiting, program, gate, plan.gate, started_s, slowdown)
                    return
        slowdown = self._pace.on_computed(self._clock() - loaded_s, program.head_profiled_s)
        if program.sink is not None:
            answer = network.classify(values[program.sink], plan.exit_number)
            self._finish_here(waiting, program, answer, plan.exit_number, started_s, slowdown)
            return
        flight = Flight(
            number=waiting.number,
            context=waiting.payload,
            plan=plan,
            accepted_s=waiting.accepted_s,
            deadline_at_s=waiting.accepted_s + self._settings.under(plan).deadline_s,
            fallback_at_s=math.inf,
            sent_s=math.nan,
            head_s=0.0,
            sent_bytes=0,
            kept={name: values[name] for name in program.kept},
            program=program,
            car_slowdown=slowdown,
        )
        if not may_send:
            flight.detail = "the window to the edge is full"
            flight.head_s = self._clock() - started_s
            self._fall_back(flight)
            return
        specs, data = encode({name: values[name].numpy() for name in program.boundary}, plan.codec)
        flight.sent_bytes = len(data)
        flight.sent_s = self._clock()
        flight.head_s = flight.sent_s - started_s
        finish_s = {exit_: self._pace.seconds(s) for exit_, s in program.finish_profiled_s.items()}
        flight.fallback_at_s = fallback_time(
            flight.sent_s,
            flight.deadline_at_s - self._margin_s(flight.sent_s, self._settings.under(plan)),
            plan.predicted_remote_s,
            deepest_s=finish_s[plan.exit_number],
            quickest_s=min(finish_s.values()),
        )
        with self._condition:
            # Before it is sent: on one machine the answer can be back before send() returns.
            self._flights[flight.number] = flight
            self._sent[flight.number] = Sent(flight.sent_s, flight.sent_bytes)
            while len(self._sent) > _SENT_REMEMBERED:
                self._sent.popitem(last=False)
        frame = HeadFrame(
            number=waiting.number,
            session=self.session,
            sent_s=flight.sent_s,
            model_id=network.model.card.model_id,
            exit_number=plan.exit_number,
            codec=plan.codec,
            specs=specs,
            data=data,
            context=waiting.payload,
        )
        try:
            self._send(frame)
        except Exception as error:
            log.exception("frame %d could not be sent", flight.number)
            with self._condition:
                flight.fallback_at_s = self._clock()
                flight.detail = f"could not be sent: {error}"

    def _fall_back(self, flight: Flight) -> None:
        """Finish a frame here, at the deepest exit that still fits its deadline."""
        program = flight.program
        started_s = self._clock()
        settings = self._settings.under(flight.plan)
        # Of what was kept back, waking up took its part; the rest is for computing.
        left_s = flight.deadline_at_s - started_s - self._margin_s(started_s, settings) / 2
        with self._condition:
            others = int(self._waiting is not None) + sum(
                other.fallback_at_s <= flight.deadline_at_s for other in self._flights.values()
            )
        exit_number = self._pace.fallback_exit(program.finish_profiled_s, left_s, others)
        profiled_s = program.finish_profiled_s[exit_number]
        planned_s = min(flight.fallback_at_s, started_s) + self._pace.seconds(profiled_s)
        logits = self._network.finish(flight.kept, program, exit_number)
        answer = self._network.classify(logits, exit_number)
        if not flight.detail:
            flight.detail = "no answer from the edge in time"
        ended_s = self._clock()
        self._pace.on_computed(ended_s - started_s, profiled_s)
        self._margin.on_finish(ended_s, planned_s)
        self._end(flight, answer, exit_number, Place.CAR_FALLBACK, ended_s)

    def _finish_here(
        self,
        waiting: _Waiting,
        program: HeadProgram,
        answer: Classification,
        exit_number: int,
        started_s: float,
        slowdown: float,
    ) -> None:
        now = self._clock()
        flight = Flight(
            number=waiting.number,
            context=waiting.payload,
            plan=program.plan,
            accepted_s=waiting.accepted_s,
            deadline_at_s=waiting.accepted_s + self._settings.under(program.plan).deadline_s,
            fallback_at_s=math.inf,
            sent_s=math.nan,
            head_s=now - started_s,
            sent_bytes=0,
            kept={},
            program=program,
            car_slowdown=slowdown,
        )
        self._end(flight, answer, exit_number, Place.CAR, now)

    def _end(
        self,
        flight: Flight,
        classification: Classification,
        exit_number: int,
        place: Place,
        now: float,
        *,
        transfer_s: float = 0.0,
        tail_s: float = 0.0,
        residence_s: float = 0.0,
        edge_slowdown: float = math.nan,
    ) -> None:
        """Close the frame in the ledger and publish its one result."""
        self.ledger.end_with_result(flight.number, place, missed=now > flight.deadline_at_s)
        self._publish(
            FrameResult(
                number=flight.number,
                session=self.session,
                plan=flight.plan,
                classification=classification,
                exit_number=exit_number,
                place=place,
                detail=flight.detail,
                head_s=flight.head_s,
                transfer_s=transfer_s,
                tail_s=tail_s,
                latency_s=now - flight.accepted_s,
                sent_bytes=flight.sent_bytes,
                deadline_s=flight.deadline_at_s - flight.accepted_s,
                car_slowdown=flight.car_slowdown,
                edge_slowdown=edge_slowdown,
                residence_s=residence_s,
                sent_s=flight.sent_s,
                context=flight.context,
            )
        )


def _number(job: Flight | tuple[_Waiting, HeadProgram, bool]) -> int:
    return job.number if isinstance(job, Flight) else job[0].number


__all__ = ["FrameError", "GraphError", "HeadRuntime", "HeadSettings", "Sent"]
