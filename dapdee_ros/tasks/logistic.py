"""The logistic function of an answer's features: the probability that it is good enough."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def probability(weights: Sequence[float], features: NDArray[np.float64]) -> float:
    """The logistic function of the weighted features, 0 to 1."""
    return float(0.5 * (1 + np.tanh(0.5 * np.dot(weights, features))))


def fit_weights(features: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[float, ...]:
    """The weights that make ``right`` most likely, by Newton's method.

    The features are brought to one scale and their weights kept small (a Gaussian prior of
    variance 1 but for the constant), which also settles the case that they tell all frames apart.

    Args:
        features: ``(N, F)``, the first of which is constant.
        right: ``(N,)``.
    """
    means, spreads = features.mean(0), features.std(0)
    means[0], spreads[0] = 0.0, 1.0
    spreads[spreads < 1e-9] = 1.0
    scaled = (features - means) / spreads
    # A weak prior for the constant, too: all or none may be right.
    prior = np.diag([1e-2, *[1.0] * (scaled.shape[1] - 1)])
    weights = np.zeros(scaled.shape[1])
    for _ in range(50):
        likely = 0.5 * (1 + np.tanh(0.5 * (scaled @ weights)))
        slope = scaled.T @ (right - likely) - prior @ weights
        curve = (scaled * (likely * (1 - likely))[:, None]).T @ scaled + prior
        move = np.linalg.solve(curve, slope)
        weights += np.clip(move, -4.0, 4.0)
        if np.abs(move).max() < 1e-9:
            break
    unscaled = weights / spreads
    unscaled[0] -= (unscaled[1:] * means[1:]).sum()
    return tuple(round(float(weight), 6) for weight in unscaled)
