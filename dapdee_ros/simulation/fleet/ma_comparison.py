"""Fleets in which ways to plan are compared by the cost of Ma et al. (``planning/fleet/ma.py``)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from dapdee_ros.planning.fleet.fleet import Fleet
from dapdee_ros.planning.fleet.ma import ma_cost
from dapdee_ros.simulation.fleet.agent import FleetAgent
from dapdee_ros.simulation.fleet.members import (
    FleetModel,
    LoadModel,
    Member,
    bundled_model,
    members_of,
)
from dapdee_ros.simulation.fleet.results import FleetRun
from dapdee_ros.simulation.fleet.scenario import CarGroup, FleetScenario, ServerGroup

ENERGY_SHARE = 0.5
"""Weight of a joule; a second has the rest."""
QUALITY_WEIGHT_S = 1.0
"""What a whole point of quality is worth, so that nobody saves by answering worse."""
MA_MODELS = ("roadscenes-det", "roadscenes-seg", "vgg16-cifar10")
"""Bundled models for which an edge server of these fleets is worth something."""

# Seeds of fleets to learn from and of those to judge with; benchmarks count from 0.
_HELD_OUT, _LEARNT_FROM = 1_000, 1_000_000


def ma_model(name: str, codecs: Sequence[str]) -> FleetModel:
    """A bundled model where waiting takes no energy, as in their model; loaded once.

    Raises:
        ModelFolderError, PlanningError, CodecError: as ``bundled_model``.
    """
    return _ma_model(name, tuple(codecs))


@cache
def _ma_model(name: str, codecs: tuple[str, ...]) -> FleetModel:
    found = bundled_model(name, codecs)
    car, edge = found.problem.profiles
    _, prices = ma_cost(ENERGY_SHARE, car.energy.compute_w, car.energy.send_j_per_byte)
    return replace(
        found, problem=replace(found.problem, profiles=(replace(car, energy=prices), edge))
    )


def ma_scenario(
    cars: int,
    seed: int,
    model: str = MA_MODELS[0],
    *,
    servers: int = 2,
    rate_hz: float = 3.0,
    deadline_s: float = 1.0,
    **rest: Any,
) -> FleetScenario:
    """A fleet whose servers become scarce as it grows; ``rest`` is for ``FleetScenario``."""
    group = CarGroup(
        cars, model, rate_hz=rate_hz, deadline_s=deadline_s, latency_weight=1 - ENERGY_SHARE,
        energy_weight=ENERGY_SHARE, quality_weight_s=QUALITY_WEIGHT_S,
    )  # fmt: skip
    return FleetScenario((group,), (ServerGroup(servers, (0.7, 1.4)),), seed=seed, **rest)


def varied_scenarios(count: int, cars: int, seed: int) -> list[FleetScenario]:
    """Fleets to learn from: of the models in turn, with one to three edge servers and cells."""
    rng = np.random.default_rng([seed, 23])
    return [
        ma_scenario(
            cars,
            _LEARNT_FROM * (seed + 1) + number,
            MA_MODELS[number % len(MA_MODELS)],
            servers=int(rng.integers(1, 4)),
            cells=int(rng.integers(1, 4)),
        )
        for number in range(count)
    ]


def held_out_scenarios() -> list[FleetScenario]:
    """Fleets of 5 to 50 cars that ``varied_scenarios`` never gives."""
    return [
        ma_scenario(cars, _HELD_OUT + number, MA_MODELS[number % len(MA_MODELS)])
        for number, cars in enumerate((5, 10, 20, 35, 50, 50, 35, 20, 10, 5))
    ]


def drawn_fleet(
    scenario: FleetScenario, policy: str = "price", load: LoadModel = bundled_model
) -> Fleet:
    """What there is to choose from when a simulation of a scenario begins.

    Args:
        scenario: cars, servers, cells.
        policy: for whom: some need rows that are no use to others.
        load: gives the models.

    Raises:
        ModelFolderError, PlanningError, CodecError, ScenarioError: as ``members_of``.
    """
    # When frames come is of no interest here, and takes as long to draw as they are many.
    members, servers = members_of(replace(scenario, seconds=1.0), load)
    agent = FleetAgent(members, servers, scenario.cells, policy)
    return agent.fleet([True] * len(servers), {car.index: _level(car) for car in members})


def simulated_cost(run: FleetRun) -> float:
    """What a frame cost in a run, in the mean over those that were answered."""
    t = run.totals
    joules = sum(car.energy_j for car in run.cars) / max(t["answered"], 1)
    seconds = (1 - ENERGY_SHARE) * t["mean_s"] + ENERGY_SHARE * joules
    return float(seconds + QUALITY_WEIGHT_S * (1 - t["quality"]))


def _level(car: Member) -> float:
    """What is left in its battery, 0 to 1; NaN without one."""
    if math.isinf(car.battery_j):
        return math.nan
    return car.battery_j / car.group.battery_j
