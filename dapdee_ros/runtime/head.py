"""The head on threads: drives ``core.head`` with a real clock, a real network and a real link."""

from __future__ import annotations

import logging
import math
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dapdee_ros.codecs import TensorSpec
from dapdee_ros.core.frames import FramePlan, FrameResult, HeadFrame, TailAnswer
from dapdee_ros.core.head import SHUTDOWN, SUPERSEDED, HeadCore
from dapdee_ros.core.head_events import (
    Action,
    AnswerArrived,
    ComputingFailed,
    Drop,
    Event,
    FrameArrived,
    Job,
    ManagerHeard,
    PlanArrived,
    PlanExpired,
    PlanHoldsAgain,
    Publish,
    Refused,
    Send,
    SendFailed,
    SettingsChanged,
    Stopped,
    TimePassed,
    Unused,
    WakeAt,
)
from dapdee_ros.core.head_settings import HeadSettings
from dapdee_ros.core.ledger import DropKind, LedgerSummary
from dapdee_ros.core.programs import HeadProgram
from dapdee_ros.estimation.rejections import Rejections, shortened
from dapdee_ros.graph.dag import GraphError
from dapdee_ros.runtime.head_machine import FrameError, HeadMachine
from dapdee_ros.runtime.outbox import Outbox
from dapdee_ros.runtime.preparation import Preparation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dapdee_ros.runtime.split_network import SplitNetwork

log = logging.getLogger(__name__)

FAILED = "could not be computed"

Trace = Callable[[float, Event, Sequence[Action]], None]
"""Told each event with its time and the actions that followed, in order."""


class HeadRuntime:
    """Runs a ``HeadCore``: one inference thread computes, any thread may submit events.

    Attributes:
        rejections: refused input from outside: plans, answers, images.
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
        unused: Callable[[Unused], None] | None = None,
        announce: Callable[[HeadFrame], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        machine: HeadMachine | None = None,
        file_of: Callable[[Any], array[int] | bytes | None] | None = None,
        trace: Trace | None = None,
    ) -> None:
        """Prepare; ``start`` starts the thread.

        Args:
            network: the model that is run.
            load: turns the argument of ``accept`` into the network's input, uint8 of shape
                (1, H, W, 3); raises FrameError if it can't. Called on the inference thread.
            send: sends a boundary to the edge. Called on the inference thread.
            publish: receives every result, on the inference thread or the one that answers.
            session: this head's number, drawn at random for every head.
            settings: deadline and window.
            rejections: counts what is refused.
            check_plan: raises for plans that fit the network but must not be followed; ``set_plan``
                passes the exception on.
            unused: called with answers that ended no frame, for frames that were really sent.
            announce: sends a frame without data, of number 0, for every plan that sends: the edge
                can compile what its frames will need. Called on a thread of its own, as it blocks
                while a slow link has no room: the newest plan counts.
            clock: monotonic seconds.
            machine: what computes; by default the network itself.
            file_of: returns the camera's file that the argument of ``accept`` holds if it may be
                passed on to the edge as it is, else None.
            trace: called with every event and its actions, while the core is locked.
        """
        self._network = network
        self._send = send
        self._publish = publish
        self._check_plan = check_plan
        self._unused = unused
        # One for each server: a link without room to one of them must not hold up the others.
        self._announce = announce
        self._announcements: dict[str, Outbox[HeadFrame]] = {}
        self._clock = clock
        self._trace = trace
        self._machine = machine or HeadMachine(network, load, clock, file_of)
        alone = network.alone()
        for program in alone:
            network.prepare(program)
        self._core = HeadCore(alone, session, settings)
        self._preparation = Preparation(network, self._follow)
        self._condition = threading.Condition()
        self._job: Job | None = None
        self._wake_s = math.inf
        self._stopping = False
        self._thread: threading.Thread | None = None
        self.rejections = rejections or Rejections()

    # --- called by the node, on any thread ------------------------------------------------------

    @property
    def session(self) -> int:
        """This head's number; answers to another one are ignored."""
        return self._core.session

    def ledger(self) -> LedgerSummary:
        """Counts of the frames so far."""
        with self._condition:
            return self._core.ledger.summary()

    @property
    def plan(self) -> FramePlan:
        """The plan for the next frame; its epoch is 0 while the car works alone."""
        with self._condition:
            return self._core.program(self._clock()).plan

    @property
    def manager_silent_s(self) -> float:
        """Seconds since the last plan or heartbeat; infinite before the first plan."""
        return self._clock() - self._core.heard_s

    @property
    def settings(self) -> HeadSettings:
        """Settings that apply without a plan; set it to change them for the next frame."""
        return self._core.settings

    @settings.setter
    def settings(self, settings: HeadSettings) -> None:
        self._tell(SettingsChanged(settings))

    @property
    def queue_depth(self) -> int:
        """Frames waiting, being computed or in flight."""
        with self._condition:
            return self._core.queue_depth

    @property
    def slowdown(self) -> float:
        """Measured over profiled seconds of what is computed here, smoothed."""
        return self._core.slowdown

    @property
    def load_s(self) -> float:
        """Seconds that ``load`` takes, smoothed; 0 until it was called."""
        return self._machine.load_s

    def set_plan(self, plan: FramePlan) -> None:
        """Use another plan from the next frame on; frames that were sent are not touched.

        If the engine has to compile parts for it, it is used from the first frame after that.

        Raises:
            GraphError: if it does not fit the network; the old plan stays.
        """
        if plan.epoch < 1:
            raise GraphError(f"a plan's epoch is {plan.epoch}, expected 1 or more")
        program = self._network.head_program(plan)
        self._check(plan)
        if self._announce is not None and program.boundary:
            # First, so that the edge compiles its part while the head's is, and so do the spares.
            for server in plan.servers:
                if server.name not in self._announcements:
                    self._announcements[server.name] = Outbox(self._announce, most=1)
                self._announcements[server.name].put(self._announcement(program, server.name))
        self._preparation.bring(program)

    def hear_manager(self) -> None:
        """Handle a heartbeat: the last plan stays in force, or is in force again."""
        self._tell(ManagerHeard())

    def accept(self, payload: Any) -> None:
        """Accept a frame. The one that it supersedes is dropped."""
        self._tell(FrameArrived(payload))

    def answer(self, answer: TailAnswer) -> bool:
        """Handle an answer of the edge; the first one ends the frame.

        Returns:
            Whether it ended a frame: False for late, refused and foreign ones.
        """
        waited_s = self._machine.cpu_wait.seconds()
        misfit = self._network.task.misfit(answer.answer)
        actions = self._tell(AnswerArrived(answer, misfit, waited_s))
        return any(isinstance(action, Publish) for action in actions)

    def start(self) -> None:
        """Start the inference thread."""
        self._thread = threading.Thread(target=self._loop, name="head", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread after its current job; open frames end as drops."""
        self._preparation.stop()
        for announcements in self._announcements.values():
            announcements.stop()
        self._tell(Stopped())
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        if self._thread:
            self._thread.join()
        if self._job is not None:  # there was no thread to do it
            number, self._job = self._job.number, None
            self._tell(ComputingFailed(number, SHUTDOWN, DropKind.SHUTDOWN))
        self._machine.cpu_wait.close()

    def _check(self, plan: FramePlan) -> None:
        if self._check_plan is not None:
            self._check_plan(plan)

    def _announcement(self, program: HeadProgram, server: str) -> HeadFrame:
        by_name, plan = self._network.dag.by_name, program.plan
        return HeadFrame(
            number=0,
            session=self.session,
            sent_s=self._clock(),
            model_id=self._network.card.model_id,
            exit_number=plan.exit_number,
            codec=plan.codec,
            specs=[
                TensorSpec(name, by_name[name].dtype, by_name[name].shape, (), (), 0, 0)
                for name in program.boundary
            ],
            data=b"",
            server=server,
        )

    def _follow(self, program: HeadProgram) -> None:
        self._tell(PlanArrived(program))

    # --- the core -------------------------------------------------------------------------------

    def _tell(self, event: Event) -> list[Action]:
        """Pass an event to the core and execute its actions, except for the inference jobs."""
        with self._condition:
            now_s = self._clock()
            actions = self._core.handle(now_s, event)
            if self._trace is not None:
                self._trace(now_s, event, actions)
            for action in actions:
                if isinstance(action, Job):
                    self._job = action
                elif isinstance(action, WakeAt):
                    self._wake_s = action.at_s
            self._condition.notify_all()
        for action in actions:
            self._do(action)
        return actions

    def _do(self, action: Action) -> None:
        if isinstance(action, Publish):
            self._machine.forget(action.result.number)
            self._publish(action.result)
        elif isinstance(action, Drop):
            self._machine.forget(action.number)
        elif isinstance(action, Send):
            self._send_frame(action)
        elif isinstance(action, Unused):
            if self._unused is not None:
                self._unused(action)
        elif isinstance(action, Refused):
            self.rejections.count(self._clock(), action.kind, action.reason)
        elif isinstance(action, PlanExpired):
            log.warning(
                "no heartbeat from the manager for %g s, so its plan has expired: the car works "
                "alone",
                action.after_s,
            )
        elif isinstance(action, PlanHoldsAgain):
            log.info("the manager is back: plan %d is in force", action.epoch)

    def _send_frame(self, action: Send) -> None:
        try:
            frame = self._machine.frame(action)
            if frame is not None:
                self._send(frame)
        except Exception as error:
            log.exception("frame %d could not be sent", action.number)
            self._tell(SendFailed(action.number, str(error)))

    # --- the inference thread -------------------------------------------------------------------

    def _loop(self) -> None:
        while (job := self._next_job()) is not None:
            event: Event
            try:
                event = self._machine.run(job)
            except FrameError as error:
                event = self._bad_image(job.number, shortened(str(error)))
            except Exception as error:
                # Whatever happens to one frame, the head continues; the frame is accounted for.
                log.exception("frame %d could not be computed", job.number)
                reason = f"{FAILED}: {type(error).__name__}"
                event = ComputingFailed(job.number, reason, DropKind.FAILED)
            try:
                self._tell(event)
            except Exception:
                log.exception("the outcome of frame %d could not be published", job.number)

    def _next_job(self) -> Job | None:
        """Wait for the next job; None at the end."""
        while True:
            with self._condition:
                if self._job is not None:
                    job, self._job = self._job, None
                    return job
                if self._stopping:
                    return None
                wait_s = self._wake_s - self._clock()
                if wait_s > 0:
                    self._condition.wait(None if math.isinf(wait_s) else wait_s)
                    continue
                self._wake_s = math.inf
            self._tell(TimePassed())

    def _bad_image(self, number: int, reason: str) -> ComputingFailed:
        if self.rejections.count(self._clock(), "image", reason):
            log.warning("frame %d: %s", number, reason)
        return ComputingFailed(number, f"bad image: {reason}", DropKind.BAD_IMAGE)


__all__ = ["SHUTDOWN", "SUPERSEDED", "FrameError", "HeadRuntime", "HeadSettings", "Trace"]
