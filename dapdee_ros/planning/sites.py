"""Where a model can run, and over what: sites in the order in which a frame goes, hops between.

A frame begins at site 0, the car. Hop k leads from site k - 1 to site k, so K hops join K + 1
sites. A car with one edge server is the case K = 1; nothing in here knows of two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from dapdee_ros.planning.errors import LinkError, LoadError, PlanningError
from dapdee_ros.planning.overhead import NO_OVERHEAD, Overhead

CAR, EDGE = "car", "edge"
"""Ids of the sites that there are today."""


def own_name(server: str) -> str:
    """An edge server's name where it was given one; empty for the only one, which needs none."""
    return "" if server == EDGE else server


@dataclass(frozen=True, slots=True)
class Site:
    """A machine that computes, as it is now.

    Attributes:
        id: its name in plans, messages and logs.
        slowdown: measured over profiled time (1: as profiled).
        overhead: what a frame costs it beside the network.

    Raises:
        LoadError: at construction, for a slowdown that is not above 0.
    """

    id: str
    slowdown: float = 1.0
    overhead: Overhead = NO_OVERHEAD

    def __post_init__(self) -> None:
        if not (math.isfinite(self.slowdown) and self.slowdown > 0):
            raise LoadError(
                f"{self.id}_slowdown is {self.slowdown}; expected a finite number above 0"
            )


@dataclass(frozen=True, slots=True)
class Hop:
    """A link between two neighbouring sites, as it is now.

    Attributes:
        rate_bps: rate towards the far site in bit/s; 0 means that nothing gets through.
        rtt_s: round-trip time of a small packet in s.
        connected: False if the far site does not answer.
        relative_spread: standard deviation of the rate's estimate over the estimate (0: certain).

    Raises:
        LinkError: at construction, for a negative, infinite or NaN value.
    """

    rate_bps: float
    rtt_s: float = 0.0
    connected: bool = True
    relative_spread: float = 0.0

    def __post_init__(self) -> None:
        for name in ("rate_bps", "rtt_s", "relative_spread"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise LinkError(f"{name} is {value}; expected a finite number of 0 or more")

    @property
    def usable(self) -> bool:
        """Whether a boundary can be sent at all."""
        return self.connected and self.rate_bps > 0

    def pessimistic_bps(self, risk: float) -> float:
        """The rate that the link falls below with probability ``risk``, in bit/s.

        The estimate's error is taken as log-normal, so the rate stays above 0 whatever the spread.

        Args:
            risk: probability in (0, 0.5]; 0.5 is the estimate itself.
        """
        return self.rate_bps * math.exp(_normal_quantile(risk) * self.relative_spread)


NO_HOP = Hop(0.0, connected=False)
"""A link over which nothing can be sent."""


def car_and_edge(car_slowdown: float = 1.0, edge_slowdown: float = 1.0) -> tuple[Site, ...]:
    """A car and one edge server, each so many times slower than its profile."""
    return (Site(CAR, car_slowdown), Site(EDGE, edge_slowdown))


def check_route(sites: Sequence[Site], hops: Sequence[Hop]) -> None:
    """Raise PlanningError unless the hops join the sites, whose ids differ."""
    if not sites or len(hops) != len(sites) - 1:
        raise PlanningError(f"{len(hops)} hops cannot join {len(sites)} sites; expected one fewer")
    if len({site.id for site in sites}) < len(sites):
        raise PlanningError(f"two sites share an id: {', '.join(site.id for site in sites)}")


@lru_cache(maxsize=64)
def _normal_quantile(probability: float) -> float:
    if not 0 < probability <= 0.5:
        raise PlanningError(
            f"risk is {probability}; expected a probability above 0 and up to 0.5 (the estimate)"
        )
    # Imported late: the manager's process stays small unless a risk is set.
    from statistics import NormalDist

    return NormalDist().inv_cdf(probability)
