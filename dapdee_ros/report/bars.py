"""Runs as rows of bars: a name, a number, and how it compares. Made for a phone's width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dapdee_ros.report.palette import Palette
from dapdee_ros.report.plate import draw_key, legible, log_ticks, panels, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW_PX = 34
_MOST_LETTERS = 46
_LEAST_LETTERS = 12


@dataclass(frozen=True)
class Row:
    """One run.

    Attributes:
        name: label above the bar on the left.
        text: label above the bar on the right.
        segments: (length, hex) end to end; empty if there is nothing to draw.
        interval: ends of a thin line over the bar, None for none.
        box: (start, end, hex) of a bar that does not start at 0, None for none.
        mark: (value, hex, marker) of a mark on the row, None for none.
    """

    name: str
    text: str
    segments: Sequence[tuple[float, str]] = ()
    interval: tuple[float, float] | None = None
    box: tuple[float, float, str] | None = None
    mark: tuple[float, str, str] | None = None


@dataclass(frozen=True)
class Bars:
    """A list of rows on one axis.

    Attributes:
        rows: from top to bottom.
        axis: name of the axis with its unit.
        key: (words, hex) that explain the segments' colours.
        limits: ends of the axis; None: from 0 to the longest.
        log: whether the axis is logarithmic.
        line: (value, words) of a line over all rows, None for none.
        percent: whether values are shares to be shown in percent.
    """

    rows: Sequence[Row]
    axis: str
    key: Sequence[tuple[str, str]] = field(default_factory=tuple)
    limits: tuple[float, float] | None = None
    log: bool = False
    line: tuple[float, str] | None = None
    percent: bool = False


def draw_bars(bars: Bars, palette: Palette, width_px: int) -> Figure:
    """Draw rows of bars."""
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator

    key = [(Patch(color=colour), legible(words, 24)) for words, colour in bars.key]
    longest = max((len(words) for _, words in key), default=1)
    columns = max(1, min(len(key), int(width_px / (34 + 6.2 * longest))))
    figure, (axes,) = panels(
        width_px, [_ROW_PX * len(bars.rows)], key_rows=math.ceil(len(key) / columns), left_px=6,
        title_px=16 if bars.line else 2,
    )  # fmt: skip
    style_axes(axes, palette, grid="x")
    axes.spines["left"].set_visible(False)
    if bars.log:
        axes.set_xscale("log")
    low, high = bars.limits or _limits(bars)
    axes.set_xlim(low, high)
    axes.set_ylim(len(bars.rows) - 0.05, 0)
    axes.set_yticks([])
    # A line over all rows would run through the labels.
    paper = {"facecolor": palette["paper"], "linewidth": 0, "pad": 1.5} if bars.line else None
    for number, row in enumerate(bars.rows):
        _draw_row(axes, row, number + 0.66, palette)
        text = legible(row.text, _MOST_LETTERS - _LEAST_LETTERS)
        name = legible(row.name, max(_LEAST_LETTERS, _MOST_LETTERS - len(text)))
        for side, words in ((0, name), (1, text)):
            axes.text(
                side, number + 0.28, words, transform=axes.get_yaxis_transform(), va="center",
                ha="right" if side else "left", color=palette["ink" if side else "muted"],
                bbox=paper,
            )  # fmt: skip
    if bars.line:
        axes.axvline(bars.line[0], color=palette["muted"], linewidth=1, linestyle=(0, (4, 3)))
        share = 0.5 if not high > low else (bars.line[0] - low) / (high - low)
        axes.set_title(
            bars.line[1], fontsize=10, color=palette["muted"], pad=3,
            loc="right" if share > 0.5 or bars.log else "left", y=1.0,
        )  # fmt: skip
    if bars.log:
        log_ticks(axes)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(lambda v, _: f"{100 * v:g}" if bars.percent else f"{v:g}")
    axes.set_xlabel(bars.axis)
    if key:
        draw_key(figure, palette, key, columns)
    return figure


def _draw_row(axes: Axes, row: Row, y: float, palette: Palette) -> None:
    at = 0.0
    for length, colour in row.segments:
        if length > 0:
            axes.barh(y, length, left=at, height=0.3, color=colour, linewidth=0)
            at += length
    if row.box:
        start, end, colour = row.box
        axes.barh(y, end - start, left=start, height=0.3, color=colour, linewidth=0)
    if row.interval:
        axes.plot(row.interval, (y, y), color=palette["ink"], linewidth=1.2)
    if row.mark:
        value, colour, marker = row.mark
        rim = palette["ink" if colour == palette["paper"] else "paper"]
        axes.plot(
            [value], [y], marker, color=colour, markersize=8, markeredgecolor=rim,
            markeredgewidth=1, clip_on=False,
        )  # fmt: skip


def _limits(bars: Bars) -> tuple[float, float]:
    ends = [sum(length for length, _ in row.segments) for row in bars.rows]
    ends += [end for row in bars.rows for end in row.interval or ()]
    ends += [row.mark[0] for row in bars.rows if row.mark]
    most = max((e for e in ends if math.isfinite(e)), default=0.0)
    return 0.0, 1.04 * most if most > 0 else 1.0
