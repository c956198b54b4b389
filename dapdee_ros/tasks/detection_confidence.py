"""How sure a detector's answer is: from its scores alone, or as calibrated on held-out frames.

Calibrated, the confidence is the probability that the deepest exit would not answer better: a
logistic function of a few features of the answer (J. Platt, "Probabilistic Outputs for Support
Vector Machines", 1999, with more than one feature).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FEATURES = (
    "constant",
    "nothing found",
    "decidedness",
    "least decidedness",
    "doubtful boxes",
    "boxes",
    "smallest side",
    "largest side",
)
"""What the calibrated confidence of an answer is computed from, in this order."""

_LIKELY = 0.3
"""Boxes with less count as doubts only."""


def decidedness(scores: NDArray[np.float32]) -> float:
    """How far scores are from undecided, weighted by the scores; 0 for no box.

    A shallow exit that finds nothing may have missed something.
    """
    if not len(scores):
        return 0.0
    return float((scores * np.abs(2 * scores - 1)).sum() / scores.sum())


def features_of(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], size: tuple[int, int]
) -> NDArray[np.float64]:
    """The ``FEATURES`` of an answer, float64 ``(8,)``.

    Args:
        boxes: ``(n, 4)``, corners in pixels of the network's input.
        scores: ``(n,)``, 0 to 1.
        size: height and width of the network's input in pixels.
    """
    likely = scores >= _LIKELY
    sides = np.sqrt(
        np.maximum((boxes[likely, 2:] - boxes[likely, :2]).prod(1), 1.0) / np.prod(size)
    )
    logs = np.log(sides.astype(np.float64)) if len(sides) else np.zeros(1)
    return np.array(
        [
            1.0,
            float(not likely.any()),
            decidedness(scores),
            float(np.abs(2 * scores - 1).min()) if len(scores) else 1.0,
            float(np.log1p((4 * scores * (1 - scores)).sum())),
            float(np.log1p(np.count_nonzero(likely))),
            float(logs.min()),
            float(logs.max()),
        ]
    )
