"""What the manager knows of each edge server: profile, link, speed, and whether it takes frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from dapdee_ros.core.frames import Server
from dapdee_ros.core.manager_events import (
    DrainSet,
    LinkEstimated,
    ProblemChanged,
    Question,
    ResultCame,
)
from dapdee_ros.core.planning_settings import PlanningSettings
from dapdee_ros.core.site_overheads import SiteOverheads
from dapdee_ros.estimation.health import Health, Level
from dapdee_ros.estimation.load import LoadEstimate
from dapdee_ros.estimation.presence import EdgePresence
from dapdee_ros.estimation.slowdown import SlowdownFilter
from dapdee_ros.planning.answer import repriced
from dapdee_ros.planning.cost import FREE
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.objective import objective_named
from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.policy import Policy, Problem, Situation
from dapdee_ros.planning.sites import CAR, EDGE, NO_HOP, Hop, Site

_OUTDATED = 2.0
"""Factor by which a spare's answer is expected sooner or later than was told, to tell it anew."""


class EdgeServer:
    """One edge server, from the profile it sends to what frames took there.

    Attributes:
        name: its name, the id of its site.
        problem: the car and this server; None until both profiles are there.
        policy: plans with that.
        slowdown: measured over profiled seconds there.
        overheads: of the car and of this server.
        presence: whether it answers.
        draining: whether it takes no more frames, as it says itself.
    """

    def __init__(self, name: str, begun_s: float) -> None:
        self.name = name
        self.problem: Problem | None = None
        self.policy: Policy | None = None
        self.slowdown = SlowdownFilter()
        self.overheads = SiteOverheads()
        self.presence = EdgePresence(begun_s)
        self.draining = False
        self._hop = NO_HOP

    @property
    def hop(self) -> Hop:
        """The link to it; ``NO_HOP`` if it takes no frames."""
        return NO_HOP if self.draining else self._hop

    def health(self, now_s: float) -> Health:
        """Whether it answers; WARN while it is being drained."""
        answers = self.presence.health(now_s)
        if self.draining and answers.level is Level.OK:
            return replace(answers, level=Level.WARN, message="it is being drained")
        return answers

    def on_link(self, now_s: float, link: LinkEstimated) -> None:
        """The link to it was estimated anew."""
        self.presence.on_link(now_s, link.connected)
        self._hop = link.hop

    def on_problem(self, problem: Problem, policy: Policy) -> None:
        """There is a profile of it, or of the car, or another one."""
        before, self.problem, self.policy = self.problem, problem, policy
        if before is None or before.edge is not problem.edge:
            self.slowdown.forget()
        self.overheads.on_problem(problem, before)


class EdgeServers:
    """The edge servers that a car may use, and the car as all of them see it.

    Attributes:
        by_name: the servers, the car's favourite first.
        in_use: the one that the last plan that sends anything named; at first the favourite.
    """

    def __init__(self, names: Sequence[str], begun_s: float) -> None:
        self.by_name = {name: EdgeServer(name, begun_s) for name in names}
        self.in_use = self.by_name[names[0]]
        self._car_slowdown = SlowdownFilter()
        self._car_profile: DeviceProfile | None = None

    @property
    def problems(self) -> dict[str, Problem]:
        """What is planned for, by name; without those whose profile has not come."""
        return {s.name: s.problem for s in self.by_name.values() if s.problem is not None}

    def use(self, name: str) -> None:
        """A plan names this server; an empty name: none."""
        self.in_use = self.by_name.get(name, self.in_use)

    def prefers(self, new: Plan, in_force: Plan | None) -> bool:
        """Whether a plan's server comes before that of the plan in force among the favourites."""
        if in_force is None or not {new.server, in_force.server} <= self.by_name.keys():
            return False
        order = list(self.by_name)
        return order.index(new.server) < order.index(in_force.server)

    def car_slowdown(self, now_s: float) -> float:
        """Measured over profiled seconds on the car, as of now."""
        return self._car_slowdown.at(now_s)

    def sites(self, now_s: float, server: EdgeServer) -> tuple[Site, ...]:
        """The car and one server as of now."""
        of = server.overheads
        return tuple(
            Site(id_, slowdown.at(now_s) * of.load(side), of.of(side, now_s))
            for id_, side, slowdown in (
                (CAR, CAR, self._car_slowdown),
                (server.name, EDGE, server.slowdown),
            )
        )

    def situation(
        self,
        now_s: float,
        server: EdgeServer | None,
        settings: PlanningSettings,
        load: LoadEstimate,
        most_period_s: float,
    ) -> Situation:
        """What a policy is asked with now.

        Args:
            now_s: the time.
            server: which server to plan with; None: the one in use.
            settings: what is wished.
            load: the car's load.
            most_period_s: as in ``Situation``.
        """
        server = server or self.in_use
        # The estimator's own verdict, because it has hysteresis around the threshold.
        objective = objective_named(settings.wanted, load.heavy and not settings.priority)
        # The indicator says how empty the battery is.
        left = 1 - load.indicators.get("battery", math.nan)
        objective = objective.on_battery(left, settings.battery_exponent)
        return settings.situation(
            self.sites(now_s, server),
            (server.hop,),
            objective,
            most_period_s=most_period_s,
            window=settings.max_in_flight,
            load_score=load.score,
            load_indicators=load.indicators,
            energy=FREE if server.problem is None else settings.energy(server.problem.car.energy),
        )

    def on_problem(self, event: ProblemChanged) -> None:
        """There are profiles of the car and a server, or others."""
        if self._car_profile is not event.problem.car:
            self._car_profile = event.problem.car
            self._car_slowdown.forget()
        self.by_name[event.server].on_problem(event.problem, event.policy)

    def on_drain(self, event: DrainSet) -> str:
        """A server says whether it takes frames; what is new about that, as text, or nothing."""
        server = self.by_name[event.server]
        if server.draining == event.draining:
            return ""
        server.draining = event.draining
        doing = "is being drained" if event.draining else "takes frames again"
        return f"server {server.name} {doing}"

    def on_result(self, now_s: float, result: ResultCame) -> None:
        """A frame ended with a result, whatever its plan."""
        self._car_slowdown.on_frame(now_s, result.car_slowdown)
        if (server := self.by_name.get(result.server)) is not None:
            server.slowdown.on_frame(now_s, result.edge_slowdown)

    def on_result_of(self, now_s: float, plan: Plan, result: ResultCame) -> None:
        """The same frame, if it was one of the plan in force."""
        for name, server in self.by_name.items():
            slowdowns = {CAR: self._car_slowdown.at(now_s), EDGE: server.slowdown.at(now_s)}
            of_server = name == result.server
            server.overheads.on_result(now_s, plan, result, slowdowns, of_server=of_server)

    def hop_to(self, name: str) -> Hop:
        """The link to a server; ``NO_HOP`` where there is none of that name."""
        server = self.by_name.get(name)
        return NO_HOP if server is None else server.hop

    def is_current(self, asked: Question) -> bool:
        """Whether what was asked for is still planned for."""
        problems = self.problems
        return all(q.problem is problems[q.server] for q in (asked, *asked.others))


def spares_of(plan: Plan, asked: Question) -> tuple[Server, ...]:
    """The other servers that could finish a plan's frames in time, the one that plans for it left.

    Args:
        plan: the plan.
        asked: what plans are asked for, with every server that can be planned for.
    """
    spares = []
    for question in (asked, *asked.others):
        if not plan.boundary or question.server == plan.server:
            continue
        priced = repriced(plan, question.situation, question.problem)
        if priced is not None and (plan.late or not priced.late):
            remote_s = priced.transfer_s + priced.edge_s
            spares.append(Server(question.server, remote_s, priced.transfer_s))
    return tuple(spares)


def are_outdated(told: Sequence[Server], now: Sequence[Server]) -> bool:
    """Whether the head has to know of other spares than it was told of."""
    if [spare.name for spare in told] != [spare.name for spare in now]:
        return True
    pairs = zip(told, now, strict=True)
    return any(
        not 1 / _OUTDATED <= before.remote_s / after.remote_s <= _OUTDATED
        for before, after in pairs
        if after.remote_s > 0
    )
