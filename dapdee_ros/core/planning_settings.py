"""Settings of the planner, which take effect while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dapdee_ros.core.frames import DEADLINE_BOUNDS_S, WINDOW_BOUNDS
from dapdee_ros.core.settings import SettingError, check_settings, setting
from dapdee_ros.planning.conditions import HardConditions
from dapdee_ros.planning.cost import EnergyPrices
from dapdee_ros.planning.keeper import KeeperSettings
from dapdee_ros.planning.objective import AUTO, NAMED, WEIGHTED, Objective
from dapdee_ros.planning.policy import Situation
from dapdee_ros.planning.sites import Hop, Site


@dataclass(frozen=True)
class PlanningSettings:
    """How the manager plans. The plan takes deadline and window to the head.

    Raises:
        SettingError: at construction, for an invalid value.
    """

    policy: str = setting(
        "exact",
        "Policy that plans: exact, dapdee, dads, neurosurgeon, edgent, eddi, branchynet, "
        "edge-only, device-only, one from an installed package, or package.module:Class of your "
        "own (only at startup); add +codec or +any to the name of one that sends plain tensors.",
        live=True,
        note="exact, dapdee, dads, neurosurgeon, edgent, eddi, branchynet, edge-only, "
        "device-only, or package.module:Class (only at startup); may end in +codec or +any",
    )
    gates: bool = setting(
        True,
        "Let a confident early exit end a frame on the car where that helps.",
        live=True,
    )
    deadline_s: float = setting(
        0.3,
        "Seconds from an image to its result that a plan has to meet. It is part of the plan, "
        "and the head applies it from the next frame on.",
        unit="s",
        bounds=DEADLINE_BOUNDS_S,
        live=True,
        note="seconds from an image to its result; part of the plan",
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
    energy_weight: float = setting(
        0.0,
        "With mode weights: weight of the car's energy, the seconds that a joule is worth. Needs "
        "watts, from the car's profile or below.",
        unit="s/J",
        bounds=(0.0, 1000.0),
        live=True,
        note="with mode weights: of the car's energy, seconds per joule",
    )
    battery_exponent: float = setting(
        1.0,
        "How much more energy counts as the battery runs down: energy_weight is divided by the "
        "level to this power. 1: at 20 % a joule counts five times; 0: the level does not count.",
        bounds=(0.0, 3.0),
        live=True,
        note="energy_weight is divided by the battery's level to this power",
    )
    compute_w: float = setting(
        0.0,
        "Power of the car while it computes. 0: what its profile says.",
        unit="W",
        bounds=(0.0, 10000.0),
        live=True,
        note="power of the car while it computes; 0: from its profile",
    )
    wait_w: float = setting(
        0.0,
        "Power of the car while it waits for an answer. 0: what its profile says.",
        unit="W",
        bounds=(0.0, 10000.0),
        live=True,
        note="power of the car while it waits; 0: from its profile",
    )
    send_j_per_byte: float = setting(
        0.0,
        "Energy that sending a byte takes. 0: what the car's profile says.",
        unit="J",
        bounds=(0.0, 0.001),
        live=True,
        note="energy that sending a byte takes; 0: from the car's profile",
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
        "lowest and still count as equal to it; among equals the lowest latency decides, or the "
        "least work of the car where that limits them all.",
        bounds=(0.0, 1.0),
        live=True,
        note="where throughput counts, periods this close are equal and latency decides",
    )
    keep_raw_on_car: bool = setting(
        False,
        "Never send the image itself, nor a tensor from which it could be reconstructed.",
        live=True,
        note="never send the image itself",
    )
    keep_raw_on_car_ssim: float = setting(
        1.0,
        "With keep_raw_on_car: never send anything either from which an attack restored "
        "the image with a higher structural similarity than this, nor what nobody has attacked "
        "(`dapdee privacy`). 1: only the image itself, and what may hold all of it, stay.",
        bounds=(0.0, 1.0),
        live=True,
        note="with it: the highest similarity with which an attack may restore the image",
    )
    pinned_plan: str = setting(
        "",
        "A fixed plan, such as 'exit=4 boundary=image codec=f32'; without boundary the "
        "car finishes alone. Empty: decide.",
        live=True,
        note='e.g. "exit=4 boundary=image codec=f32"; empty: decide',
    )
    risk: float = setting(
        0.5,
        "Check the deadline at the rate that the link falls below with this probability; 0.5 is "
        "the estimate itself, smaller is more cautious.",
        bounds=(0.01, 0.5),
        live=True,
        note="check the deadline at this quantile of the link's rate",
    )
    frame_utilisation: float = setting(
        0.85,
        "Maximum share of the time between two frames that a plan may take; a slower plan would "
        "drop frames. 0: frames may be dropped.",
        bounds=(0.0, 1.0),
        live=True,
        note="maximum share of the time between frames that a plan takes; 0: may drop frames",
    )
    max_in_flight: int = setting(
        4,
        "Most frames in flight between head and edge; limits the throughput over the link. It is "
        "part of the plan, and the head applies it from the next frame on.",
        bounds=WINDOW_BOUNDS,
        live=True,
        note="most frames in flight between head and edge; part of the plan",
    )
    cell: str = setting(
        "",
        "Name of the radio cell that this car shares with others, the same for all of them: a "
        "fleet node then makes a price for its air. Empty: its link is not shared.",
        live=True,
        note="radio cell that this car shares with others; empty: none",
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
        "Minimum seconds that a plan stays in force, unless it is not allowed any more; less if "
        "a new one saves more than a fifth.",
        unit="s",
        bounds=(0.0, 60.0),
        live=True,
        note="minimum seconds that a plan stays in force; less if a new one saves more than a "
        "fifth",
    )

    def __post_init__(self) -> None:
        check_settings(self)
        weights = (self.latency_weight, self.period_weight, self.energy_weight)
        if self.mode == WEIGHTED and not any(weights):
            raise SettingError(
                "latency_weight, period_weight and energy_weight are all 0 with mode weights; "
                "expected one of them above 0"
            )

    @property
    def wanted(self) -> str | Objective:
        """What to minimise, as ``Situation.mode`` has it."""
        if self.mode != WEIGHTED:
            return self.mode
        return Objective(self.latency_weight, self.period_weight, self.energy_weight)

    def energy(self, profiled: EnergyPrices) -> EnergyPrices:
        """The prices of the car's energy: those that are set, else those of its profile."""
        return profiled.with_known(self.compute_w, self.send_j_per_byte, self.wait_w)

    @property
    def conditions(self) -> HardConditions:
        """What no plan may break."""
        return HardConditions(
            self.keep_raw_on_car,
            self.quality_floor,
            self.gates,
            keep_raw_on_car_ssim=self.keep_raw_on_car_ssim,
        )

    def situation(
        self,
        sites: tuple[Site, ...],
        hops: tuple[Hop, ...],
        mode: Objective | None = None,
        **facts: Any,
    ) -> Situation:
        """The input of a policy.

        Args:
            sites: the machines as they are now.
            hops: the links between them as estimated.
            mode: what to minimise, where that is settled; None: what the settings want.
            facts: other attributes of ``Situation``: what is known of frames and load.
        """
        return Situation(
            sites,
            hops,
            self.deadline_s,
            mode or self.wanted,
            priority=self.priority,
            quality_floor=self.quality_floor,
            quality_tolerance=self.quality_tolerance,
            period_tolerance=self.period_tolerance,
            keep_raw_on_car=self.keep_raw_on_car,
            keep_raw_on_car_ssim=self.keep_raw_on_car_ssim,
            gates=self.gates,
            risk=self.risk,
            **facts,
        )

    @property
    def keeper(self) -> KeeperSettings:
        """The hysteresis of plan changes."""
        return KeeperSettings(self.plan_margin, self.min_dwell_s, self.quality_tolerance)
