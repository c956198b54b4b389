"""What a plan minimises: weights over a frame's expected latency, the period and the car's energy.

Each of the three rises with the seconds of every stage and with the bytes that are sent, and
weights are 0 or more. So a candidate that another one beats in all of these is never the best for
any objective, and a scan of those that are left is exact for every one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from dapdee_ros.planning.errors import ObjectiveError

AUTO, WEIGHTED = "auto", "weights"

_BATTERY_STEP = 0.05


@dataclass(frozen=True, slots=True)
class Objective:
    """What is minimised: ``latency * T + period * P + energy_s_per_j * E``, in s.

    Attributes:
        latency: weight of the expected latency T.
        period: weight of the period P.
        energy_s_per_j: weight of the car's expected energy E: the seconds that a joule is worth.

    Raises:
        ObjectiveError: at construction, for a weight that is negative or not finite, or where all
            of them are 0.

    >>> Objective(latency=1.0, period=2.0).of(0.2, 0.1)
    0.4
    >>> str(Objective(latency=1.0, period=2.0)), str(LATENCY), str(PERIOD)
    ('1 latency + 2 period', 'latency', 'throughput')
    """

    latency: float = 0.0
    period: float = 0.0
    energy_s_per_j: float = 0.0

    def __post_init__(self) -> None:
        weights = self.weights
        if not all(math.isfinite(w) and w >= 0 for w in weights) or not any(weights):
            raise ObjectiveError(
                f"weights of latency, period and energy are {weights[0]:g}, {weights[1]:g} and "
                f"{weights[2]:g}; expected finite numbers of 0 or more, one of them above 0"
            )

    @property
    def weights(self) -> tuple[float, float, float]:
        """Of latency, period and energy."""
        return (self.latency, self.period, self.energy_s_per_j)

    def of(self, latency_s: Any, period_s: Any, energy_j: Any = 0.0) -> Any:
        """The objective of one plan or of many, in s.

        Args:
            latency_s: expected latency, a number or ``(n,)``.
            period_s: likewise.
            energy_j: likewise.
        """
        # What has no weight may be infinite: a plan that needs a link that is gone.
        values = (latency_s, period_s, energy_j)
        weighted = zip(self.weights, values, strict=True)
        return sum((weight * value for weight, value in weighted if weight), 0.0)

    def on_battery(self, level: float, exponent: float) -> Objective:
        """The same for a car with so much left in its battery: a joule counts 1 / level^exponent.

        With exponent 1 a joule counts by its share of what is left: at 20 % five times as much as
        with a full battery. Below 5 % it counts no more than there, and in steps of 5 %, so that
        the objective does not change with every reading.

        Args:
            level: what is left, 0 to 1; NaN if there is no battery.
            exponent: how much the level counts, 0 (not at all) or more.

        >>> Objective(1.0, energy_s_per_j=0.1).on_battery(0.2, 1.0).energy_s_per_j
        0.5
        """
        if not (self.energy_s_per_j and exponent) or math.isnan(level):
            return self
        steps = min(max(math.ceil(level / _BATTERY_STEP - 1e-9), 1), round(1 / _BATTERY_STEP))
        factor = (steps * _BATTERY_STEP) ** -exponent
        return Objective(self.latency, self.period, self.energy_s_per_j * factor)

    @property
    def is_latency(self) -> bool:
        """Whether nothing but the latency counts."""
        return not self.period and not self.energy_s_per_j

    @property
    def is_period(self) -> bool:
        """Whether nothing but the period counts."""
        return not self.latency and not self.energy_s_per_j

    @property
    def favours_latency(self) -> bool:
        """Whether the latency counts at least as much as the period.

        For policies whose authors know only these two.
        """
        return self.latency >= self.period

    @property
    def words(self) -> str:
        """What it is the lowest of, in words."""
        if self.is_latency:
            return "latency"
        return "weighted sum" if self.latency or self.energy_s_per_j else "period"

    def __str__(self) -> str:
        """Its name, or its weights."""
        for name, named in NAMED.items():
            if named == self:
                return name
        parts = zip(self.weights, ("latency", "period", "energy"), strict=True)
        return " + ".join(f"{weight:g} {name}" for weight, name in parts if weight)


LATENCY, PERIOD = Objective(latency=1.0), Objective(period=1.0)

NAMED: Mapping[str, Objective] = MappingProxyType({"latency": LATENCY, "throughput": PERIOD})
"""The objectives that have a name: for a light load, and for a heavy one."""


def objective_named(mode: str | Objective, heavy: bool) -> Objective:
    """The objective that a mode names; one that is given as such is returned.

    Args:
        mode: a name, ``auto`` or an objective.
        heavy: whether ``auto`` is to mean the period.

    Raises:
        ObjectiveError: for any other mode.
    """
    if isinstance(mode, Objective):
        return mode
    if mode == AUTO:
        return PERIOD if heavy else LATENCY
    if mode in NAMED:
        return NAMED[mode]
    raise ObjectiveError(
        f"mode is {mode!r}; expected one of {', '.join([*NAMED, AUTO])}, or an Objective"
    )
