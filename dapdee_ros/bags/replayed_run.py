"""One policy on a bag's frames: the simulator, with the real network's answers.

Car, edge, link, manager and monitor are the simulator's, so seconds come from profiles and the
link's trace. What the simulator draws at random or takes from calibration is real here: when frames
arrive, whether a gate ends one, how many bytes its tensors take, and its class.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.bags.answers import NetworkAnswers, SentAnswer
from dapdee_ros.bags.frames import FrameStore
from dapdee_ros.core.frames import FramePlan, Place
from dapdee_ros.core.programs import HeadProgram
from dapdee_ros.estimation.link import LinkEstimate
from dapdee_ros.planning.policy import Policy
from dapdee_ros.report.run_log import RunLog
from dapdee_ros.runtime.network_input import placement
from dapdee_ros.simulation.outcomes import DecidedPlan, Outcome, frame_record
from dapdee_ros.simulation.run import simulate
from dapdee_ros.simulation.scenario import Scenario
from dapdee_ros.tasks.records import Record
from dapdee_ros.tasks.task import Task

BAD_IMAGE = "bad image"


@dataclass(frozen=True)
class ReplayedFrame:
    """The result of a frame.

    Attributes:
        index: the frame's number in the bag, from 0.
        outcome: how and when it ended.
        plan: the plan under which it started.
        answer: its answer, about the image.
    """

    index: int
    outcome: Outcome
    plan: FramePlan
    answer: Any


@dataclass(frozen=True)
class ReplayedRun:
    """The outcome of one policy.

    Attributes:
        policy: its name.
        log: the log, in the common format.
        frames: results in order of arrival.
        plans: plans in order.
        links: estimates of the link, each with its time in s.
        agreement: quality of the results if what the full network says, uncut and uncoded, were
            the truth, 0 to 1 (of a classifier the share of the same classes); None without results,
            or if the full network finds nothing.
        complaints: the policy's failures, as text, with their counts.
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
        policy: the policy, constructed for the scenario's problem.
        arrivals_s: each frame's arrival, float64 ``(n,)``, increasing from 0.
        store: the frames.
        answers: the network's answers to them.
        progress: called with the simulated time now and then, in s.
    """
    frames, task = _BagFrames(arrivals_s, store, answers), answers.task
    run = simulate(scenario, name, progress=progress, made=policy, frames=frames)
    replayed = [_replayed(outcome, answers, store) for outcome in run.outcomes]
    log = run.log
    log.frames = [
        frame_record(
            frame.outcome,
            answer=task.record(frame.answer),
            score=task.confidence(frame.answer),
            truth=_recorded(task, store.frames[frame.index].truth),
        )
        for frame in replayed
    ]
    _count_unreadable(log, len(store.unreadable))
    log.settings.pop("expected_quality", None)
    scenario_name = str(log.settings["scenario"])
    log.settings["scenario"] = f"replay-{scenario_name.rpartition('-')[2]}"
    log.task = task.name
    last, as_uncut = len(scenario.problem.dag.exits), task.evaluator()
    for frame in replayed:
        whole = _about_image(answers.on_car(frame.index, last), frame.index, answers, store)
        as_uncut.add(frame.answer, whole)
    same = as_uncut.quality()
    agreement = same if math.isfinite(same) else None
    log.settings["agreement"] = agreement
    return ReplayedRun(name, log, replayed, run.plans, run.links, agreement, run.complaints)


class _BagFrames:
    """The frames of a bag: what the simulation expects of a frame, the network says of this one."""

    def __init__(
        self, arrivals_s: NDArray[np.float64], store: FrameStore, answers: NetworkAnswers
    ) -> None:
        self._arrivals_s = arrivals_s
        self._count = len(store.frames)
        self._answers = answers

    def arrivals_s(self, rate_hz: float) -> NDArray[np.float64]:
        return self._arrivals_s

    def context(self, number: int) -> int | None:
        return number if number <= self._count else None

    def gate_score(self, number: int, context: Any, program: HeadProgram) -> float:
        gate = program.plan.gate
        assert gate is not None  # or it would not be asked
        return self._answers.confidence(number - 1, gate)

    def sent_bytes(self, number: int, context: Any, program: HeadProgram) -> float:
        return _sent(self._answers, number, program.plan).sent_bytes


def _sent(answers: NetworkAnswers, number: int, plan: FramePlan) -> SentAnswer:
    return answers.over_link(number - 1, plan.exit_number, plan.boundary, plan.codec)


def _replayed(outcome: Outcome, answers: NetworkAnswers, store: FrameStore) -> ReplayedFrame:
    result = outcome.result
    index = result.number - 1
    if result.place is Place.EDGE:
        answer = _sent(answers, result.number, result.plan).answer
    else:
        answer = answers.on_car(index, result.exit_number)
    return ReplayedFrame(index, outcome, result.plan, _about_image(answer, index, answers, store))


def _about_image(answer: Any, index: int, answers: NetworkAnswers, store: FrameStore) -> Any:
    placed = placement(store.frames[index].size, answers.input_spec)
    return answers.task.in_source(answer, placed.to_source)


def _count_unreadable(log: RunLog, count: int) -> None:
    """A live head accepts such frames and drops them."""
    if not count:
        return
    ledger = log.ledger
    ledger["accepted"] += count
    ledger["drops"] += count
    ledger["drop_reasons"] = [*ledger["drop_reasons"], BAD_IMAGE]
    ledger["drop_counts"] = [*ledger["drop_counts"], count]


def _recorded(task: Task, truth: Any | None) -> Record | None:
    return None if truth is None else task.record(truth)
