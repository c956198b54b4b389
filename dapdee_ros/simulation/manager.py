"""The partition manager in a simulation: the rules of the node, on a simulated clock."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from dapdee_ros.core.frames import FrameResult, Place
from dapdee_ros.core.planning_settings import PlanningSettings
from dapdee_ros.estimation.frame_rate import FrameRate
from dapdee_ros.estimation.link import LinkEstimate
from dapdee_ros.estimation.load import LoadEstimator
from dapdee_ros.estimation.slowdown import SlowdownFilter
from dapdee_ros.partition.answer import NO_LINK, answer, repriced
from dapdee_ros.partition.cost import LinkState, LoadState
from dapdee_ros.partition.keeper import PlanKeeper
from dapdee_ros.partition.plan import Plan
from dapdee_ros.partition.policy import Policy, Problem, Situation
from dapdee_ros.simulation.agenda import Agenda

LOAD_PERIOD_S = 1.0
"""Between two looks at the processor and at the frame counter, as the nodes have it."""


class SimulatedManager:
    """Follows link, loads and frames; tells a plan whenever the keeper lets one take its place."""

    def __init__(
        self,
        agenda: Agenda,
        problem: Problem,
        policy: Policy,
        planning: PlanningSettings,
        follows_gain: bool,
        tell: Callable[[Plan, int, str], None],
    ) -> None:
        """Prepare.

        Args:
            agenda: the clock.
            problem: what is planned for.
            policy: who plans.
            planning: the manager's parameters.
            follows_gain: whether the policy minimises what plans are judged by; others are obeyed.
            tell: receives a new plan, its epoch and why.
        """
        self._agenda = agenda
        self._problem = problem
        self._policy = policy
        self._planning = planning
        self._deadline_s, self._window = planning.deadline_s, planning.max_in_flight
        self._follows_gain = follows_gain
        self._tell = tell
        self._link: LinkEstimate | None = None
        self._slowdowns = {"car": SlowdownFilter(), "edge": SlowdownFilter()}
        self._load = LoadEstimator()
        self._frames = FrameRate()
        self._keeper = PlanKeeper(planning.keeper)
        self._in_force: Plan | None = None
        self._epoch = 0
        self._reconsider_s = math.inf
        self.complaints: dict[str, int] = {}

    def take_link(self, link: LinkEstimate) -> None:
        """The link's state was published."""
        self._link = link
        self._load.on_link(self._agenda.now_s, link.uplink_bps, link.rtt_s, link.connected)
        self.decide(None)

    def take_load(self, cpu_ratio: float, accepted: int) -> None:
        """The processor's load, 0 to 1, and how many frames came so far."""
        self._load.on_machine(self._agenda.now_s, cpu_ratio, math.nan, math.nan)
        self._frames.on_count(self._agenda.now_s, 0, accepted)

    def take_result(self, result: FrameResult) -> None:
        """Learn from a result how slow both sides are and how far predictions hold."""
        now_s, plan = self._agenda.now_s, self._in_force
        self._slowdowns["car"].on_frame(now_s, result.car_slowdown)
        self._slowdowns["edge"].on_frame(now_s, result.edge_slowdown)
        if plan is None or result.plan.epoch != self._epoch:
            return
        self._load.on_frame(
            now_s,
            result.latency_s,
            self._deadline_s,
            predicted_latency_s=plan.expected_latency_s,
            head_s=result.head_s,
            predicted_head_s=plan.head_s,
            transfer_s=result.transfer_s if result.place is Place.EDGE else math.nan,
            predicted_transfer_s=plan.transfer_s,
        )

    def decide(self, occasion: str | None) -> None:
        """Work out the best plan as of now and tell it if it is worth a change."""
        link = self._link_state()
        load, mode = self._load_state()
        situation = self.situation(link, load, mode)
        planning = self._planning
        found = answer(
            self._policy,
            situation,
            self._problem,
            gains_over_alone=planning.plan_margin if self._follows_gain else None,
        )
        most_period_s = (1 + planning.plan_margin) * situation.most_period_s
        current = repriced(
            self._keeper.plan, replace(situation, most_period_s=most_period_s), self._problem
        )
        if found.complaint:
            self.complaints[found.complaint] = self.complaints.get(found.complaint, 0) + 1
        if found.plan is None or (found.complaint and current is not None):
            return
        new = found.plan
        if new.boundary and not link.usable:
            # Some policies send whatever happens. The head refuses a plan that takes for ever, and
            # follows the one that it has.
            return
        why = self._keeper.consider(self._agenda.now_s, new, current, obey=not self._follows_gain)
        if why is None:
            if self._keeper.reconsider_s < self._reconsider_s:
                self._reconsider_s = self._keeper.reconsider_s
                self._agenda.at(self._reconsider_s, self._reconsider)
            return
        self._epoch += 1
        self._in_force = new
        self._tell(new, self._epoch, f"{occasion or why}; {new.reason}")

    def _reconsider(self) -> None:
        self._reconsider_s = math.inf
        self.decide(None)

    @property
    def most_period_s(self) -> float:
        """Longest period of a plan that keeps up with the frames."""
        share = self._planning.frame_utilisation
        if not share:
            return math.inf
        interval_s = self._frames.interval_s
        return share * (self._deadline_s / 3 if math.isinf(interval_s) else interval_s)

    def situation(self, link: LinkState, load: LoadState, mode: str) -> Situation:
        """What a policy is asked with."""
        return self._planning.situation(link, load, mode, self.most_period_s)

    def mode(self) -> str:
        """What is minimised now: ``latency`` or ``throughput``."""
        return self._load_state()[1]

    def _link_state(self) -> LinkState:
        link = self._link
        if link is None or not link.connected or not link.uplink_bps > 0:
            return NO_LINK
        return LinkState(
            uplink_bps=link.uplink_bps,
            rtt_s=link.rtt_s if math.isfinite(link.rtt_s) else 0.0,
            relative_spread=link.relative_spread if math.isfinite(link.relative_spread) else 1.0,
            window=self._window,
        )

    def _load_state(self) -> tuple[LoadState, str]:
        load = self._load.estimate(self._agenda.now_s)
        mode = self._planning.mode
        if mode == "auto":
            heavy = load.heavy and not self._planning.priority
            mode = "throughput" if heavy else "latency"
        state = LoadState(
            self._slowdowns["car"].at(self._agenda.now_s),
            self._slowdowns["edge"].at(self._agenda.now_s),
            load.score,
            load.indicators,
        )
        return state, mode
