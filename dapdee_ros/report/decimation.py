"""Fewer points for a plot, without losing extremes."""

from __future__ import annotations

import math
from collections.abc import Sequence


def decimate(
    times: Sequence[float], values: Sequence[float], most: int
) -> tuple[list[float], list[float]]:
    """At most ``most`` points that keep the minimum and maximum of every short time span.

    Args:
        times: in any order; points whose time or value is NaN are left out.
        values: one per time.
        most: how many points to keep, at least 4.

    Returns:
        Times and values in order of time: all of them if they are few enough, else the first, the
        last, and two from each of (most - 2) / 2 spans of equal length.

    Raises:
        ValueError: if ``most`` is smaller than 4.
    """
    if most < 4:
        raise ValueError(f"at most {most} points requested; expected 4 or more")
    points = sorted(
        (t, v) for t, v in zip(times, values, strict=True) if math.isfinite(t) and math.isfinite(v)
    )
    if len(points) > most:
        start, end = points[0][0], points[-1][0]
        spans = (most - 2) // 2
        per_span: dict[int, list[tuple[float, float]]] = {}
        for point in points:
            number = int((point[0] - start) / (end - start) * spans) if end > start else 0
            span = per_span.setdefault(min(spans - 1, number), [point, point])
            if point[1] < span[0][1]:
                span[0] = point
            if point[1] > span[1][1]:
                span[1] = point
        kept = {points[0], points[-1]}
        kept.update(point for span in per_span.values() for point in span)
        points = sorted(kept)
    return [t for t, _ in points], [v for _, v in points]


def stretches(
    intervals: Sequence[tuple[float, float]], shortest: float
) -> list[tuple[float, float]]:
    """Intervals as (start, length), merged if the gap is less than ``shortest``.

    Shorter intervals get that length, so that they are visible; the number of intervals is then
    bounded by the total time over ``shortest``.
    """
    merged: list[list[float]] = []
    for start, end in sorted(intervals):
        end = max(end, start + shortest)
        if merged and start <= merged[-1][1] + shortest:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return [(start, end - start) for start, end in merged]
