"""The learning curve of a training: as a file, and of one or several as a picture."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from dapdee_ros.files import whole_file, write_whole

CURVE_FILE = "curve.json"


@dataclass(frozen=True)
class Point:
    """One look at the policy.

    Attributes:
        steps: of training so far.
        seconds: it took so far, looks included.
        reward: mean of a car in the episodes since the last look; NaN before the first one.
        over_price: by how much its choices for the held-out fleets cost more than those by price,
            in the mean.
    """

    steps: int
    seconds: float
    reward: float
    over_price: float

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Point:
        """A point from plain values, NaN for None.

        Raises:
            KeyError: if one is missing.
        """
        found: dict[str, Any] = {}
        for field in fields(cls):
            value = values[field.name]
            found[field.name] = math.nan if value is None else value
        return cls(**found)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, None for NaN, which JSON does not have."""
        return {k: None if math.isnan(v) else v for k, v in asdict(self).items()}


def write_curve(points: Sequence[Point], options: Mapping[str, Any], folder: Path) -> None:
    """Write ``CURVE_FILE``.

    Raises:
        FileError: if it cannot be written.
    """
    curve = {"options": dict(options), "points": [point.to_dict() for point in points]}
    write_whole(folder / CURVE_FILE, json.dumps(curve, indent=1) + "\n")


def read_curve(folder: Path) -> list[Point]:
    """The points of a training's folder.

    Raises:
        OSError, ValueError, KeyError: if there is no such file, or it is none.
    """
    values = json.loads((folder / CURVE_FILE).read_text(encoding="utf-8"))
    return [Point.of(point) for point in values["points"]]


def draw_curves(trainings: Mapping[str, Sequence[Point]], path: Path) -> None:
    """Write a PNG or SVG: rewards, and what held-out fleets cost beside the choice by price.

    Args:
        trainings: the points of each by its name.
        path: the file.

    Raises:
        FileError: if it cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, points in trainings.items():
        steps = [point.steps / 1e6 for point in points]
        left.plot(steps, [point.reward for point in points], label=name, linewidth=1.2)
        over = [100 * point.over_price for point in points]
        right.plot(steps, over, label=name, linewidth=1.2)
    left.set_ylabel("reward of a car")
    right.set_ylabel("cost over the choice by price, %")
    right.set_yscale("symlog", linthresh=1.0)
    for axes in (left, right):
        axes.set_xlabel("steps, million")
        axes.grid(alpha=0.3)
    if len(trainings) > 1:
        right.legend(fontsize=8)
    with whole_file(path) as draft:
        figure.savefig(draft, format=path.suffix[1:] or "png")
