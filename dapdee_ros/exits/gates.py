"""Calibration of a model's exits and gates on held-out data. No torch in here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dapdee_ros.exits.codec_losses import CodecLosses
from dapdee_ros.former_names import named


class CalibrationError(ValueError):
    """An invalid calibration or query; the message says why."""


def softmax(logits: ArrayLike, temperature: float = 1.0) -> NDArray[np.float64]:
    """Class probabilities of ``logits / temperature`` over the last axis, float64."""
    scaled = np.asarray(logits, np.float64) / temperature
    scaled -= scaled.max(axis=-1, keepdims=True)
    np.exp(scaled, out=scaled)
    return scaled / scaled.sum(axis=-1, keepdims=True)


def confidence(logits: ArrayLike, temperature: float = 1.0) -> tuple[int, float]:
    """The class an exit names for one frame and how sure it is of it.

    Args:
        logits: the exit's output, shape ``(1, K)`` or ``(K,)``.
        temperature: the exit's calibrated temperature (C. Guo et al., "On Calibration of Modern
            Neural Networks", ICML 2017).

    Returns:
        The class and the largest softmax probability. A gate stops a frame when that
        probability is at least its threshold.
    """
    probabilities = softmax(np.asarray(logits).reshape(-1), temperature)
    best = int(probabilities.argmax())
    return best, float(probabilities[best])


@dataclass(frozen=True)
class GateCurve:
    """One gate, measured at a row of thresholds.

    Attributes:
        thresholds: rising, from 0 to 1.
        share: for each threshold the share of all frames that stop at this gate.
        quality: for each later exit, for each threshold, the quality over all frames when
            those that reach the threshold end at the gate and the others at that exit.
    """

    thresholds: tuple[float, ...]
    share: tuple[float, ...]
    quality: Mapping[int, tuple[float, ...]]


@dataclass(frozen=True)
class Calibration:
    """Qualities, temperatures and gate curves of one model.

    Attributes:
        model_id: the model that was measured.
        data: description of the data.
        frames: number of frames.
        exit_quality: for each exit, shallowest first, its quality over these frames, 0 to 1.
        temperatures: for each exit the number its logits are divided by before the softmax.
        gates: curves by gate exit (1 to N - 1).
        codecs: sizes, times and losses of codecs at boundaries; empty until measured.
        confidences: of tasks whose confidence is calibrated otherwise than by a temperature, for
            each exit the weights that make it; empty for others.
    """

    model_id: str
    data: str
    frames: int
    exit_quality: tuple[float, ...]
    temperatures: tuple[float, ...]
    gates: Mapping[int, GateCurve]
    codecs: CodecLosses = field(default_factory=CodecLosses)
    confidences: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        exits = len(self.exit_quality)
        if exits < 1 or len(self.temperatures) != exits:
            raise CalibrationError(
                f"a calibration needs a quality and a temperature for each exit, got {exits} "
                f"and {len(self.temperatures)}"
            )
        if self.confidences and (
            len(self.confidences) != exits
            or not all(math.isfinite(weight) for of in self.confidences for weight in of)
        ):
            raise CalibrationError(
                f"{exits} exits need finite weights of their confidences each, got "
                f"{self.confidences}"
            )
        if not all(t > 0 for t in self.temperatures):
            raise CalibrationError(f"temperatures must be positive, got {self.temperatures}")
        if set(self.gates) != set(range(1, exits)):
            raise CalibrationError(
                f"{exits} exits make gates 1 to {exits - 1}, got {sorted(self.gates)}"
            )
        ratios = [*self.exit_quality]
        for gate, curve in self.gates.items():
            points = len(curve.thresholds)
            rows = [curve.share, *curve.quality.values()]
            if points < 2 or any(len(row) != points for row in rows):
                raise CalibrationError(
                    f"gate {gate}: every row must hold one value a threshold ({points})"
                )
            if list(curve.thresholds) != sorted(set(curve.thresholds)):
                raise CalibrationError(f"gate {gate}: thresholds must rise")
            if set(curve.quality) != set(range(gate + 1, exits + 1)):
                raise CalibrationError(
                    f"gate {gate}: pairs with exits {gate + 1} to {exits} are needed, got "
                    f"{sorted(curve.quality)}"
                )
            ratios += [value for row in (*rows, curve.thresholds) for value in row]
        if not all(0 <= value <= 1 for value in ratios):
            raise CalibrationError("qualities, shares and thresholds must lie between 0 and 1")

    def _curve(self, gate: int) -> GateCurve:
        if gate not in self.gates:
            raise CalibrationError(
                f"gate {gate} asked for, this model has {sorted(self.gates) or 'none'}"
            )
        return self.gates[gate]

    def thresholds(self, gate: int) -> tuple[float, ...]:
        """The thresholds at which this gate was measured, rising."""
        return self._curve(gate).thresholds

    def share(self, gate: int, threshold: float) -> float:
        """Share of frames that stop at the gate.

        Exact at the measured thresholds, linear between them, nothing above the last.

        Raises:
            CalibrationError: if there is no such gate.
        """
        curve = self._curve(gate)
        return float(np.interp(threshold, curve.thresholds, curve.share, right=0.0))

    def quality(self, gate: int, later_exit: int, threshold: float) -> float:
        """Quality over all frames: those that reach the threshold end at the gate, others later.

        Exact at the measured thresholds, linear between them, the later exit's own above the last.

        Raises:
            CalibrationError: if there is no such gate or later exit.
        """
        curve = self._curve(gate)
        if later_exit not in curve.quality:
            raise CalibrationError(
                f"after gate {gate} come exits {sorted(curve.quality)}, not {later_exit}"
            )
        own = self.exit_quality[later_exit - 1]
        return float(np.interp(threshold, curve.thresholds, curve.quality[later_exit], right=own))

    def to_dict(self) -> dict[str, Any]:
        """The calibration as plain JSON values; ``from_dict`` reads it back."""
        return {
            "model_id": self.model_id,
            "data": self.data,
            "frames": self.frames,
            "exit_quality": list(self.exit_quality),
            "temperatures": list(self.temperatures),
            "gates": {
                str(gate): {
                    "thresholds": list(curve.thresholds),
                    "share": list(curve.share),
                    "quality": {str(later): list(row) for later, row in curve.quality.items()},
                }
                for gate, curve in self.gates.items()
            },
            "codecs": self.codecs.to_dict(),
            **({"confidences": [list(of) for of in self.confidences]} if self.confidences else {}),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """Build a calibration from ``to_dict``'s values.

        Raises:
            CalibrationError: if something is missing, of the wrong kind or contradicts itself.
        """
        try:
            return cls(
                model_id=str(values["model_id"]),
                data=str(values["data"]),
                frames=int(values["frames"]),
                exit_quality=_floats(named(values, "exit_quality")),
                temperatures=_floats(values["temperatures"]),
                gates={
                    int(gate): GateCurve(
                        thresholds=_floats(curve["thresholds"]),
                        share=_floats(curve["share"]),
                        quality={
                            int(k): _floats(row) for k, row in named(curve, "quality").items()
                        },
                    )
                    for gate, curve in values["gates"].items()
                },
                codecs=CodecLosses.from_dict(values.get("codecs", {})),
                confidences=tuple(_floats(of) for of in values.get("confidences", ())),
            )
        except CalibrationError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise CalibrationError(f"not a calibration: {type(error).__name__}: {error}") from error


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
