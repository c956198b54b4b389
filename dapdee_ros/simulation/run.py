"""One run of one policy: frames in, a ``RunLog`` out, the same every time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dapdee_ros.core import link_watch
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
from dapdee_ros.core.link_watch import (
    AnswerUnused,
    EchoCame,
    FrameAnswered,
    FrameEndedHere,
    LinkWatch,
    LinkWatchSettings,
    PublishLink,
    SendProbe,
    TimePassed,
)
from dapdee_ros.core.manager import ManagerCore
from dapdee_ros.core.manager_events import (
    FramesCounted,
    LinkEstimated,
    LoadMeasured,
    ProblemChanged,
    ResultCame,
    TellPlan,
)
from dapdee_ros.core.programs import HeadProgram
from dapdee_ros.core.tail import TensorsArrived
from dapdee_ros.estimation.link import LinkEstimate
from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.policy import Policy, make_policy, traits_of
from dapdee_ros.report.run_log import FORESEES, DropRecord, LinkRecord, RunLog
from dapdee_ros.simulation.agenda import Agenda
from dapdee_ros.simulation.foresight import Foresight
from dapdee_ros.simulation.frames import ExpectedFrames, FrameSource
from dapdee_ros.simulation.head import CPU_WAIT_S, ProfiledMachine, SimulatedHead
from dapdee_ros.simulation.manager import LOAD_PERIOD_S, SimulatedManager
from dapdee_ros.simulation.outcomes import (
    DecidedPlan,
    Outcome,
    SimulatedRun,
    frame_record,
    scenario_settings,
)
from dapdee_ros.simulation.scenario import Scenario
from dapdee_ros.simulation.shaper import ShapedLink
from dapdee_ros.simulation.tail import SimulatedTail
from dapdee_ros.simulation.work import Workbook

_TRUTH_PERIOD_S = 0.5
_PROGRESS_PERIOD_S = 1.0
_LEAST_INTERVAL_S = 1e-4
_SESSION = 1

Progress = Callable[[float], None]


def simulate(
    scenario: Scenario,
    policy: str,
    *,
    progress: Progress | None = None,
    made: Policy | None = None,
    frames: FrameSource | None = None,
) -> SimulatedRun:
    """Run one policy over a scenario.

    Args:
        scenario: model, machines, link, frames.
        policy: its name, as ``make_policy`` takes it.
        progress: called with the simulated time now and then, in s.
        made: the policy itself, if it has already been constructed.
        frames: arrivals and properties of frames; None: as expected from calibration.

    Raises:
        PlanningError: if there is no such policy, or it does not fit the model.
        GraphError: if a plan does not fit it.

    >>> from dapdee_ros.exits.card import find_model, read_card
    >>> from dapdee_ros.planning.from_card import problem_of, sample_profiles
    >>> from dapdee_ros.simulation.link_text import parse_link
    >>> card = read_card(find_model("roadsigns"))
    >>> car, *_, edge = sample_profiles(card.model_id)
    >>> problem = problem_of(card, car, edge, ["f32", "u8"])
    >>> run = simulate(Scenario(problem, parse_link("4g"), seconds=5.0), "exact")
    >>> run.log.ledger["accepted"], run.log.ledger["results"], run.log.ledger["drops"]
    (50, 50, 0)
    """
    made = made or make_policy(policy, scenario.problem)
    return _Simulation(scenario, policy, made, frames).run(progress)


class _Simulation:
    """One run in the making."""

    def __init__(
        self, scenario: Scenario, name: str, policy: Policy, frames: FrameSource | None
    ) -> None:
        self._scenario = scenario
        self._name = name
        self._policy = policy
        self._agenda = agenda = Agenda()
        self._book = Workbook(scenario.problem, scenario.curves)
        self._frames = frames or ExpectedFrames(scenario, self._book)
        self._up, self._down = (
            ShapedLink(
                scenario.link, scenario.rtt_s / 2, scenario.queue_bytes, scenario.burst_bytes
            )
            for _ in range(2)
        )
        self._foresees = traits_of(policy).needs_future
        # Who knows the link need not measure it: no probes, which would stand in frames' way.
        self._measures = not (scenario.known_link or self._foresees)
        if self._foresees:
            self._foresight = Foresight(agenda, scenario, policy, self._up)
        self._head = SimulatedHead(
            agenda,
            HeadCore(
                self._book.alone,
                _SESSION,
                scenario.head,
                choose=self._choose if self._foresees else None,
            ),
            ProfiledMachine(
                self._book,
                scenario.car_load,
                scenario.problem.car.overhead,
                self._frames,
            ),
            send=self._send,
            publish=self._take_result,
            unused=self._take_unused,
            taken=self._taken,
            dropped=self._take_drop,
        )
        self._edge = SimulatedTail(
            agenda, scenario.edge_load, scenario.problem.edge.overhead, self._send_answer
        )
        self._watch = LinkWatch()
        self._manager = SimulatedManager(
            agenda,
            ManagerCore(replace(scenario.planning, policy=name), scenario.problem),
            tell=self._take_plan,
            foretell=self._take_forecast,
            say_alive=lambda: self._head.tell(ManagerHeard()),
        )
        self._came = 0
        self._car_busy_s = 0.0
        self._outcomes: list[Outcome] = []
        self._plans: list[DecidedPlan] = []
        self._links: list[tuple[float, LinkEstimate]] = []
        self._chosen: dict[Any, int] = {}
        problem = scenario.problem
        self._log = RunLog(
            labels=list(scenario.labels),
            task=scenario.task,
            exit_count=len(problem.dag.exits),
            quality_name=problem.quality_name,
        )
        self._log.settings = scenario_settings(scenario, name)
        if self._foresees:
            self._log.settings[FORESEES] = True

    def run(self, progress: Progress | None) -> SimulatedRun:
        """Run it to the end, which can be done once."""
        scenario, agenda = self._scenario, self._agenda
        if scenario.known_link:
            rate_bps = scenario.link.rate_bps(0.0)
            self._take_link(LinkEstimate(rate_bps, scenario.rtt_s, 0.0, rate_bps > 0, 0.0, 0.0, 1))
        if not self._foresees:
            self._manager.handle(ProblemChanged(scenario.problem, self._policy))
        if self._measures:
            period_s = LinkWatchSettings.check_period_s
            self._every(period_s, period_s, lambda: self._watch_link(TimePassed()))
        self._every(LOAD_PERIOD_S, LOAD_PERIOD_S, self._look_at_load)
        self._every(0.0, _TRUTH_PERIOD_S, self._note_truth)
        if scenario.rate_hz is None:
            agenda.at(0.0, self._taken)
        else:
            for when_s in self._frames.arrivals_s(scenario.rate_hz):
                agenda.at(float(when_s), self._accept)
        end_s = scenario.seconds
        while agenda.now_s < end_s:
            agenda.run(min(agenda.now_s + _PROGRESS_PERIOD_S, end_s))
            if progress is not None:
                progress(agenda.now_s)
        last_s = end_s + scenario.answer_s
        while agenda.now_s < last_s and not self._head.is_idle:
            agenda.run(min(agenda.now_s + 0.1, last_s))
        self._head.tell(Stopped())
        return self._conclude()

    # --- frames ---------------------------------------------------------------------------------

    def _taken(self) -> None:
        if self._scenario.rate_hz is None:
            self._agenda.at(self._agenda.now_s + _LEAST_INTERVAL_S, self._accept)

    def _accept(self) -> None:
        if self._agenda.now_s >= self._scenario.seconds:
            return
        context = self._frames.context(self._came + 1)
        if context is not None:
            self._came += 1
            self._head.tell(FrameArrived(context))

    def _choose(self, now_s: float, number: int, accepted_s: float) -> HeadProgram:
        plan = self._foresight.plan(accepted_s, self._manager.core.situation(now_s))
        epoch = self._chosen.setdefault(plan.key, len(self._chosen) + 1)
        if not self._plans or self._plans[-1].epoch != epoch:
            self._record(plan, epoch, plan.reason)
        return self._book.program(plan, epoch)

    # --- the link -------------------------------------------------------------------------------

    def _send(self, send: Send) -> None:
        wire = self._scenario.wire
        message_bytes = wire.on_link(send.sent_bytes + wire.frame_bytes)
        frame = TensorsArrived(
            send.number,
            send.session,
            send.program.plan.exit_number,
            send.sent_s,
            send.sent_bytes,
            payload=self._book.work(send.program),
            answer_within_s=send.answer_within_s,
        )
        self._over(self._up, message_bytes, self._edge.submit, frame)

    def _send_answer(self, answer: TailAnswer) -> None:
        wire = self._scenario.wire
        size = wire.on_link(wire.answer_bytes)
        self._over(self._down, size, self._head.tell, AnswerArrived(answer, cpu_wait_s=CPU_WAIT_S))

    def _watch_link(self, event: link_watch.Event) -> None:
        if not self._measures:
            return
        for action in self._watch.handle(self._agenda.now_s, event):
            if isinstance(action, SendProbe):
                self._send_probe(action)
            elif isinstance(action, PublishLink):
                self._take_link(action.estimate)

    def _send_probe(self, probe: SendProbe) -> None:
        wire = self._scenario.wire

        def echo() -> None:
            # Without its padding, as the edge echoes it.
            self._over(self._down, wire.on_link(wire.probe_bytes), come)

        def come() -> None:
            self._watch_link(EchoCame(probe.sequence, self._agenda.now_s, CPU_WAIT_S))

        self._over(self._up, wire.on_link(wire.probe_bytes + probe.padding_bytes), echo)

    def _over(
        self, link: ShapedLink, size: float, then: Callable[..., None], *arguments: Any
    ) -> None:
        arrives_s = link.send(self._agenda.now_s, round(size))
        if arrives_s is not None:
            self._agenda.at(arrives_s, then, *arguments)

    # --- what is told ---------------------------------------------------------------------------

    def _take_result(self, result: FrameResult) -> None:
        fallback = result.place is Place.CAR_FALLBACK
        quality = self._book.quality(result.plan, result.exit_number, fallback)
        self._outcomes.append(Outcome(self._agenda.now_s, result, quality))
        self._manager.handle(
            ResultCame(
                result.plan.epoch,
                result.place,
                result.exit_number,
                result.latency_s,
                result.head_s,
                result.transfer_s,
                result.car_slowdown,
                result.edge_slowdown,
                result.tail_s,
                result.sent_bytes,
            )
        )
        frame, sent_s, sent_bytes = (_SESSION, result.number), result.sent_s, result.sent_bytes
        if result.place is Place.EDGE:
            times_s = (result.transfer_s, result.residence_s, result.cpu_wait_s)
            self._watch_link(FrameAnswered(frame, sent_s, sent_bytes, *times_s))
        else:
            self._watch_link(FrameEndedHere(frame, sent_s, sent_bytes))

    def _take_drop(self, number: int, reason: str) -> None:
        self._log.drops.append(DropRecord(self._agenda.now_s, reason, 1, number))

    def _take_unused(self, unused: Unused) -> None:
        answer, now_s = unused.answer, self._agenda.now_s
        self._watch_link(
            AnswerUnused(
                (_SESSION, answer.number),
                unused.sent_s,
                round(unused.sent_bytes),
                answer.residence_s,
                now_s,
                unused.cpu_wait_s,
            )
        )

    def _take_link(self, link: LinkEstimate) -> None:
        self._links.append((self._agenda.now_s, link))
        self._log.links.append(
            LinkRecord(
                self._agenda.now_s,
                link.uplink_bps if math.isfinite(link.uplink_bps) else None,
                link.rtt_s if math.isfinite(link.rtt_s) else None,
                link.connected,
            )
        )
        if not self._foresees:
            self._manager.handle(
                LinkEstimated(link.uplink_bps, link.rtt_s, link.relative_spread, link.connected)
            )

    def _take_plan(self, told: TellPlan) -> None:
        self._record(told.plan, told.epoch, told.why)
        self._head.tell(PlanArrived(self._book.program(told.plan, told.epoch)))

    def _take_forecast(self, told: TellPlan) -> None:
        foreseen = DecidedPlan(self._agenda.now_s, told.epoch, told.why, told.plan)
        self._log.forecasts.append(foreseen.record(self._name, self._scenario))

    def _record(self, plan: Plan, epoch: int, why: str) -> None:
        decided = DecidedPlan(self._agenda.now_s, epoch, why, plan)
        self._plans.append(decided)
        self._log.plans.append(decided.record(self._name, self._scenario))

    def _look_at_load(self) -> None:
        busy_s, self._car_busy_s = self._head.busy_s - self._car_busy_s, self._head.busy_s
        self._manager.handle(LoadMeasured(min(1.0, busy_s / LOAD_PERIOD_S), math.nan, math.nan))
        self._manager.handle(FramesCounted(0, self._came))

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
        log.frames = [frame_record(outcome) for outcome in outcomes]
        summary = self._head.core.ledger.summary()
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
        quality = math.nan
        if outcomes:
            quality = math.fsum(o.quality for o in outcomes) / len(outcomes)
        if not self._scenario.quality_known:
            quality = math.nan
        if math.isfinite(quality):
            log.settings["expected_quality"] = round(quality, 6)
        return SimulatedRun(
            log, outcomes, quality, dict(self._manager.complaints), self._plans, self._links
        )
