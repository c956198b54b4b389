"""The cars and edge servers of a scenario, with all that is drawn for each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.core.planning_settings import PlanningSettings
from dapdee_ros.planning.cost import EnergyPrices
from dapdee_ros.planning.gate_options import GateCurves
from dapdee_ros.planning.objective import Objective
from dapdee_ros.planning.policy import Problem
from dapdee_ros.planning.sites import NO_HOP, Hop
from dapdee_ros.planning.situation import Situation
from dapdee_ros.simulation.fleet.scenario import CarGroup, FleetScenario, Range
from dapdee_ros.simulation.link_trace import fixed_link
from dapdee_ros.simulation.load_trace import LoadTrace
from dapdee_ros.simulation.scenario import Scenario
from dapdee_ros.simulation.work import Workbook


@dataclass(frozen=True)
class FleetModel:
    """A model between the car's and the edge server's profile.

    Attributes:
        problem: network, profiles, codecs, gates.
        curves: the calibrated gates; None without.
    """

    problem: Problem
    curves: GateCurves | None = None


LoadModel = Callable[[str, Sequence[str]], FleetModel]
"""Gives a model by its name and the codecs that it may use."""


def bundled_model(name: str, codecs: Sequence[str]) -> FleetModel:
    """A model folder between its slowest and its fastest sample profile.

    Raises:
        ModelFolderError, PlanningError, CodecError: if it, a profile or a codec is not to be had.
    """
    from dapdee_ros.exits.card import find_model, read_card
    from dapdee_ros.planning.from_card import choose_profiles, problem_of

    card = read_card(find_model(name))
    car, edge = choose_profiles(card, None, None)
    return FleetModel(problem_of(card, car, edge, codecs), card.calibration)


@dataclass(frozen=True)
class Member:
    """One car as it was drawn.

    Attributes:
        index: its place in the fleet.
        name: its name.
        group: what it shares with others.
        slowdown: of its profile.
        uplink_bps: rate with its cell to itself.
        cell: index of its cell.
        rtt_s: round trip to every server.
        reach: indices of the servers that it may use, the nearest first.
        battery_j: what its battery holds at first; infinity without one.
        energy: prices of its energy.
        book: knows what plans take; cars of one model share it.
        problem: its model.
        frames: the scenario of its frames, as a simulation of it alone would have it.
        arrivals_s: when its frames come, ``(frames,)``.
    """

    index: int
    name: str
    group: CarGroup
    slowdown: float
    uplink_bps: float
    cell: int
    rtt_s: tuple[float, ...]
    reach: tuple[int, ...]
    battery_j: float
    energy: EnergyPrices
    book: Workbook
    problem: Problem
    frames: Scenario
    arrivals_s: NDArray[np.float64]

    @property
    def most_period_s(self) -> float:
        """Seconds between two frames."""
        return 1 / self.group.rate_hz

    def objective(self, battery_level: float) -> Objective:
        """What it minimises with so much left in its battery, 0 to 1; NaN without one."""
        group = self.group
        wish = Objective(group.latency_weight, 0.0, group.energy_weight)
        return wish.on_battery(battery_level, group.battery_exponent)

    def situation(
        self,
        server: int,
        server_slowdown: float,
        battery_level: float = math.nan,
        edge_share: float = 1.0,
        air_share: float = 1.0,
    ) -> Situation:
        """What it plans with over one server, with shares of that and of its cell.

        Without a share of the air there is no link.
        """
        rate_bps = self.uplink_bps * air_share
        hop = Hop(rate_bps, self.rtt_s[server]) if rate_bps > 0 and edge_share > 0 else NO_HOP
        slowdown = server_slowdown / edge_share if edge_share > 0 else server_slowdown
        return Situation(
            self.problem.sites(self.slowdown, slowdown),
            (hop,),
            deadline_s=self.group.deadline_s,
            mode=self.objective(battery_level),
            quality_tolerance=self.group.quality_tolerance,
            most_period_s=self.most_period_s,
            window=self.group.max_in_flight,
            energy=self.energy,
        )


@dataclass(frozen=True)
class Server:
    """One edge server as it was drawn: its name, slowdown, and when it is down, in s."""

    name: str
    slowdown: float
    down_s: tuple[Range, ...]


def members_of(
    scenario: FleetScenario, load: LoadModel = bundled_model
) -> tuple[list[Member], list[Server]]:
    """Draw every car and server.

    Raises:
        ModelFolderError, PlanningError, CodecError: if a model, profile or codec is not to be had.
        ScenarioError: if what a group says makes no scenario of a car.
    """
    rng = np.random.default_rng([scenario.seed, 7])
    servers: list[Server] = []
    rtt_ranges: list[Range] = []
    for group in scenario.servers:
        for _ in range(group.count):
            down_s = tuple((float(a), float(b)) for a, b in group.down_s)
            servers.append(Server(f"edge{len(servers)}", _drawn(rng, group.slowdown), down_s))
            rtt_ranges.append(group.rtt_s)
    books: dict[tuple[str, tuple[str, ...]], tuple[FleetModel, Workbook]] = {}
    members: list[Member] = []
    total = sum(group.count for group in scenario.cars)
    for cars in scenario.cars:
        key = (cars.model, tuple(cars.codecs))
        if key not in books:
            model = load(cars.model, cars.codecs)
            books[key] = model, Workbook(model.problem, model.curves)
        model, book = books[key]
        energy = EnergyPrices.with_known(
            model.problem.car.energy, cars.compute_w, cars.send_j_per_byte, cars.wait_w
        )
        for _ in range(cars.count):
            index = len(members)
            slowdown, uplink_bps = _drawn(rng, cars.slowdown), _drawn(rng, cars.uplink_bps)
            rtt_s = tuple(_drawn(rng, wanted) for wanted in rtt_ranges)
            battery = _drawn(rng, cars.battery_share) * cars.battery_j or math.inf
            frames = _frames(scenario, cars, model, index, slowdown, uplink_bps)
            members.append(
                Member(
                    index, f"car{index}", cars, slowdown, uplink_bps, index % scenario.cells, rtt_s,
                    tuple(np.argsort(rtt_s, kind="stable")[: scenario.reach].tolist()), battery,
                    energy, book, model.problem, frames,
                    _arrivals(scenario, cars, frames, book, index / total),
                )
            )  # fmt: skip
    return members, servers


def _drawn(rng: np.random.Generator, between: Range) -> float:
    low, high = between
    if low == high:
        return low
    return float(math.exp(rng.uniform(math.log(low), math.log(high))))


def _frames(
    scenario: FleetScenario,
    cars: CarGroup,
    model: FleetModel,
    index: int,
    slowdown: float,
    uplink_bps: float,
) -> Scenario:
    return Scenario(
        model.problem,
        fixed_link(uplink_bps, f"{uplink_bps:g}bit/s"),
        curves=model.curves,
        seconds=_stretched(cars, scenario.seconds),
        rate_hz=cars.rate_hz,
        jitter=cars.jitter,
        seed=scenario.seed * 1_000_003 + index,
        planning=replace(
            PlanningSettings(), deadline_s=cars.deadline_s, max_in_flight=cars.max_in_flight
        ),
        car_load=LoadTrace(slowdowns=(slowdown,)),
        wire=scenario.wire,
    )


def _arrivals(
    scenario: FleetScenario, cars: CarGroup, frames: Scenario, book: Workbook, phase: float
) -> NDArray[np.float64]:
    """When a car's frames come; the cars' phases are even, or all would send at the same times."""
    from dapdee_ros.simulation.frames import ExpectedFrames

    even_s = ExpectedFrames(frames, book).arrivals_s(cars.rate_hz) + phase / cars.rate_hz
    knots_s = [0.0, scenario.seconds]
    for burst in cars.bursts:
        knots_s += [burst.at_s, burst.at_s + burst.for_s]
    real_s = np.unique(np.clip(knots_s, 0.0, scenario.seconds))
    came_s = np.interp(even_s, [_stretched(cars, t) for t in real_s], real_s)
    return came_s[even_s < frames.seconds]


def _stretched(cars: CarGroup, until_s: float) -> float:
    """The time at which as many frames would have come without bursts."""
    more_s = 0.0
    for burst in cars.bursts:
        inside_s = min(max(until_s - burst.at_s, 0.0), burst.for_s)
        more_s += (burst.times - 1) * inside_s
    return until_s + more_s
