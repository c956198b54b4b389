"""What is simulated: groups of cars, edge servers and cells, and how plans are made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from dapdee_ros.simulation.scenario import ScenarioError, Wire

Range = tuple[float, float]
"""Drawn for each from between these, evenly by their logarithms."""


def _check(where: object, name: str, good: bool, expected: str) -> None:
    if not good:
        value = getattr(where, name)
        raise ScenarioError(f"{name} is {value}; expected {expected}")


def _rising(values: Range, least: float = 0.0) -> bool:
    return least < values[0] <= values[1] < math.inf


@dataclass(frozen=True)
class Burst:
    """A while in which frames come more often.

    Attributes:
        at_s: when it begins.
        for_s: how long it lasts.
        times: how many times as many frames come.

    Raises:
        ScenarioError: at construction, for an invalid value.
    """

    at_s: float
    for_s: float = 5.0
    times: float = 2.0

    def __post_init__(self) -> None:
        _check(self, "at_s", 0 <= self.at_s < math.inf, "a finite number of 0 or more")
        _check(self, "for_s", 0 < self.for_s < math.inf, "a finite number above 0")
        _check(self, "times", 0 < self.times <= 100, "a number above 0, to 100")


@dataclass(frozen=True)
class CarGroup:
    """Cars that differ only by what is drawn for each.

    Attributes:
        count: how many.
        model: model folder or name.
        codecs: codecs or groups of them.
        slowdown: of the car's profile.
        uplink_bps: rate of a car that has its cell to itself.
        rate_hz: frames a second.
        jitter: most that a frame comes early or late, as a share of the time between two, to 0.5.
        bursts: when frames come more often.
        deadline_s: from an image to its result.
        max_in_flight: frames between car and edge server.
        latency_weight: weight of a second.
        energy_weight: what a joule counts, in s.
        quality_weight_s: seconds that a whole point of quality is worth; None: only the best
            quality that can be had in time.
        quality_tolerance: quality that may be given up, where that is None.
        battery_j: what a full battery holds for computing and sending; 0: no end.
        battery_share: how full it is at first.
        battery_exponent: how much more a joule counts as the battery runs down, as the manager has
            it.
        base_w: what the battery supplies beside that.
        compute_w: power of computing; 0: the profile's.
        send_j_per_byte: likewise.
        wait_w: power while a frame is in flight, likewise.

    Raises:
        ScenarioError: at construction, for an invalid value.
    """

    count: int = 20
    model: str = "roadscenes-det"
    codecs: Sequence[str] = ("all",)
    slowdown: Range = (0.7, 1.5)
    uplink_bps: Range = (10e6, 40e6)
    rate_hz: float = 3.0
    jitter: float = 0.2
    bursts: Sequence[Burst] = ()
    deadline_s: float = 0.5
    max_in_flight: int = 2
    latency_weight: float = 1.0
    energy_weight: float = 0.0
    quality_weight_s: float | None = 1.0
    quality_tolerance: float = 0.005
    battery_j: float = 0.0
    battery_share: Range = (1.0, 1.0)
    battery_exponent: float = 0.0
    base_w: float = 0.0
    compute_w: float = 0.0
    send_j_per_byte: float = 0.0
    wait_w: float = 0.0

    def __post_init__(self) -> None:
        above = "a finite number above 0"
        _check(self, "count", self.count >= 1, "a whole number of 1 or more")
        for name in ("rate_hz", "deadline_s", "latency_weight"):
            _check(self, name, 0 < getattr(self, name) < math.inf, above)
        for name in ("slowdown", "uplink_bps", "battery_share"):
            _check(self, name, _rising(getattr(self, name)), "one or two rising numbers above 0")
        _check(self, "battery_share", self.battery_share[1] <= 1, "shares to 1")
        _check(self, "jitter", 0 <= self.jitter <= 0.5, "0 to 0.5 of the time between two frames")
        for name in ("energy_weight", "battery_j", "battery_exponent", "base_w"):
            value = getattr(self, name)
            _check(self, name, 0 <= value < math.inf, "a finite number of 0 or more")


@dataclass(frozen=True)
class ServerGroup:
    """Edge servers that differ only by what is drawn for each.

    Attributes:
        count: how many.
        slowdown: of the edge server's profile, with nobody on it.
        rtt_s: round trip of an empty message, drawn for each pair of a car and a server.
        down_s: from when to when they are down.

    Raises:
        ScenarioError: at construction, for an invalid value.
    """

    count: int = 2
    slowdown: Range = (0.2, 0.4)
    rtt_s: Range = (0.004, 0.02)
    down_s: Sequence[Range] = ()

    def __post_init__(self) -> None:
        _check(self, "count", self.count >= 1, "a whole number of 1 or more")
        for name in ("slowdown", "rtt_s"):
            _check(self, name, _rising(getattr(self, name)), "one or two rising numbers above 0")
        ends = [t for pair in self.down_s for t in pair]
        rising = all(a < b for a, b in pairwise(ends))
        _check(self, "down_s", rising and min(ends, default=0) >= 0, "pairs of times that rise")


@dataclass(frozen=True)
class FleetScenario:
    """Everything about a simulation of a fleet but the policy.

    Attributes:
        cars: groups of cars.
        servers: groups of edge servers.
        cells: how many radio cells; cars are dealt to them in turn.
        seconds: how long frames arrive.
        seed: of everything that is drawn.
        replan_s: between two rounds of planning.
        detect_s: after this time a failed or returned server is known.
        reach: how many servers a car may use, those with the shortest round trips.
        wire: the overheads of messages.

    Raises:
        ScenarioError: at construction, for an invalid value.
    """

    cars: Sequence[CarGroup] = field(default_factory=lambda: (CarGroup(),))
    servers: Sequence[ServerGroup] = field(default_factory=lambda: (ServerGroup(),))
    cells: int = 2
    seconds: float = 60.0
    seed: int = 0
    replan_s: float = 5.0
    detect_s: float = 0.5
    reach: int = 3
    wire: Wire = field(default_factory=Wire)

    def __post_init__(self) -> None:
        _check(self, "cars", len(self.cars) > 0, "one group of cars or more")
        _check(self, "servers", len(self.servers) > 0, "one group of servers or more")
        for name in ("cells", "reach"):
            _check(self, name, getattr(self, name) >= 1, "a whole number of 1 or more")
        for name in ("seconds", "replan_s"):
            _check(self, name, 0 < getattr(self, name) < math.inf, "a finite number above 0")
        _check(self, "detect_s", 0 <= self.detect_s < math.inf, "a finite number of 0 or more")
        _check(self, "seed", self.seed >= 0, "a whole number of 0 or more")
