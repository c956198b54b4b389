"""Plots a sweep: exit, cut and times over the rate or the deadline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dapdee_ros.files import whole_file
from dapdee_ros.planning.sweep import Sweep

CAR, LINK, EDGE = "#3b6fb6", "#9aa0a6", "#e08a2e"


def draw_sweep(sweep: Sweep, exits: int, title: str, stem: Path) -> list[Path]:
    """Write ``<stem>.png`` and ``<stem>.svg``.

    Args:
        sweep: the plans.
        exits: how many exits the model has.
        title: above the plot.
        stem: where to write, without ending.

    Returns:
        The files.
    """
    scale, unit = (1e6, "uplink in Mbit/s") if sweep.what == "link" else (1.0, "deadline in s")
    x = [point.value / scale for point in sweep.points]
    plans = [point.plan for point in sweep.points]
    figure = Figure(figsize=(8, 8), layout="constrained")
    FigureCanvasAgg(figure)
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(1, 1.3, 1.7))
    figure.suptitle(title, fontsize=11)

    top.step(x, [plan.exit_number for plan in plans], where="mid", color="black")
    late = [i for i, plan in enumerate(plans) if plan.late]
    if late:
        top.plot(
            [x[i] for i in late], [plans[i].exit_number for i in late],
            "x", color="#c0392b", markersize=4, label="late",
        )  # fmt: skip
        top.legend(loc="lower right", fontsize=8)
    top.set_ylabel("exit")
    top.set_yticks(range(1, exits + 1))
    top.set_ylim(0.5, exits + 0.5)

    middle.step(x, [100 * point.car_share for point in sweep.points], where="mid", color=CAR)
    middle.set_ylabel("share of the exit's work\non the car in %")
    middle.set_ylim(-5, 108)
    for left, point in _named(sweep):
        middle.annotate(
            ", ".join(point) or "car alone", (left / scale, 0.02),
            xycoords=("data", "axes fraction"), fontsize=6, rotation=90, va="bottom", ha="left",
            color="#555555",
        )  # fmt: skip

    bottom.stackplot(
        x,
        [p.head_s for p in plans],
        [p.transfer_s if math.isfinite(p.transfer_s) else math.nan for p in plans],
        [p.edge_s for p in plans],
        labels=("car", "link", "edge"),
        colors=(CAR, LINK, EDGE),
        step="mid",
    )
    limits = x if sweep.what == "deadline" else [sweep.situation.deadline_s] * len(x)
    bottom.plot(x, limits, "--", color="#c0392b", label="deadline")
    # A plan that needs a link that is not there never ends: no height holds it.
    finite = [p.latency_s for p in plans if math.isfinite(p.latency_s)]
    bottom.set_ylim(0, 1.15 * max(finite, default=sweep.situation.deadline_s))
    bottom.set_ylabel("latency in s")
    bottom.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, fontsize=8, frameon=False)
    bottom.set_xscale("log")
    bottom.set_xlim(x[0], x[-1])
    bottom.set_xlabel(unit)
    return save(figure, stem)


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as PNG and SVG."""
    files = [stem.with_name(f"{stem.name}.{ending}") for ending in ("png", "svg")]
    for path in files:
        with whole_file(path) as draft:
            figure.savefig(draft, dpi=150)
    return files


def _named(sweep: Sweep) -> Sequence[tuple[float, tuple[str, ...]]]:
    """Where a stretch with one boundary begins, for those long enough to hold a name."""
    stretches: list[tuple[int, tuple[str, ...]]] = []
    for i, point in enumerate(sweep.points):
        if not stretches or stretches[-1][1] != point.plan.boundary:
            stretches.append((i, point.plan.boundary))
    ends = [i for i, _ in stretches[1:]] + [len(sweep.points)]
    return [
        (sweep.points[start].value, boundary)
        for (start, boundary), end in zip(stretches, ends, strict=True)
        if end - start >= len(sweep.points) / 30
    ]
