"""Measure a model's exits and gates on held-out frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.exits.codec_losses import Change
from dapdee_ros.exits.gates import Calibration, CalibrationError, GateCurve, softmax

# Denser at high confidence, where most frames are; the last ones stop almost nothing.
THRESHOLDS = (
    0.0,
    *(round(0.05 * k, 2) for k in range(6, 14)),
    *(round(0.01 * k, 2) for k in range(70, 100)),
    0.993, 0.995, 0.997, 0.998, 0.999, 0.9995, 0.9999, 1.0,
)  # fmt: skip


def negative_log_likelihood(
    logits: NDArray[np.float32], labels: NDArray[np.int64], temperature: float
) -> float:
    """Mean of ``-log p(label)`` with the logits ``(N, K)`` divided by ``temperature``."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    partition = np.log(np.exp(scaled).sum(axis=1))
    return float((partition - scaled[np.arange(len(labels)), labels]).mean())


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """The temperature with the smallest negative log-likelihood, between 1/20 and 20.

    The likelihood has one minimum along ``1/T`` (it is convex in it), so a golden-section search
    over ``log T`` finds it (J. Kiefer, "Sequential Minimax Search for a Maximum", 1953).

    Args:
        logits: float32 ``(N, K)``.
        labels: int64 ``(N,)``.
    """
    ratio = (5**0.5 - 1) / 2
    low, high = -np.log(20.0), np.log(20.0)

    def cost(log_temperature: float) -> float:
        return negative_log_likelihood(logits, labels, float(np.exp(log_temperature)))

    left, right = high - ratio * (high - low), low + ratio * (high - low)
    cost_left, cost_right = cost(left), cost(right)
    while high - low > 1e-4:
        if cost_left < cost_right:
            high, right, cost_right = right, left, cost_left
            left = high - ratio * (high - low)
            cost_left = cost(left)
        else:
            low, left, cost_left = left, right, cost_right
            right = low + ratio * (high - low)
            cost_right = cost(right)
    return float(np.exp((low + high) / 2))


def calibrate(
    logits: Sequence[NDArray[np.float32]],
    labels: NDArray[np.int64],
    *,
    model_id: str,
    data: str,
) -> Calibration:
    """Accuracy, temperature and gate curves from the logits of the same frames at all exits.

    Args:
        logits: for each exit, shallowest first, float32 ``(N, K)``.
        labels: int64 ``(N,)``.
        model_id: the model they come from.
        data: description of the frames.

    Raises:
        CalibrationError: if there are no frames or the arrays do not belong together.
    """
    count = len(labels)
    if count == 0 or not logits or any(len(rows) != count for rows in logits):
        raise CalibrationError(
            f"calibration needs the logits of all exits for the same frames, got "
            f"{[len(rows) for rows in logits]} rows for {count} labels"
        )
    temperatures = tuple(round(fit_temperature(rows, labels), 4) for rows in logits)
    right = [rows.argmax(axis=1) == labels for rows in logits]
    gates: dict[int, GateCurve] = {}
    for gate in range(1, len(logits)):
        sure = softmax(logits[gate - 1], temperatures[gate - 1]).max(axis=1)
        stops = [sure >= threshold for threshold in THRESHOLDS]
        gates[gate] = GateCurve(
            thresholds=THRESHOLDS,
            share=tuple(_ratio(stop) for stop in stops),
            quality={
                later: tuple(
                    _ratio(np.where(stop, right[gate - 1], right[later - 1])) for stop in stops
                )
                for later in range(gate + 1, len(logits) + 1)
            },
        )
    return Calibration(
        model_id=model_id,
        data=data,
        frames=count,
        exit_quality=tuple(_ratio(hits) for hits in right),
        temperatures=temperatures,
        gates=gates,
    )


class ClassesCompared:
    """Compares the classes that logits ``(1, K)`` name with the true ones, int64 ``(N,)``."""

    def __init__(self, labels: NDArray[np.int64]) -> None:
        self._labels = labels
        self._frames = self._right = self._lost = self._won = 0

    def add(self, frame: int, plain: Sequence[NDArray[Any]], coded: Sequence[NDArray[Any]]) -> None:
        """Compare the logits of a frame."""
        was, is_ = (logits.argmax() == self._labels[frame] for (logits,) in (plain, coded))
        self._frames += 1
        self._lost += int(was and not is_)
        self._won += int(is_ and not was)
        self._right += int(was)

    def change(self) -> Change:
        """What became of the accuracy."""
        return Change.counted(self._lost, self._won, self._frames)

    def qualities(self) -> tuple[float, float]:
        """The accuracy without and with the codec."""
        frames = max(1, self._frames)
        return self._right / frames, (self._right - self._lost + self._won) / frames


def _ratio(hits: NDArray[np.bool_]) -> float:
    return round(float(hits.mean()), 6)
