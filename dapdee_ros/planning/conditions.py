"""Hard conditions that no plan may break, whichever policy made it.

They are only checked here. A plan is checked by what it would do (exit, boundary, codec and gate),
never by its own claims: its quality is looked up in the calibration. Neither a profile nor a link
is needed, so the car can check the plans that it receives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from dapdee_ros.exits.exposure import (
    NOT_ATTACKED,
    THE_IMAGE,
    UNMEASURED,
    Exposures,
    allowed_exposure,
)
from dapdee_ros.graph.dag import ModelDag
from dapdee_ros.planning.codec_cost import CodecCost, GateOption, quality_after
from dapdee_ros.planning.errors import ConditionError, PlanningError
from dapdee_ros.planning.plan import PlanKey

# Qualities closer than this are the same number, computed in two ways.
QUALITY_ROUNDING = 1e-9
# A message carries a threshold as float32.
_THRESHOLD_ROUNDING = 1e-6


class Condition(StrEnum):
    """The hard conditions, by the names of their settings."""

    KEEP_RAW_ON_CAR = "keep_raw_on_car"
    QUALITY_FLOOR = "quality_floor"
    GATES = "gates"
    CODECS = "codecs"


class Breach(NamedTuple):
    """A condition that a plan breaks.

    Attributes:
        condition: which.
        why: how the plan breaks it, as text.
    """

    condition: Condition
    why: str


class Measured(Protocol):
    """A model's measurements; implemented by ``Problem``, ``CostBasis`` and ``ModelMeasures``."""

    @property
    def dag(self) -> ModelDag:
        """The network."""

    @property
    def exit_quality(self) -> Sequence[float]:
        """Quality of each exit, shallowest first, 0 to 1."""

    @property
    def codecs(self) -> Sequence[CodecCost]:
        """How a boundary may be coded."""

    @property
    def gates(self) -> Sequence[GateOption]:
        """Calibrated gate settings."""

    @property
    def exposures(self) -> Exposures:
        """What attacks restored of the image from boundaries."""


@dataclass(frozen=True)
class ModelMeasures:
    """``Measured`` alone, for callers without profiles.

    Attributes:
        dag: the network.
        exit_quality: quality of each exit, shallowest first, 0 to 1.
        codecs: how a boundary may be coded.
        gates: calibrated gate settings.
        exposures: what attacks restored of the image from boundaries.
    """

    dag: ModelDag
    exit_quality: Sequence[float]
    codecs: Sequence[CodecCost]
    gates: Sequence[GateOption] = ()
    exposures: Exposures = NOT_ATTACKED


@dataclass(frozen=True)
class HardConditions:
    """What no plan may break.

    A codec that was not measured at a boundary, and a gate that was not calibrated, break
    ``codecs`` and ``gates`` whatever is set here: their quality loss is unknown.

    Attributes:
        keep_raw_on_car: never send the input, nor a tensor from which it could be reconstructed
            (``ModelDag.image_forms``).
        keep_raw_on_car_ssim: with ``keep_raw_on_car``, below 1: nor anything from which an attack
            restored the image with a higher structural similarity, nor what nobody has attacked
            (``Exposures.of``).
        quality_floor: the least quality, 0 to 1.
        gates: whether a gate may end frames on the car.
        codecs: names of the codecs that may be used; None: any that was measured.

    Raises:
        PlanningError: at construction, for a floor or a similarity that is not 0 to 1.
    """

    keep_raw_on_car: bool = False
    quality_floor: float = 0.0
    gates: bool = True
    codecs: frozenset[str] | None = None
    keep_raw_on_car_ssim: float = 1.0

    def __post_init__(self) -> None:
        for name in ("quality_floor", "keep_raw_on_car_ssim"):
            if not 0 <= getattr(self, name) <= 1:
                raise PlanningError(f"{name} is {getattr(self, name)}; expected 0 to 1")

    @property
    def most_exposure(self) -> float:
        """The highest exposure that a plan may have; infinity: any."""
        return allowed_exposure(self.keep_raw_on_car, self.keep_raw_on_car_ssim)

    def breaches(
        self,
        measured: Measured,
        exit_number: int,
        boundary: Sequence[str],
        codec: str,
        gate: int | None = None,
        gate_threshold: float | None = None,
    ) -> tuple[Breach, ...]:
        """What a plan breaks; empty if nothing.

        Args:
            measured: what is known about the model.
            exit_number: the exit that answers.
            boundary: names of the tensors that are sent; empty if the car finishes alone.
            codec: their codec; ignored if nothing is sent.
            gate: exit that may end the frame on the car, or None.
            gate_threshold: confidence from which it does; None takes the first calibrated one.
        """
        broken = []
        if self.keep_raw_on_car and set(boundary) <= measured.dag.by_name.keys():
            exposure = measured.exposures.of(measured.dag, boundary, codec)
            if exposure > self.most_exposure:
                why = self._why_exposed(measured.dag, boundary, codec, exposure)
                broken.append(Breach(Condition.KEEP_RAW_ON_CAR, why))
        if boundary:
            refused = self._refused_codec(measured, exit_number, tuple(boundary), codec)
            if refused:
                broken.append(Breach(Condition.CODECS, refused))
        if gate is not None:
            if not self.gates:
                broken.append(
                    Breach(Condition.GATES, f"exit {gate} may end a frame, and gates are off")
                )
            if gate_option(measured, gate, exit_number, gate_threshold) is None:
                broken.append(
                    Breach(
                        Condition.GATES,
                        f"gate {gate} before exit {exit_number} is not calibrated at threshold "
                        f"{gate_threshold}",
                    )
                )
        if self.quality_floor > 0:
            quality = quality_of(measured, exit_number, boundary, codec, gate, gate_threshold)
            if quality is None:
                broken.append(Breach(Condition.QUALITY_FLOOR, "its quality is not known"))
            elif quality < self.quality_floor - QUALITY_ROUNDING:
                why = f"its quality is {quality:.4g}, less than {self.quality_floor:.4g}"
                broken.append(Breach(Condition.QUALITY_FLOOR, why))
        return tuple(broken)

    def check(self, measured: Measured, plan: PlanKey, who: str) -> None:
        """Raise ConditionError if a plan (``Plan.key``) breaks any; ``who`` says whose it is."""
        broken = self.breaches(measured, *plan)
        if broken:
            raise ConditionError(who, broken)

    def _why_exposed(
        self, dag: ModelDag, boundary: Sequence[str], codec: str, exposure: float
    ) -> str:
        if exposure == THE_IMAGE:
            forms = dag.image_forms.intersection(boundary)
            return f"it sends {', '.join(sorted(forms))}, from which the image could be computed"
        sent = f"{', '.join(boundary)} as {codec}"
        if exposure == UNMEASURED:
            return f"nobody has tried what can be restored from {sent}: run `dapdee privacy`"
        return (
            f"from {sent} the image can be restored with a similarity of {exposure:.3g}, "
            f"{self.keep_raw_on_car_ssim:.3g} is allowed"
        )

    def _refused_codec(
        self, measured: Measured, exit_number: int, boundary: tuple[str, ...], codec: str
    ) -> str:
        if self.codecs is not None and codec not in self.codecs:
            return f"codec {codec!r} is not one of {', '.join(sorted(self.codecs))}"
        if _loss(measured, exit_number, boundary, codec) is None:
            return (
                f"codec {codec!r} was not measured for {', '.join(boundary)} at exit {exit_number}"
            )
        return ""


def quality_of(
    measured: Measured,
    exit_number: int,
    boundary: Sequence[str],
    codec: str,
    gate: int | None = None,
    gate_threshold: float | None = None,
) -> float | None:
    """A plan's quality by calibration, 0 to 1; None if unknown.

    The arguments are those of ``HardConditions.breaches``.
    """
    loss = _loss(measured, exit_number, tuple(boundary), codec) if boundary else 0.0
    if loss is None or not 1 <= exit_number <= len(measured.exit_quality):
        return None
    if gate is None:
        return float(quality_after(measured.exit_quality[exit_number - 1], loss))
    option = gate_option(measured, gate, exit_number, gate_threshold)
    if option is None:
        return None
    return float(quality_after(option.quality, loss, 1 - option.share))


def gate_option(
    measured: Measured, gate: int, exit_number: int, threshold: float | None
) -> GateOption | None:
    """The calibrated setting of a gate; the first of the pair for threshold None."""
    for option in measured.gates:
        if (option.gate, option.exit_number) != (gate, exit_number):
            continue
        if threshold is None or abs(option.threshold - threshold) <= _THRESHOLD_ROUNDING:
            return option
    return None


def _loss(
    measured: Measured, exit_number: int, boundary: tuple[str, ...], codec: str
) -> float | None:
    """The codec's quality loss there; None if it cannot encode all of it or the loss is unknown."""
    for cost in measured.codecs:
        if cost.name == codec:
            by_name = measured.dag.by_name
            if any(n not in by_name or cost.tensor(by_name[n]) is None for n in boundary):
                return None
            if len(boundary) > 1:
                # Losses are known by boundaries in the order of the network.
                boundary = tuple(node.name for node in measured.dag.nodes if node.name in boundary)
            return cost.quality_loss(exit_number, boundary)
    return None
