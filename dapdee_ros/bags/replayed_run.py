"""One policy on a bag's frames: the simulator's clockwork, with the real network's answers.

Car, edge, link, manager and monitor are the simulator's, so seconds come from profiles and the
link's trace. What the simulator draws at random or takes from calibration is real here: when
frames come, whether a gate ends one, how many bytes its tensors take, and what it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.bags.answers import NetworkAnswers
from dapdee_ros.bags.frames import FrameStore
from dapdee_ros.core.frames import Classification, FramePlan, Place
from dapdee_ros.estimation.link import LinkEstimate
from dapdee_ros.partition.plan import Plan
from dapdee_ros.partition.policy import Policy
from dapdee_ros.report.run_log import FrameRecord, RunLog
from dapdee_ros.simulation.car import Frame, Outcome
from dapdee_ros.simulation.run import Simulation
from dapdee_ros.simulation.scenario import Scenario
from dapdee_ros.simulation.work import PlanWork

BAD_IMAGE = "bad image"
_CERTAIN = 0.5  # how hard every frame is; a gate's share is then set to 0 or 1


@dataclass(frozen=True)
class ReplayedFrame:
    """The result of a frame.

    Attributes:
        index: which frame of the bag, from 0.
        outcome: how and when it ended.
        plan: the plan under which it started.
        answer: what it is.
    """

    index: int
    outcome: Outcome
    plan: FramePlan
    answer: Classification


@dataclass(frozen=True)
class DecidedPlan:
    """A plan: when (s since the first frame), its number, why, and the plan itself."""

    at_s: float
    epoch: int
    why: str
    plan: Plan


@dataclass(frozen=True)
class ReplayedRun:
    """What came out of one policy.

    Attributes:
        policy: its name.
        log: the log, as every way of running writes it.
        frames: results in the order in which they came.
        plans: plans in order.
        links: estimates of the link, each with its time in s.
        agreement: share of the results that name the class which the full network, uncut and
            uncoded, names; None without results.
        complaints: what the policy was unable to plan, in words, and how often.
    """

    policy: str
    log: RunLog
    frames: list[ReplayedFrame]
    plans: list[DecidedPlan]
    links: list[tuple[float, LinkEstimate]]
    agreement: float | None
    complaints: dict[str, int]


def replay(
    scenario: Scenario,
    name: str,
    policy: Policy,
    arrivals_s: NDArray[np.float64],
    store: FrameStore,
    answers: NetworkAnswers,
    progress: Callable[[float], None] | None = None,
) -> ReplayedRun:
    """Run one policy over the frames of a bag.

    Args:
        scenario: model, machines, link; ``rate_hz`` None has the next frame come as soon as one is
            taken, instead of at its time.
        name: the policy's name, as ``make_policy`` takes it.
        policy: the policy, made for the scenario's problem.
        arrivals_s: when each frame comes, float64 ``(n,)``, rising from 0.
        store: the frames.
        answers: the network's answers to them.
        progress: told the simulated time now and then, in s.
    """
    return _Replay(scenario, name, policy, arrivals_s, store, answers).replay(progress)


class _Replay(Simulation):
    def __init__(
        self,
        scenario: Scenario,
        name: str,
        policy: Policy,
        arrivals_s: NDArray[np.float64],
        store: FrameStore,
        answers: NetworkAnswers,
    ) -> None:
        super().__init__(scenario, name, policy)
        self._arrivals_s = arrivals_s
        self._store = store
        self._answers = answers
        self._planned = self._car.choose or self._in_force
        self._car.choose = self._realised
        self._decided: list[DecidedPlan] = []
        self._estimates: list[tuple[float, LinkEstimate]] = []

    def replay(self, progress: Callable[[float], None] | None) -> ReplayedRun:
        run = self.run(progress)
        frames = [self._result(outcome) for outcome in run.outcomes]
        log = run.log
        log.frames = [
            _record(frame, self._scenario, self._store.frames[frame.index].truth)
            for frame in frames
        ]
        self._count_unreadable(log)
        log.settings.pop("expected_accuracy", None)
        name = str(log.settings["scenario"])
        log.settings["scenario"] = f"replay-{name.rpartition('-')[2]}"
        last = len(self._scenario.problem.dag.exits)
        same = [
            frame.answer.class_id == self._answers.on_car(frame.index, last).class_id
            for frame in frames
        ]
        agreement = sum(same) / len(same) if same else None
        log.settings["agreement"] = agreement
        return ReplayedRun(
            self._name, log, frames, self._decided, self._estimates, agreement, run.complaints
        )

    # --- what the simulation asks ---------------------------------------------------------------

    def _arrivals(self, rate_hz: float) -> NDArray[np.float64]:
        return self._arrivals_s

    def _accept(self) -> None:
        if self._came < len(self._store.frames):
            super()._accept()

    def _difficulty(self) -> float:
        return _CERTAIN

    def _in_force(self, frame: Frame) -> PlanWork:
        """What the car would do by itself: follow the plan, or without one work alone."""
        self._car.choose = None
        try:
            return self._car._work(frame)
        finally:
            self._car.choose = self._realised

    def _realised(self, frame: Frame) -> PlanWork:
        """What a frame's plan means for this very frame."""
        work = self._planned(frame)
        plan, index = work.program.plan, frame.number - 1
        if plan.gate is not None:
            confident = self._answers.on_car(index, plan.gate).score >= plan.gate_threshold
            work = replace(work, gate_share=float(confident))
            if confident:
                return work
        if not plan.boundary:
            return work
        sent = self._answers.over_link(index, plan.exit_number, plan.boundary, plan.codec)
        return replace(work, coded_bytes=sent.sent_bytes)

    def _take_link(self, link: LinkEstimate) -> None:
        self._estimates.append((self._agenda.now_s, link))
        super()._take_link(link)

    def _record(self, plan: Plan, epoch: int, why: str) -> None:
        super()._record(plan, epoch, why)
        self._decided.append(DecidedPlan(self._agenda.now_s, epoch, why, plan))

    # --- what comes out -------------------------------------------------------------------------

    def _result(self, outcome: Outcome) -> ReplayedFrame:
        frame = outcome.frame
        assert frame.work is not None  # it has ended, so it was begun
        plan, index = frame.work.program.plan, frame.number - 1
        if outcome.place is Place.EDGE:
            sent = self._answers.over_link(index, plan.exit_number, plan.boundary, plan.codec)
            answer = sent.classification
        else:
            answer = self._answers.on_car(index, outcome.exit_number)
        return ReplayedFrame(index, outcome, plan, answer)

    def _count_unreadable(self, log: RunLog) -> None:
        """A live head takes such frames on and drops them."""
        count = len(self._store.unreadable)
        if not count:
            return
        ledger = log.ledger
        ledger["accepted"] += count
        ledger["drops"] += count
        ledger["drop_reasons"] = [*ledger["drop_reasons"], BAD_IMAGE]
        ledger["drop_counts"] = [*ledger["drop_counts"], count]


_PLACES = {Place.CAR: "car", Place.EDGE: "edge", Place.CAR_FALLBACK: "fallback"}


def _record(replayed: ReplayedFrame, scenario: Scenario, truth: int | None) -> FrameRecord:
    outcome, plan = replayed.outcome, replayed.plan
    frame = outcome.frame
    return FrameRecord(
        at_s=outcome.at_s,
        number=frame.number,
        class_id=replayed.answer.class_id,
        truth=truth,
        score=replayed.answer.score,
        exit_number=outcome.exit_number,
        place=_PLACES[outcome.place],
        plan_epoch=plan.epoch,
        head_s=frame.head_s,
        transfer_s=outcome.transfer_s,
        tail_s=outcome.tail_s,
        latency_s=outcome.latency_s,
        sent_bytes=round(frame.sent_bytes),
        codec=plan.codec if frame.sent_bytes else "",
        deadline_s=scenario.planning.deadline_s,
    )
