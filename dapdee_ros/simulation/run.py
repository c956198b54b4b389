"""One run of one policy: frames in, a ``RunLog`` out, the same every time."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.core.frames import Place
from dapdee_ros.estimation.link import LinkEstimate
from dapdee_ros.partition.answer import NO_LINK
from dapdee_ros.partition.cost import LoadState
from dapdee_ros.partition.plan import Plan
from dapdee_ros.partition.policy import Policy, make_policy
from dapdee_ros.report.run_log import DropRecord, FrameRecord, LinkRecord, PlanRecord, RunLog
from dapdee_ros.simulation.agenda import Agenda
from dapdee_ros.simulation.car import Answer, Frame, Outcome, SimulatedCar
from dapdee_ros.simulation.edge import SimulatedEdge
from dapdee_ros.simulation.foresight import Foresight
from dapdee_ros.simulation.manager import LOAD_PERIOD_S, SimulatedManager
from dapdee_ros.simulation.monitor import CHECK_PERIOD_S, SimulatedMonitor
from dapdee_ros.simulation.scenario import Scenario
from dapdee_ros.simulation.shaper import ShapedLink
from dapdee_ros.simulation.work import PlanWork, Workbook

_TRUTH_PERIOD_S = 0.5
_PROGRESS_PERIOD_S = 1.0
_LEAST_INTERVAL_S = 1e-4
_STRATA = 100
_PLACES = {Place.CAR: "car", Place.EDGE: "edge", Place.CAR_FALLBACK: "fallback"}

Progress = Callable[[float], None]


@dataclass(frozen=True)
class SimulatedRun:
    """What came out of a run.

    Attributes:
        log: the log, as every way of running writes it.
        outcomes: the results in the order in which they came.
        accuracy: mean expected accuracy over the results, NaN without any or where an exit's is
            not known.
        complaints: what the policy was unable to plan, in words, and how often.
    """

    log: RunLog
    outcomes: list[Outcome]
    accuracy: float
    complaints: dict[str, int]


def simulate(
    scenario: Scenario,
    policy: str,
    *,
    progress: Progress | None = None,
    made: Policy | None = None,
) -> SimulatedRun:
    """Run one policy over a scenario.

    Args:
        scenario: model, machines, link, frames.
        policy: its name, as ``make_policy`` takes it.
        progress: told the simulated time now and then, in s.
        made: the policy itself, if it was made before.

    Raises:
        PlanningError: if there is no such policy, or it does not fit the model.
        GraphError: if a plan does not fit it.
    """
    return Simulation(scenario, policy, made or make_policy(policy, scenario.problem)).run(progress)


class Simulation:
    """One run in the making; subclasses may say when frames come and what a plan means for one."""

    def __init__(self, scenario: Scenario, name: str, policy: Policy) -> None:
        self._scenario = scenario
        self._name = name
        self._agenda = agenda = Agenda()
        self._book = Workbook(scenario.problem, scenario.curves)
        self._up, self._down = (
            ShapedLink(
                scenario.link, scenario.rtt_s / 2, scenario.queue_bytes, scenario.burst_bytes
            )
            for _ in range(2)
        )
        self._car = SimulatedCar(
            agenda, self._book, scenario.head, scenario.car_load, scenario.car_overhead_s,
            scenario.sending_s,
            send=self._send, publish=self._take_outcome, unused=self._take_unused,
            taken=self._taken, dropped=self._take_drop,
        )  # fmt: skip
        self._edge = SimulatedEdge(
            agenda, scenario.edge_load, scenario.edge_overhead_s, self._send_answer
        )
        self._monitor = SimulatedMonitor(agenda, self._send_probe, self._take_link)
        self._manager = SimulatedManager(
            agenda, scenario.problem, policy, scenario.planning,
            name.startswith("exact"), self._take_plan,
        )  # fmt: skip
        self._foresees = name.partition("+")[0] == "oracle"
        # Who knows the link need not measure it: no probes, which would stand in frames' way.
        self._measures = not (scenario.known_link or self._foresees)
        if self._foresees:
            self._foresight = Foresight(agenda, scenario, policy, self._up)
            self._car.choose = self._choose
        self._random = np.random.default_rng(scenario.seed)
        self._difficulty_random = np.random.default_rng([scenario.seed, 1])
        self._difficulties: NDArray[np.float64] = np.empty(0)
        self._came = 0
        self._car_busy_s = 0.0
        self._outcomes: list[Outcome] = []
        self._chosen: dict[Any, int] = {}
        self._log = RunLog(labels=list(scenario.labels), exit_count=len(scenario.problem.dag.exits))
        self._log.settings = _settings(scenario, name)

    def run(self, progress: Progress | None) -> SimulatedRun:
        """Run it to the end, which can be done once."""
        scenario, agenda = self._scenario, self._agenda
        if scenario.known_link:
            rate_bps = scenario.link.rate_bps(0.0)
            self._take_link(LinkEstimate(rate_bps, scenario.rtt_s, 0.0, rate_bps > 0, 0.0, 0.0, 1))
        elif self._measures:
            self._manager.decide("profiles of car and edge are there")
            self._every(CHECK_PERIOD_S, CHECK_PERIOD_S, self._monitor.check)
        self._every(LOAD_PERIOD_S, LOAD_PERIOD_S, self._look_at_load)
        self._every(0.0, _TRUTH_PERIOD_S, self._note_truth)
        if scenario.rate_hz is None:
            agenda.at(0.0, self._taken)
        else:
            for when_s in self._arrivals(scenario.rate_hz):
                agenda.at(float(when_s), self._accept)
        end_s = scenario.seconds
        while agenda.now_s < end_s:
            agenda.run(min(agenda.now_s + _PROGRESS_PERIOD_S, end_s))
            if progress is not None:
                progress(agenda.now_s)
        last_s = end_s + scenario.answer_s
        while agenda.now_s < last_s and not self._car.is_idle:
            agenda.run(min(agenda.now_s + 0.1, last_s))
        self._car.stop()
        return self._conclude()

    # --- frames ---------------------------------------------------------------------------------

    def _arrivals(self, rate_hz: float) -> NDArray[np.float64]:
        scenario = self._scenario
        count = math.ceil(scenario.seconds * rate_hz)
        shift = self._random.uniform(-scenario.jitter, scenario.jitter, count)
        times_s = (np.arange(count) + shift) / rate_hz
        return np.sort(times_s[(times_s < scenario.seconds)].clip(0.0))

    def _taken(self) -> None:
        if self._scenario.rate_hz is None:
            self._agenda.at(self._agenda.now_s + _LEAST_INTERVAL_S, self._accept)

    def _accept(self) -> None:
        if self._agenda.now_s >= self._scenario.seconds:
            return
        self._came += 1
        self._car.accept(self._difficulty())

    def _difficulty(self) -> float:
        """How hard the frame is, 0 to 1; by its number, so that it is so for every policy.

        One of each percent in every hundred frames, in random order: shares of few frames come out
        as they are in the long run.
        """
        place = (self._came - 1) % _STRATA
        if place == 0:
            within = self._difficulty_random.random(_STRATA)
            self._difficulties = (self._difficulty_random.permutation(_STRATA) + within) / _STRATA
        return float(self._difficulties[place])

    def _choose(self, frame: Frame) -> PlanWork:
        manager = self._manager
        situation = manager.situation(NO_LINK, LoadState(), manager.mode())
        plan = self._foresight.plan(frame, situation)
        epoch = self._chosen.setdefault(plan.key, len(self._chosen) + 1)
        if not self._log.plans or self._log.plans[-1].epoch != epoch:
            self._record(plan, epoch, plan.reason)
        return self._book.of(plan, epoch)

    # --- the link -------------------------------------------------------------------------------

    def _send(self, frame: Frame) -> None:
        wire = self._scenario.wire
        message_bytes = wire.on_link(frame.sent_bytes + wire.frame_bytes)
        self._over(self._up, message_bytes, self._edge.submit, frame)

    def _send_answer(self, answer: Answer) -> None:
        wire = self._scenario.wire
        self._over(self._down, wire.on_link(wire.answer_bytes), self._car.answer, answer)

    def _send_probe(self, sequence: int, sent_s: float, padding_bytes: int) -> None:
        wire = self._scenario.wire

        def echo() -> None:
            # Without its padding, as the edge echoes it.
            size = wire.on_link(wire.probe_bytes)
            self._over(self._down, size, self._monitor.take_echo, sequence, sent_s, padding_bytes)

        self._over(self._up, wire.on_link(wire.probe_bytes + padding_bytes), echo)

    def _over(
        self, link: ShapedLink, size: float, then: Callable[..., None], *arguments: Any
    ) -> None:
        arrives_s = link.send(self._agenda.now_s, round(size))
        if arrives_s is not None:
            self._agenda.at(arrives_s, then, *arguments)

    # --- what is told ---------------------------------------------------------------------------

    def _take_outcome(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        self._manager.take_result(outcome)
        if self._measures:
            self._monitor.take_result(outcome)

    def _take_drop(self, number: int, reason: str) -> None:
        self._log.drops.append(DropRecord(self._agenda.now_s, reason, 1, number))

    def _take_unused(self, answer: Answer) -> None:
        if self._measures:
            self._monitor.take_unused(answer)

    def _take_link(self, link: LinkEstimate) -> None:
        self._log.links.append(
            LinkRecord(
                self._agenda.now_s,
                link.uplink_bps if math.isfinite(link.uplink_bps) else None,
                link.rtt_s if math.isfinite(link.rtt_s) else None,
                link.connected,
            )
        )
        if not self._foresees:
            self._manager.take_link(link)

    def _take_plan(self, plan: Plan, epoch: int, why: str) -> None:
        self._record(plan, epoch, why)
        self._car.set_plan(self._book.of(plan, epoch))

    def _record(self, plan: Plan, epoch: int, why: str) -> None:
        self._log.plans.append(
            PlanRecord(
                self._agenda.now_s, epoch, plan.exit_number, list(plan.boundary), plan.codec,
                plan.late, plan.expected_latency_s, why, self._name, plan.mode,
                self._scenario.planning.deadline_s,
                plan.accuracy if self._scenario.accuracy_known else None,
            )
        )  # fmt: skip

    def _look_at_load(self) -> None:
        busy_s, self._car_busy_s = self._car.busy_s - self._car_busy_s, self._car.busy_s
        self._manager.take_load(min(1.0, busy_s / LOAD_PERIOD_S), self._came)

    def _note_truth(self) -> None:
        rate_bps = self._scenario.link.rate_bps(self._agenda.now_s)
        self._log.link_truth.append(
            LinkRecord(self._agenda.now_s, rate_bps, self._scenario.rtt_s, rate_bps > 0)
        )

    def _every(self, first_s: float, period_s: float, call: Callable[[], None]) -> None:
        def again() -> None:
            call()
            if self._agenda.now_s < self._scenario.seconds:
                self._agenda.at(self._agenda.now_s + period_s, again)

        self._agenda.at(first_s, again)

    # --- the end --------------------------------------------------------------------------------

    def _conclude(self) -> SimulatedRun:
        log, outcomes = self._log, self._outcomes
        log.first_result_s = outcomes[0].at_s if outcomes else None
        log.frames = [_frame_record(outcome) for outcome in outcomes]
        summary = self._car.ledger.summary()
        log.ledger = {
            "accepted": summary.accepted,
            "results": summary.results,
            "drops": summary.drops,
            "in_flight": summary.in_flight,
            "results_car": summary.places.get(Place.CAR, 0),
            "results_edge": summary.places.get(Place.EDGE, 0),
            "results_fallback": summary.places.get(Place.CAR_FALLBACK, 0),
            "deadline_misses": summary.deadline_misses,
            "late_answers": summary.late_answers,
            "rejected": summary.rejected,
            "drop_reasons": list(summary.reasons),
            "drop_counts": list(summary.reasons.values()),
        }
        accuracy = math.nan
        if outcomes:
            accuracy = math.fsum(o.accuracy for o in outcomes) / len(outcomes)
        if not self._scenario.accuracy_known:
            accuracy = math.nan
        if math.isfinite(accuracy):
            log.settings["expected_accuracy"] = round(accuracy, 6)
        return SimulatedRun(log, outcomes, accuracy, self._manager.complaints)


def _frame_record(outcome: Outcome) -> FrameRecord:
    frame = outcome.frame
    return FrameRecord(
        at_s=outcome.at_s,
        number=frame.number,
        # Nothing is classified here: what is right or wrong is known in the mean only.
        class_id=-1,
        truth=None,
        score=0.0,
        exit_number=outcome.exit_number,
        place=_PLACES[outcome.place],
        plan_epoch=frame.work.program.plan.epoch if frame.work is not None else 0,
        head_s=frame.head_s,
        transfer_s=outcome.transfer_s,
        tail_s=outcome.tail_s,
        latency_s=outcome.latency_s,
        sent_bytes=round(frame.sent_bytes),
    )


def _settings(scenario: Scenario, policy: str) -> dict[str, Any]:
    problem = scenario.problem
    settings: dict[str, Any] = {
        "source": "simulator",
        "model_id": problem.car.model_id,
        "link": scenario.link.name,
        "rtt_s": scenario.rtt_s,
        "car": problem.car.device,
        "edge": problem.edge.device,
        "load": "heavy" if scenario.rate_hz is None else "light",
        "rate_hz": scenario.rate_hz,
        "seconds": scenario.seconds,
        "seed": scenario.seed,
        "jitter": scenario.jitter,
        "deadline_s": scenario.planning.deadline_s,
        "max_in_flight": scenario.planning.max_in_flight,
        "mode": scenario.planning.mode,
        "codecs": [codec.name for codec in problem.codecs],
        "car_slowdown": [*zip(scenario.car_load.edges_s, scenario.car_load.slowdowns, strict=True)],
        "edge_slowdown": [
            *zip(scenario.edge_load.edges_s, scenario.edge_load.slowdowns, strict=True)
        ],
        **scenario.notes,
    }
    words = json.dumps(settings, sort_keys=True, default=str)
    settings["scenario"] = f"simulated-{zlib.crc32(words.encode()):08x}"
    settings["policy"] = policy
    return settings
