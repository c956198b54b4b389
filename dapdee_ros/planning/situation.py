"""What a plan is asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from dapdee_ros.exits.exposure import allowed_exposure
from dapdee_ros.planning.conditions import HardConditions
from dapdee_ros.planning.cost import FREE, EnergyPrices, check_deadline, resolve_objective
from dapdee_ros.planning.errors import PlanningError
from dapdee_ros.planning.objective import Objective
from dapdee_ros.planning.overhead import NO_OVERHEAD
from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.pricing import price_plan
from dapdee_ros.planning.sites import Hop, Site, check_route
from dapdee_ros.planning.tolls import NO_TOLLS, Tolls
from dapdee_ros.planning.view import check_ratio

if TYPE_CHECKING:
    from dapdee_ros.planning.policy import Problem

# Given the car seconds and the bytes of some plans, (n,) each: seconds from the end of each head
# to the arrival of its result, the edge server's own seconds left out, (n,).
TrueTransfer = Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True)
class Situation:
    """What a plan is asked for; what ``CandidateTable.decide`` and policies are asked with.

    Attributes:
        sites: the machines that can compute, the car first, as they are now.
        hops: the links between them, as estimated.
        deadline_s: seconds from image to result.
        mode: what to minimise: an objective, or the name of one (``latency``, ``throughput``), or
            ``auto`` for the one that suits the load.
        priority: with mode ``auto`` a priority task is planned for latency whatever the load.
        quality_floor: plans below this quality are not considered, 0 to 1.
        quality_tolerance: quality that may be given up for a lower objective, 0 to 1.
        period_tolerance: share by which a period, or a sum that it or the energy is part of, may be
            above the lowest and still count as equal to it (``CandidateTable.decide``); of the
            policies here only ``exact`` and ``oracle`` heed it.
        keep_raw_on_car: never send the input, nor what it could be computed back from.
        keep_raw_on_car_ssim: with it, the highest similarity with which an attack may have restored
            the image from what is sent (``HardConditions``); 1: any.
        gates: whether plans with a gate are considered.
        risk: judge the deadline at the rate that the link falls below with this probability; 0.5 is
            the estimate itself.
        most_period_s: seconds between frames; a plan with a longer period could not keep up and
            would have to drop frames, so it counts as not meeting the deadline. With a gate the
            mean counts, but a frame that goes on may take at most twice as long. Of the policies
            here only ``exact`` and ``oracle`` heed it.
        window: how many frames may be computed on, sent or waited for at a time; infinity: any.
        load_score: how loaded the car is, 0 (idle) to 1; decides about mode ``auto``.
        load_indicators: what the score is made of (``cpu``, ``memory``, ``uplink``, ``delay``,
            ``battery``, ``deadline``), each 0 to 1 with 1 = loaded; for policies that score the
            load themselves.
        energy: prices of the car's energy.
        tolls: what other cars ask for of edge server and cell, as a fleet node says. Of the
            policies here only ``exact`` heeds it.
        true_transfer_s: the link's future, which only an experiment knows; for the oracle.

    Raises:
        PlanningError: at construction, for sites that the hops do not join, or a deadline, mode,
            window, score or tolerance that makes no sense.
    """

    sites: tuple[Site, ...]
    hops: tuple[Hop, ...]
    deadline_s: float
    mode: str | Objective = "auto"
    priority: bool = False
    quality_floor: float = 0.0
    quality_tolerance: float = 0.0
    period_tolerance: float = 0.0
    keep_raw_on_car: bool = False
    gates: bool = True
    risk: float = 0.5
    most_period_s: float = math.inf
    window: float = math.inf
    load_score: float = 0.0
    load_indicators: Mapping[str, float] = field(default_factory=dict)
    energy: EnergyPrices = FREE
    true_transfer_s: TrueTransfer | None = None
    keep_raw_on_car_ssim: float = 1.0
    tolls: Tolls = NO_TOLLS

    def __post_init__(self) -> None:
        check_route(self.sites, self.hops)
        check_deadline(self.deadline_s, self.most_period_s)
        check_ratio("quality_tolerance", self.quality_tolerance)
        check_ratio("period_tolerance", self.period_tolerance)
        check_ratio("load_score", self.load_score)
        check_ratio("keep_raw_on_car_ssim", self.keep_raw_on_car_ssim)
        if not self.window >= 1:
            raise PlanningError(f"window is {self.window}; expected 1 or more frames")
        resolve_objective(self.mode, self.load_score)

    @property
    def conditions(self) -> HardConditions:
        """What no plan may break."""
        return HardConditions(
            self.keep_raw_on_car,
            self.quality_floor,
            self.gates,
            keep_raw_on_car_ssim=self.keep_raw_on_car_ssim,
        )

    @property
    def most_exposure(self) -> float:
        """The highest exposure that a plan may have (``exits.exposure``); infinity: any."""
        return allowed_exposure(self.keep_raw_on_car, self.keep_raw_on_car_ssim)

    @property
    def objective(self) -> Objective:
        """What the mode comes down to."""
        return resolve_objective(self.mode, self.load_score, self.priority)

    @property
    def waiting_worth(self) -> float:
        """What a second of waiting counts, in s; where throughput counts, a second of the period.

        A car that plans for its period alone still holds up others, and is held up.
        """
        objective = self.objective
        return objective.latency + objective.period + objective.energy_s_per_j * self.energy.wait_w

    @property
    def link(self) -> Hop:
        """The car's own link, over which everything is sent that leaves it."""
        return self.hops[0]

    @property
    def car_slowdown(self) -> float:
        """How much slower than its profile the car is."""
        return self.sites[0].slowdown

    def over(self, *hops: Hop) -> Situation:
        """The same over other links."""
        return replace(self, hops=hops)

    @property
    def without_overheads(self) -> Situation:
        """The same where a frame costs no site anything beside the network."""
        if not any(site.overhead.any for site in self.sites):
            return self
        return replace(self, sites=tuple(replace(s, overhead=NO_OVERHEAD) for s in self.sites))

    def price(
        self,
        problem: Problem,
        exit_number: int,
        boundary: Sequence[str],
        codec: str,
        reason: str,
        *,
        gate: int | None = None,
        gate_threshold: float | None = None,
    ) -> Plan:
        """A plan with what it costs now; see ``pricing.price_plan`` for what it raises."""
        return price_plan(
            problem.basis,
            exit_number,
            boundary,
            codec,
            self,
            gate=gate,
            gate_threshold=gate_threshold,
            reason=reason,
        )
