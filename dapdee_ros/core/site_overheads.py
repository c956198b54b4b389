"""What frames cost car and edge server beside the network, learned from their results."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple

from dapdee_ros.core.frames import Place
from dapdee_ros.core.manager_events import ResultCame
from dapdee_ros.estimation.overhead import OverheadFilter
from dapdee_ros.estimation.slowdown import IdleLoad
from dapdee_ros.graph.dag import GraphError
from dapdee_ros.planning.errors import PlanningError
from dapdee_ros.planning.overhead import (
    MOST_FIXED_S,
    MOST_S_PER_BYTE,
    NO_OVERHEAD,
    Overhead,
)
from dapdee_ros.planning.plan import Plan, PlanKey
from dapdee_ros.planning.policy import Problem, Situation
from dapdee_ros.planning.sites import CAR, EDGE, Hop, car_and_edge

# As profiled, and over a link that costs nothing: only the profiled seconds are left.
_AS_PROFILED = Situation(car_and_edge(), (Hop(1e12),), deadline_s=1.0)


class SiteOverheads:
    """Follows ``Overhead`` of car and edge server; begins with what their profiles say."""

    def __init__(self) -> None:
        self._problem: Problem | None = None
        self._filters = {CAR: OverheadFilter(), EDGE: OverheadFilter()}
        self._parts: tuple[PlanKey, tuple[float, ...]] | None = None
        self._idle_loads = {CAR: IdleLoad(), EDGE: IdleLoad()}

    def load(self, site: str) -> float:
        """Factor on a site's slowdown for what it was not measured by; 1 while it is measured."""
        return self._idle_loads[site].ratio

    def of(self, site: str, now_s: float) -> Overhead:
        """A site's, as of now."""
        if self._problem is None:
            return NO_OVERHEAD
        frame_s, crossing_s, s_per_byte = self._filters[site].at(now_s)
        return Overhead(
            min(frame_s, MOST_FIXED_S),
            min(crossing_s, MOST_FIXED_S),
            min(s_per_byte, MOST_S_PER_BYTE),
        )

    def on_problem(self, problem: Problem, before: Problem | None) -> None:
        """There are profiles, or others than before."""
        for k, site in enumerate(self._filters):
            if before is None or before.profiles[k] is not problem.profiles[k]:
                self._filters[site] = OverheadFilter(astuple(problem.profiles[k].overhead))
                self._idle_loads[site].forget()
        self._problem, self._parts = problem, None

    def on_result(
        self,
        now_s: float,
        plan: Plan,
        result: ResultCame,
        slowdowns: Mapping[str, float],
        *,
        of_server: bool = True,
    ) -> None:
        """A frame of the plan in force ended with a result.

        What it took on a site, less the network's and the codec's part at the frame's own slowdown
        if that was measured, is the site's overhead.

        Args:
            now_s: when.
            plan: the plan.
            result: the result.
            slowdowns: of the sites, as of now.
            of_server: whether it was this edge server's; of another one's, the car's part counts.
        """
        measured = {CAR: result.car_slowdown, EDGE: result.edge_slowdown if of_server else math.nan}
        for site, slowdown in measured.items():
            if not math.isnan(slowdown):
                self._idle_loads[site].forget()
        sent = bool(plan.boundary) and result.sent_bytes > 0
        as_planned = result.place is Place.EDGE or result.exit_number == plan.exit_number
        if not as_planned or sent is not bool(plan.boundary) or not result.head_s > 0:
            return
        part_s = self._part_s(plan.key)
        if part_s is None:
            return

        def take(site: str, spent_s: float, profiled_s: float, slowdown: float) -> None:
            known = slowdowns[site] if math.isnan(slowdown) else slowdown
            overhead_s = spent_s - known * profiled_s
            self._filters[site].on_frame(now_s, overhead_s, int(sent), result.sent_bytes)
            if math.isnan(slowdown):
                self._idle_loads[site].on_frame(now_s, overhead_s)

        take(CAR, result.head_s, part_s[0], result.car_slowdown)
        if sent and result.place is Place.EDGE and of_server:
            take(EDGE, result.tail_s, part_s[1], result.edge_slowdown)

    def _part_s(self, key: PlanKey) -> tuple[float, ...] | None:
        """Profiled seconds of each site under a plan, coding included; None if not known."""
        if self._problem is None:
            return None
        if self._parts is None or self._parts[0] != key:
            exit_number, boundary, codec, gate, threshold = key
            try:
                priced = self._problem.pricing_table.price(
                    exit_number, boundary, codec, _AS_PROFILED, gate=gate, gate_threshold=threshold
                )
            except (PlanningError, GraphError):
                return None
            self._parts = key, tuple(stage.seconds for stage in priced.stages)
            for load in self._idle_loads.values():
                load.forget()
        return self._parts[1]
