"""The outcome of a fleet's run: figures of every car and of the whole, and what was over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dapdee_ros.core.frames import Place
from dapdee_ros.planning.candidates import Floats
from dapdee_ros.simulation.fleet.agent import Round
from dapdee_ros.simulation.fleet.air import SharedAir
from dapdee_ros.simulation.fleet.car import FleetMember
from dapdee_ros.simulation.fleet.edge import EdgeStation
from dapdee_ros.simulation.fleet.members import Server
from dapdee_ros.simulation.fleet.scenario import FleetScenario


@dataclass(frozen=True)
class Sample:
    """The fleet at a time.

    Attributes:
        at_s: when.
        energy_j: joules that all cars have taken so far.
        battery: mean level of the batteries, 0 to 1; NaN without any.
        driving: cars whose battery is not empty.
        edge_busy_s: seconds that each server has computed so far.
        air_busy_s: seconds for which somebody has sent in each cell so far.
    """

    at_s: float
    energy_j: float
    battery: float
    driving: int
    edge_busy_s: tuple[float, ...]
    air_busy_s: tuple[float, ...]


@dataclass(frozen=True)
class CarResult:
    """One car; times in s, NaN where there was no result.

    Attributes:
        name: its name.
        server: the server of its last plan, empty if it computes alone.
        accepted: frames accepted.
        answered: frames with a result.
        late: of them after the deadline.
        dropped: frames given up.
        in_flight: frames without an end, which there must not be.
        edge: results of an edge server.
        fallback: results that the car finished because the server did not.
        median_s: latency.
        p95_s: likewise.
        quality: mean expected quality over its results.
        energy_j: joules for computing, sending and waiting.
        frame_j: of them for each accepted frame.
        empty_s: when its battery was empty; infinity if it never was.
        plan_changes: how often its plan, server or shares changed.
    """

    name: str
    server: str
    accepted: int
    answered: int
    late: int
    dropped: int
    in_flight: int
    edge: int
    fallback: int
    median_s: float
    p95_s: float
    quality: float
    energy_j: float
    frame_j: float
    empty_s: float
    plan_changes: int

    @property
    def in_time(self) -> float:
        """Share of the accepted frames that were answered in time; NaN without any."""
        return (self.answered - self.late) / self.accepted if self.accepted else math.nan


@dataclass(frozen=True)
class FleetRun:
    """The outcome.

    Attributes:
        policy: its name.
        seconds: how long frames came.
        cars: every car.
        servers: names of the edge servers.
        cells: how many cells.
        totals: figures of the whole fleet.
        rounds: rounds of planning.
        samples: the fleet once a second.
        over_time: results in time, late ones and drops in each second, ``(seconds, 3)``.
    """

    policy: str
    seconds: float
    cars: Sequence[CarResult]
    servers: Sequence[str]
    cells: int
    totals: dict[str, Any]
    rounds: Sequence[Round]
    samples: Sequence[Sample]
    over_time: Floats

    @property
    def balanced(self) -> bool:
        """Whether every accepted frame ended exactly once."""
        return all(
            car.accepted == car.answered + car.dropped and not car.in_flight for car in self.cars
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; what is not finite is None."""
        return {
            "policy": self.policy,
            "seconds": self.seconds,
            "balanced": self.balanced,
            "totals": {key: _plain(value) for key, value in self.totals.items()},
            "cars": [
                {key: _plain(value) for key, value in asdict(car).items()} for car in self.cars
            ],
            "rounds": [
                {
                    "at_s": r.at_s,
                    "cost": _plain(r.cost),
                    "late": r.late,
                    "prices": [_plain(float(p)) for p in r.prices],
                }
                for r in self.rounds
            ],
        }


def jain(values: Sequence[float]) -> float:
    """Jain's fairness index, 1 / n to 1; NaN for nothing (R. Jain et al., DEC-TR-301, 1984).

    >>> jain([1.0, 1.0, 0.0, 0.0])
    0.5
    """
    x = np.array([v for v in values if not math.isnan(v)])
    squares = len(x) * float((x**2).sum())
    return float(x.sum()) ** 2 / squares if squares else math.nan


def concluded(
    scenario: FleetScenario,
    policy: str,
    cars: Sequence[FleetMember],
    servers: Sequence[Server],
    edges: Sequence[EdgeStation],
    cells: Sequence[SharedAir],
    rounds: Sequence[Round],
    samples: Sequence[Sample],
) -> FleetRun:
    """The outcome of what has ended."""
    found = [_car(car, servers) for car in cars]
    latency_s = np.concatenate([np.asarray(car.figures.latency_s) for car in cars])
    quality = np.concatenate([np.asarray(car.figures.quality) for car in cars])
    energy_j = sum(car.energy_j for car in found)
    accepted = sum(car.accepted for car in found)
    answered = sum(car.answered for car in found)
    late = sum(car.late for car in found)
    totals = {
        "cars": len(cars),
        "accepted": accepted,
        "answered": answered,
        "answered_share": answered / accepted if accepted else math.nan,
        "in_time_share": (answered - late) / accepted if accepted else math.nan,
        "late": late,
        "dropped": sum(car.dropped for car in found),
        "edge": sum(car.edge for car in found),
        "fallback": sum(car.fallback for car in found),
        "refused": sum(edge.refused for edge in edges),
        "lost": sum(edge.lost for edge in edges),
        "mean_s": float(latency_s.mean()) if len(latency_s) else math.nan,
        "median_s": _quantile(latency_s, 0.5),
        "p95_s": _quantile(latency_s, 0.95),
        "quality": float(quality.mean()) if len(quality) else math.nan,
        "frame_j": energy_j / accepted if accepted else math.nan,
        "jain_in_time": jain([car.in_time for car in found]),
        "jain_latency": jain([car.median_s for car in found]),
        "worst_in_time": min((c.in_time for c in found if c.accepted), default=math.nan),
        "edge_busy": sum(edge.busy_s for edge in edges) / (len(edges) * scenario.seconds),
        "air_busy": sum(cell.busy_s for cell in cells) / (len(cells) * scenario.seconds),
        "rounds": len(rounds),
        "drove_s": float(np.mean([min(c.empty_s, scenario.seconds) for c in found])),
    }
    return FleetRun(
        policy, scenario.seconds, found, [server.name for server in servers], len(cells), totals,
        rounds, samples, _over_time(scenario, cars),
    )  # fmt: skip


def _car(car: FleetMember, servers: Sequence[Server]) -> CarResult:
    figures, ledger = car.figures, car.head.core.ledger.summary()
    latency_s, quality = np.asarray(figures.latency_s), np.asarray(figures.quality)
    server = car.assignment.server if car.assignment is not None else -1
    return CarResult(
        name=car.member.name,
        server=servers[server].name if server >= 0 else "",
        accepted=ledger.accepted,
        answered=ledger.results,
        late=ledger.deadline_misses,
        dropped=ledger.drops,
        in_flight=ledger.in_flight,
        edge=figures.places[Place.EDGE],
        fallback=figures.places[Place.CAR_FALLBACK],
        median_s=_quantile(latency_s, 0.5),
        p95_s=_quantile(latency_s, 0.95),
        quality=float(quality.mean()) if len(quality) else math.nan,
        energy_j=car.energy_j,
        frame_j=car.energy_j / ledger.accepted if ledger.accepted else math.nan,
        empty_s=figures.empty_s,
        plan_changes=figures.plan_changes,
    )


def _over_time(scenario: FleetScenario, cars: Sequence[FleetMember]) -> Floats:
    edges = np.arange(math.ceil(scenario.seconds) + 1)
    counts = np.zeros((len(edges) - 1, 3))
    for car in cars:
        ended_s, latency_s = np.asarray(car.figures.ended_s), np.asarray(car.figures.latency_s)
        late = latency_s > car.member.group.deadline_s
        for column, times_s in enumerate(
            (ended_s[~late], ended_s[late], np.asarray(car.figures.dropped_s))
        ):
            counts[:, column] += np.histogram(times_s, edges)[0]
    return counts


def _quantile(values: Floats, share: float) -> float:
    return float(np.quantile(values, share)) if len(values) else math.nan


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
