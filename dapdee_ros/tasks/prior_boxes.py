"""Prior boxes of SSD-like detectors, from numbers."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.tasks.options import OptionError


def prior_boxes(
    maps: Sequence[tuple[int, int]],
    scales: Sequence[float],
    ratios: Sequence[Sequence[float]],
    size: tuple[int, int],
) -> NDArray[np.float32]:
    """Boxes around every cell of some maps, in the order in which SSD's predictors give them.

    W. Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016, section 2.2; order and numbers
    as of torchvision's ``DefaultBoxGenerator`` with ``clip=True`` and steps of the cells' size.

    Args:
        maps: rows and columns of each map.
        scales: side of the boxes of each map relative to the image, and one more after the last.
        ratios: per map, aspect ratios beside 1; each is used with its inverse.
        size: height and width of the image in pixels.

    Returns:
        ``(n, 4)``, left, top, right and bottom in pixels.

    Raises:
        OptionError: if the numbers of maps, scales and ratios do not fit.

    >>> prior_boxes([(1, 1)], [0.5, 0.5], [[]], (100, 200)).tolist()
    [[50.0, 25.0, 150.0, 75.0], [50.0, 25.0, 150.0, 75.0]]
    """
    if len(scales) != len(maps) + 1 or len(ratios) != len(maps):
        raise OptionError(
            f"{len(maps)} maps need as many lists of ratios and one more scale, there are "
            f"{len(ratios)} lists and {len(scales)} scales"
        )
    if not all(r > 0 for of_map in ratios for r in of_map) or not all(s > 0 for s in scales):
        raise OptionError("scales and ratios of prior boxes must be above 0")
    found = []
    for number, (rows, columns) in enumerate(maps):
        own, following = scales[number], scales[number + 1]
        middle = sqrt(own * following)
        sides = [(own, own), (middle, middle)]
        for ratio in ratios[number]:
            wide, high = own * sqrt(ratio), own / sqrt(ratio)
            sides += [(wide, high), (high, wide)]
        half = np.clip(np.array(sides, np.float64), 0, 1) / 2
        y, x = np.mgrid[:rows, :columns].reshape(2, -1) + 0.5
        centres = np.stack([x / columns, y / rows], 1)[:, None]
        found.append(np.concatenate([centres - half, centres + half], -1).reshape(-1, 4))
    height, width = size
    return (np.concatenate(found) * [width, height, width, height]).astype(np.float32)
