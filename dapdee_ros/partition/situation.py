"""What a plan is asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from dapdee_ros.partition.conditions import HardConditions
from dapdee_ros.partition.cost import (
    FREE,
    EnergyPrices,
    LinkState,
    LoadState,
    check_deadline,
    resolve_objective,
)
from dapdee_ros.partition.objective import Objective
from dapdee_ros.partition.plan import Plan
from dapdee_ros.partition.pricing import price_plan
from dapdee_ros.partition.view import check_ratio

if TYPE_CHECKING:
    from dapdee_ros.partition.policy import Problem

# Given the car seconds and the bytes of some plans, (n,) each: seconds from the end of each head
# to the arrival of its result, the edge server's own seconds left out, (n,).
TrueTransfer = Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True)
class Situation:
    """What a plan is asked for; what ``CandidateTable.decide`` and policies are asked with.

    Attributes:
        link: the link as estimated.
        load: slowdowns of both sides and the load score.
        deadline_s: seconds from image to result.
        mode: what to minimise: an objective, or the name of one (``latency``, ``throughput``), or
            ``auto`` for the one that suits the load.
        priority: with mode ``auto`` a priority task is planned for latency whatever the load.
        quality_floor: plans below this quality are not considered, 0 to 1.
        quality_tolerance: quality that may be given up for a lower objective, 0 to 1.
        period_tolerance: share by which a period, or a sum that it or the energy is part of, may be
            above the lowest and still count as equal to it; of the policies here only ``exact`` and
            ``oracle`` heed it.
        keep_raw_on_car: never send the input, nor what it could be computed back from.
        gates: whether plans with a gate are considered.
        risk: judge the deadline at the rate that the link falls below with this probability; 0.5 is
            the estimate itself.
        most_period_s: seconds between frames; a plan with a longer period could not keep up and
            would have to drop frames, so it counts as not meeting the deadline. With a gate the
            mean counts, but a frame that goes on may take at most twice as long. Of the policies
            here only ``exact`` and ``oracle`` heed it.
        energy: prices of the car's energy.
        true_transfer_s: the link's future, which only an experiment knows; for the oracle.

    Raises:
        PlanningError: at construction, for a deadline, mode or tolerance that makes no sense.
    """

    link: LinkState
    load: LoadState
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
    energy: EnergyPrices = FREE
    true_transfer_s: TrueTransfer | None = None

    def __post_init__(self) -> None:
        check_deadline(self.deadline_s, self.most_period_s)
        check_ratio("quality_tolerance", self.quality_tolerance)
        check_ratio("period_tolerance", self.period_tolerance)
        resolve_objective(self.mode, self.load)

    @property
    def conditions(self) -> HardConditions:
        """What no plan may break."""
        return HardConditions(self.keep_raw_on_car, self.quality_floor, self.gates)

    @property
    def objective(self) -> Objective:
        """What the mode comes down to."""
        return resolve_objective(self.mode, self.load, self.priority)

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
            self.link,
            self.load,
            self.deadline_s,
            self.objective,
            gate=gate,
            gate_threshold=gate_threshold,
            reason=reason,
            energy=self.energy,
        )
