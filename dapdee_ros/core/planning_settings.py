"""What of the planning can be set while it runs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dapdee_ros.core.frames import DEADLINE_BOUNDS_S, WINDOW_BOUNDS
from dapdee_ros.core.settings import SettingError, check_settings, setting
from dapdee_ros.partition.conditions import HardConditions
from dapdee_ros.partition.cost import LinkState, LoadState
from dapdee_ros.partition.keeper import KeeperSettings
from dapdee_ros.partition.objective import AUTO, NAMED, WEIGHTED, Objective
from dapdee_ros.partition.policy import Situation


@dataclass(frozen=True)
class PlanningSettings:
    """How the manager plans. The plan takes deadline and window to the head.

    Raises:
        SettingError: at construction, for a value that makes no sense.
    """

    policy: str = setting(
        "exact",
        "Who decides: exact, dapdee, dads, neurosurgeon, edgent, eddi, branchynet, edge-only, "
        "device-only, one that a package brings, or package.module:Class of your own (only at the "
        "start); with +codec or +any behind the name for those that send plain tensors.",
        live=True,
        note="who decides: exact, dapdee, dads, neurosurgeon, edgent, eddi, branchynet, edge-only, "
        "device-only, or package.module:Class (only at the start); +codec or +any behind it",
    )
    gates: bool = setting(
        True,
        "Let a confident early exit end a frame on the car where that pays.",
        live=True,
    )
    deadline_s: float = setting(
        0.3,
        "Seconds from an image to its result that a plan has to meet. The plan tells the head, "
        "which keeps it from the next frame on.",
        unit="s",
        bounds=DEADLINE_BOUNDS_S,
        live=True,
        note="seconds from an image to its result; the plan tells the head",
    )
    priority: bool = setting(
        False,
        "The task has priority: plan for the lowest latency whatever the load.",
        live=True,
        note="plan for latency whatever the load",
    )
    mode: str = setting(
        AUTO,
        "What to minimise: the latency of a frame, the period between frames (throughput), or a "
        "sum of both with the weights below; auto is the latency under a light load and the "
        "period under a heavy one, by the load score.",
        choices=(AUTO, *NAMED, WEIGHTED),
        live=True,
        note="what to minimise: auto, latency, throughput or weights",
    )
    latency_weight: float = setting(
        1.0,
        "With mode weights: weight of a frame's expected latency.",
        bounds=(0.0, 1000.0),
        live=True,
        note="with mode weights: of a frame's expected latency",
    )
    period_weight: float = setting(
        1.0,
        "With mode weights: weight of the period between frames. With twice the latency's, a "
        "millisecond less of the period is worth two of the latency.",
        bounds=(0.0, 1000.0),
        live=True,
        note="with mode weights: of the period between frames",
    )
    quality_floor: float = setting(
        0.0,
        "Least quality that a plan may have: of a classifier, the share of right answers.",
        bounds=(0.0, 1.0),
        live=True,
        note="least quality that a plan may have",
    )
    quality_tolerance: float = setting(
        0.005,
        "Quality that may be given up for a lower latency or period.",
        bounds=(0.0, 1.0),
        live=True,
    )
    period_tolerance: float = setting(
        0.01,
        "Where throughput counts: share by which a period, or a weighted sum, may be above the "
        "lowest and still count as equal to it; among equals the lowest latency decides.",
        bounds=(0.0, 1.0),
        live=True,
        note="where throughput counts, periods this close are equal and latency decides",
    )
    keep_raw_on_car: bool = setting(
        False,
        "Never send the image itself, nor a tensor that it could be computed back from.",
        live=True,
        note="never send the image itself",
    )
    pinned_plan: str = setting(
        "",
        "A plan to hold on to, such as 'exit=4 boundary=image codec=f32'; without boundary the "
        "car finishes alone. Empty: decide.",
        live=True,
        note='e.g. "exit=4 boundary=image codec=f32"; empty: decide',
    )
    risk: float = setting(
        0.5,
        "Judge the deadline at the rate that the link falls below with this probability; 0.5 "
        "is the estimate itself, smaller is more careful.",
        bounds=(0.01, 0.5),
        live=True,
        note="judge the deadline at this quantile of the link's rate",
    )
    frame_utilisation: float = setting(
        0.85,
        "A plan may take at most this share of the time between two frames, or it would fall "
        "behind and drop some; 0: frames may be dropped.",
        bounds=(0.0, 1.0),
        live=True,
        note="most share of the time between two frames that a plan takes; 0: may drop",
    )
    max_in_flight: int = setting(
        4,
        "Most frames between head and edge; it bounds the throughput of what is sent. The plan "
        "tells the head, which keeps it from the next frame on.",
        bounds=WINDOW_BOUNDS,
        live=True,
        note="most frames between head and edge; the plan tells the head",
    )
    plan_margin: float = setting(
        0.1,
        "Share of latency or period that a new plan has to save to be worth a change.",
        bounds=(0.0, 1.0),
        live=True,
        note="share that a new plan has to save to be worth a change",
    )
    min_dwell_s: float = setting(
        0.25,
        "Seconds that a plan stays at least, unless it cannot be kept; less where a new one saves "
        "more than a fifth.",
        unit="s",
        bounds=(0.0, 60.0),
        live=True,
        note="seconds that a plan stays at least; less where a new one saves more than a fifth",
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.mode == WEIGHTED and not (self.latency_weight or self.period_weight):
            raise SettingError(
                "latency_weight and period_weight are both 0 with mode weights; expected one of "
                "them above 0"
            )

    @property
    def wanted(self) -> str | Objective:
        """What to minimise, as ``Situation.mode`` has it."""
        if self.mode != WEIGHTED:
            return self.mode
        return Objective(self.latency_weight, self.period_weight)

    @property
    def conditions(self) -> HardConditions:
        """What no plan may break."""
        return HardConditions(self.keep_raw_on_car, self.quality_floor, self.gates)

    def situation(
        self,
        link: LinkState,
        load: LoadState,
        mode: Objective | None = None,
        most_period_s: float = math.inf,
    ) -> Situation:
        """What a policy is asked with.

        Args:
            link: the link as estimated.
            load: slowdowns of both sides and the load score.
            mode: what to minimise, where that is settled; None: what the settings want.
            most_period_s: seconds between frames that a plan has to keep up with.
        """
        return Situation(
            link,
            load,
            self.deadline_s,
            mode or self.wanted,
            priority=self.priority,
            quality_floor=self.quality_floor,
            quality_tolerance=self.quality_tolerance,
            period_tolerance=self.period_tolerance,
            keep_raw_on_car=self.keep_raw_on_car,
            gates=self.gates,
            risk=self.risk,
            most_period_s=most_period_s,
        )

    @property
    def keeper(self) -> KeeperSettings:
        """How reluctantly plans change."""
        return KeeperSettings(self.plan_margin, self.min_dwell_s, self.quality_tolerance)
