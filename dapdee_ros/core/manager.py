"""The manager's rules: from link, loads, results and profiles to the plan that the head follows.

No thread, no clock, no ROS: the live node, the simulator and the replay of a bag are its drivers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from dapdee_ros.core.camera_stream import CameraStream
from dapdee_ros.core.edge_servers import EdgeServer, EdgeServers, are_outdated, spares_of
from dapdee_ros.core.fleet_car import HeardPrices, demand_of
from dapdee_ros.core.forecast import Forecast
from dapdee_ros.core.frames import Place
from dapdee_ros.core.manager_events import (
    Action,
    AnswerFound,
    Ask,
    CameraChanged,
    Complain,
    DrainSet,
    Event,
    Foretell,
    FramesCounted,
    LinkEstimated,
    LoadMeasured,
    PricesCame,
    ProblemChanged,
    ProblemRefused,
    Question,
    RefusePrices,
    ResultCame,
    SayAlive,
    SettingsChanged,
    TellDemand,
    TellPlan,
    TimePassed,
    WakeAt,
)
from dapdee_ros.core.planning_settings import PlanningSettings
from dapdee_ros.estimation.frame_rate import FrameRate
from dapdee_ros.estimation.load import LoadEstimate, LoadEstimator
from dapdee_ros.estimation.prediction import GateShare, PredictionDrift
from dapdee_ros.estimation.presence import Presence
from dapdee_ros.estimation.rejections import shortened
from dapdee_ros.graph.cuts import head_of
from dapdee_ros.planning.answer import Answer, repriced
from dapdee_ros.planning.conditions import Measured
from dapdee_ros.planning.keeper import PlanKeeper
from dapdee_ros.planning.pinned import parse_pinned
from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.policy import Situation, check_switch
from dapdee_ros.planning.sites import EDGE

SAY_ALIVE_S = 1.0
"""Between two signs of life to the head, which goes by ``plan_timeout_s``."""

_FRAMES_PER_DEADLINE = 3
"""Until their rate is known, frames are taken to come so many within a deadline."""


class ManagerCore:
    """Follows link, loads and frames; tells a plan whenever the keeper lets one take its place.

    Attributes:
        told: the plan in force, as it was told; None before the first.
        told_s: when.
        complaint: why there is no plan as it was wanted; empty if there is, or it was not asked.
        drift: the plan's prediction beside what was measured.
        gate_share: the share of frames that its gate ends.
        head: signs of life of the head.
        servers: the edge servers that the car may use.
        prices: what a fleet node said last.
    """

    def __init__(
        self,
        settings: PlanningSettings,
        measured: Measured,
        begun_s: float = 0.0,
        servers: Sequence[str] = (EDGE,),
    ) -> None:
        """Begin; nothing is decided before ``ProblemChanged``.

        Args:
            settings: as they are at the start.
            measured: what is known of the model before any profile: to check a pinned plan.
            begun_s: now.
            servers: names of the edge servers, the favourite first.

        Raises:
            PlanningError, GraphError: for a pinned plan that cannot be.
        """
        self._settings = settings
        self._measured = measured
        self._policy_at_start = settings.policy
        self.check(settings)
        self.servers = EdgeServers(servers, begun_s)
        self._forecast = Forecast()
        self._camera = CameraStream()
        self._load = LoadEstimator()
        self._frames = FrameRate()
        self._keeper = PlanKeeper(settings.keeper)
        self._again_s = self._alive_s = self._waking_s = math.inf
        self._actions: list[Action] = []
        self.told: TellPlan | None = None
        self.told_s = math.nan
        self.complaint = ""
        self.drift, self.gate_share = PredictionDrift(), GateShare()
        self.head = Presence("head", "ros2 run dapdee_ros head", begun_s)
        self.prices = HeardPrices(servers)
        self._handlers: dict[type[Event], Callable[[float, Any], None]] = {
            LinkEstimated: self._on_link,
            LoadMeasured: self._on_load,
            ResultCame: self._on_result,
            FramesCounted: self._on_count,
            ProblemChanged: self._on_problem,
            ProblemRefused: self._on_refused,
            DrainSet: self._on_drain,
            SettingsChanged: self._on_settings,
            PricesCame: self._on_prices,
            AnswerFound: self._on_answer,
            TimePassed: self._on_time,
        }

    def handle(self, now_s: float, event: Event) -> list[Action]:
        """Take an event and say what is to be done, in order.

        Args:
            now_s: when it happened; not before the last event.
            event: what happened.

        Raises:
            PlanningError, GraphError: for settings that make no sense; nothing has changed then.
        """
        self._actions = []
        self._handlers[type(event)](now_s, event)
        wake_s = min(self._again_s, self._alive_s, self.prices.until_s)
        if wake_s != self._waking_s and wake_s < math.inf:
            self._waking_s = wake_s
            self._actions.append(WakeAt(wake_s))
        return self._actions

    # --- what is asked --------------------------------------------------------------------------

    def check(self, settings: PlanningSettings) -> None:
        """Whether settings may take the place of those in force.

        Raises:
            PlanningError, GraphError: if not: a pinned plan that cannot be, a policy that only a
                start may name.
        """
        pinned = parse_pinned(settings.pinned_plan)
        if pinned is not None:
            head_of(self._measured.dag, pinned.exit_number, pinned.boundary)
            settings.conditions.check(self._measured, pinned.key, "the pinned plan")
        if settings.policy != self._settings.policy:
            check_switch(settings.policy, self._policy_at_start)

    @property
    def settings(self) -> PlanningSettings:
        """The settings in force."""
        return self._settings

    def load(self, now_s: float) -> LoadEstimate:
        """The load score and what led to it."""
        return self._load.estimate(now_s)

    def situation(self, now_s: float, server: EdgeServer | None = None) -> Situation:
        """What a policy would be asked with now, over one server; None: the one in use."""
        load, server = self._load.estimate(now_s), server or self.servers.in_use
        now = self.servers.situation(now_s, server, self._settings, load, self._most_period_s())
        where = server.name, self._settings.cell
        return self.prices.applied(now, now_s, *where, self._interval_s)

    # --- what comes in --------------------------------------------------------------------------

    def _on_link(self, now_s: float, link: LinkEstimated) -> None:
        server = self.servers.by_name.get(link.server)
        if server is None:
            return
        server.on_link(now_s, link)
        if server is self.servers.in_use:
            self._load.on_link(now_s, link.uplink_bps, link.rtt_s, link.connected)
        self._decide(now_s, None)

    def _on_drain(self, now_s: float, event: DrainSet) -> None:
        if occasion := self.servers.on_drain(event):
            self._decide(now_s, occasion)

    def _on_load(self, now_s: float, load: LoadMeasured) -> None:
        self._load.on_machine(now_s, load.cpu_ratio, load.memory_ratio, load.battery_ratio)

    def _on_count(self, now_s: float, count: FramesCounted) -> None:
        self.head.on_sign(now_s)
        self._frames.on_count(now_s, count.session, count.accepted)

    def _on_result(self, now_s: float, result: ResultCame) -> None:
        self.head.on_sign(now_s)
        self.servers.on_result(now_s, result)
        self._follow_camera(now_s, result)
        told = self.told
        if told is None or result.plan_epoch != told.epoch:
            return
        plan = told.plan
        if result.place is Place.EDGE and result.server != plan.server:
            # Another server had to stand in: that took what no frame of the plan should.
            result = replace(result, place=Place.CAR_FALLBACK)
        self.servers.on_result_of(now_s, plan, result)
        self._forecast.on_result(now_s, result, self.servers.hop_to(result.server))
        self.drift.on_frame(told.epoch, result.latency_s)
        self.gate_share.on_frame(result.place is Place.CAR and plan.gate == result.exit_number)
        self._load.on_frame(
            now_s,
            result.latency_s,
            told.deadline_s,
            predicted_latency_s=plan.expected_latency_s,
            head_s=result.head_s,
            predicted_head_s=plan.head_s,
            transfer_s=result.transfer_s if result.place is Place.EDGE else math.nan,
            predicted_transfer_s=plan.transfer_s,
        )

    def _follow_camera(self, now_s: float, result: ResultCame) -> None:
        slowdown = self.servers.car_slowdown(now_s)
        changed = self._camera.on_result(now_s, result.source_bytes, result.load_s, slowdown)
        if changed:
            self._actions.append(CameraChanged(self._camera.files))

    def _on_problem(self, now_s: float, event: ProblemChanged) -> None:
        self.servers.on_problem(event)
        self.complaint = ""
        self._decide(now_s, event.occasion)

    def _on_refused(self, now_s: float, event: ProblemRefused) -> None:
        self.complaint = shortened(f"cannot plan: {event.reason}")
        self._actions.append(Complain(self.complaint))

    def _on_settings(self, now_s: float, event: SettingsChanged) -> None:
        self.check(event.settings)
        self._settings = event.settings
        for name, policy in event.policies.items():
            self.servers.by_name[name].policy = policy
        self._keeper.settings = self._settings.keeper
        self._keeper.release()
        self._decide(now_s, "a parameter was set")
        self._tell_terms(now_s)

    def _on_prices(self, now_s: float, came: PricesCame) -> None:
        first, fault = not self.prices.hold(now_s), self.prices.hear(now_s, came.posted)
        if fault:
            self._actions.append(RefusePrices(fault))
            return
        self._decide(now_s, None)
        if first:
            self._foretell(now_s)

    def _on_answer(self, now_s: float, event: AnswerFound) -> None:
        asked = event.question
        if self.servers.is_current(asked) and asked.settings is self._settings:
            self._conclude(now_s, asked, event.answer)
        # Otherwise it was asked under other circumstances; it has been asked again since.

    def _on_time(self, now_s: float, event: TimePassed) -> None:
        self._waking_s = math.inf
        if self.prices.expire(now_s) or now_s >= self._again_s:
            self._again_s = math.inf
            self._decide(now_s, None)
        if now_s >= self._alive_s and self.told is not None:
            self._alive_s = now_s + SAY_ALIVE_S
            self._actions.append(SayAlive(self.told.epoch))
            self._foretell(now_s)

    # --- what goes out --------------------------------------------------------------------------

    def _decide(self, now_s: float, occasion: str | None) -> None:
        """Have the best plan as of now worked out; it is told if it is worth a change."""
        asked = self._question(now_s, occasion)
        if asked is None:
            return
        if asked.is_quick:
            self._conclude(now_s, asked, asked.answer())
        else:
            self._actions.append(Ask(asked))

    def _question(self, now_s: float, occasion: str | None) -> Question | None:
        """What a plan is to be asked for now; None before there are any profiles."""
        asked = [
            Question(occasion, problem, policy, self.situation(now_s, server), self._settings)
            for server in self.servers.by_name.values()
            if (problem := server.problem) is not None and (policy := server.policy) is not None
        ]
        return replace(asked[0], others=tuple(asked[1:])) if asked else None

    def _conclude(self, now_s: float, asked: Question, found: Answer) -> None:
        settings, in_force = asked.settings, self._keeper.plan
        current = None
        if in_force is not None and (same := asked.over(in_force.server)) is not None:
            # The margin keeps two plans from taking turns where one is just within the bound.
            most_period_s = (1 + settings.plan_margin) * same.situation.most_period_s
            bounded = replace(same.situation, most_period_s=most_period_s)
            current = repriced(in_force, bounded, same.problem)
        complaint = shortened(f"no new plan: {found.complaint}") if found.complaint else ""
        if complaint:
            self._actions.append(Complain(complaint, complaint == self.complaint))
        self.complaint = complaint
        if found.plan is None or (found.complaint and current is not None):
            return  # the last good plan is better than none
        change = self._keeper.consider(
            now_s,
            found.plan,
            current,
            follow=not asked.follows_gain,
            favourite=self.servers.prefers(found.plan, in_force),
        )
        if change is None:
            # News or not: only the dwell was in the way.
            self._again_s = min(self._again_s, self._keeper.reconsider_s)
            self._tell_spares(now_s, asked)
            return
        policy = "pinned" if settings.pinned_plan else settings.policy
        why = asked.occasion or change.words(asked.problem.quality_name)
        self._tell(now_s, found.plan, why, policy, asked)

    def _tell_spares(self, now_s: float, asked: Question) -> None:
        """Tell the plan in force anew if other servers can stand in for its own than were told."""
        told, plan = self.told, self._keeper.plan
        if told is None or plan is None or not asked.others:
            return
        if are_outdated(told.spares, spares_of(plan, asked)):
            self._tell(now_s, plan, "other servers can stand in", told.policy, asked)

    def _tell_terms(self, now_s: float) -> None:
        """Tell the plan in force anew where deadline or window are not those it was told with.

        The head has to keep them from the next frame on, whether or not another plan follows from
        them, and however long a policy thinks about that.
        """
        told, plan, settings = self.told, self._keeper.plan, self._settings
        if told is None or plan is None or (asked := self._question(now_s, None)) is None:
            return
        same = asked.over(plan.server)
        if same is None or settings.conditions.breaches(same.problem, *plan.key):
            return  # set together with what forbids this plan: another one follows
        if (told.deadline_s, told.max_in_flight) != (settings.deadline_s, settings.max_in_flight):
            self._tell(now_s, plan, "deadline or window was set", told.policy, asked)

    def _tell(self, now_s: float, plan: Plan, why: str, policy: str, asked: Question) -> None:
        """Tell a plan; it is the one in force from now on."""
        settings, situation = self._settings, (asked.over(plan.server) or asked).situation
        self.servers.use(plan.server)
        epoch = self.told.epoch + 1 if self.told is not None else 1
        self.told = TellPlan(
            plan,
            epoch,
            f"{why}; {plan.reason}",
            policy,
            settings.deadline_s,
            settings.max_in_flight,
            situation.link.rate_bps,
            situation.load_score,
            spares_of(plan, asked),
        )
        self.told_s = now_s
        self.drift.on_plan(epoch, plan.expected_latency_s)
        self.gate_share.on_plan(plan.gate, plan.gate_threshold or 0.0, plan.gate_share)
        self._actions.append(self.told)
        self._forecast.on_plan(plan)
        self._foretell(now_s)  # the same plan, predicted anew: its frames wait as they did before
        # A plan is told once. That its manager still lives is said again and again, with less.
        self._alive_s = min(self._alive_s, now_s + SAY_ALIVE_S)

    def _foretell(self, now_s: float) -> None:
        """Say what the plan in force is expected to take, if that has changed; what it asks for."""
        told, problem = self.told, self.servers.in_use.problem
        if told is None or problem is None:
            return
        situation, where = self.situation(now_s), (self.prices.servers, self._settings.cell)
        priced = repriced(told.plan, situation, problem)
        if self.prices.hold(now_s):
            self._actions.append(TellDemand(demand_of(priced, problem, situation, *where)))
        foreseen = self._forecast.of(now_s, priced) if priced is not None else None
        if foreseen is not None:
            plan = replace(foreseen, reason=told.plan.reason)
            self._actions.append(Foretell(replace(told, plan=plan, why="as foreseen now")))

    def _most_period_s(self) -> float:
        return (self._settings.frame_utilisation or math.inf) * self._interval_s

    @property
    def _interval_s(self) -> float:
        """Seconds between two frames, taken for granted until they are known."""
        known_s, deadline_s = self._frames.interval_s, self._settings.deadline_s
        return known_s if known_s < math.inf else deadline_s / _FRAMES_PER_DEADLINE
