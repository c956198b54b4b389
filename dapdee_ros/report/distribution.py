"""Latency distribution: the cumulative distribution of every run, and quantiles as rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dapdee_ros.report.bars import Bars, Row
from dapdee_ros.report.comparison import Run
from dapdee_ros.report.palette import EMPHASISED, Palette
from dapdee_ros.report.plate import WIDE_PX, draw_key, legible, log_ticks, panels, style_axes
from dapdee_ros.report.summary import deadline_in_view, deadlines_s, finite

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_STEPS = 250
# Above this ratio of longest to shortest, a linear axis would compress most of it.
_LOG_FROM = 15.0
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.6)), (0, (5, 1.5, 1, 1.5)))


def common_deadline_s(runs: list[Run]) -> float | None:
    """The deadline in s if all frames of all runs have the same, else None."""
    deadlines = {deadline for run in runs for deadline in deadlines_s(run.log)}
    return deadlines.pop() if len(deadlines) == 1 else None


def line_styles(runs: list[Run]) -> dict[str, Any]:
    """A dash pattern for each run's name: runs of one policy share a colour and differ in it."""
    seen: dict[str, int] = {}
    styles = {}
    for run in runs:
        number = seen.setdefault(run.base_policy, 0)
        seen[run.base_policy] += 1
        styles[run.name] = _DASHES[number % len(_DASHES)]
    return styles


def draw_distribution(runs: list[Run], palette: Palette, width_px: int) -> Figure:
    """Draw, per run, the share of answered frames with at most a given latency."""
    wide = width_px >= WIDE_PX
    columns = 4 if wide else 1
    shown = [run for run in runs if finite(f.latency_s for f in run.log.frames)]
    deadline_s = common_deadline_s(runs)
    entries = len(shown) + (deadline_s is not None)
    figure, (axes,) = panels(
        width_px, [300 if wide else 240], key_rows=-(-entries // columns), left_px=44, title_px=18
    )
    style_axes(axes, palette, "share of answered frames")
    styles = line_styles(runs)
    shortest, longest = float("inf"), 0.0
    for run in shown:
        ordered = sorted(finite(f.latency_s for f in run.log.frames))
        count = len(ordered)
        picked = sorted({round(i * (count - 1) / _MOST_STEPS) for i in range(_MOST_STEPS + 1)})
        shortest, longest = min(shortest, ordered[0]), max(longest, ordered[-1])
        axes.plot(
            [1e3 * ordered[0], *(1e3 * ordered[i] for i in picked)],
            [0.0, *((i + 1) / count for i in picked)],
            color=palette.policy(run.base_policy),
            linestyle=styles[run.name],
            drawstyle="steps-post",
            linewidth=2.4 if run.base_policy == EMPHASISED else 1.5,
            marker=palette.marker(run.base_policy),
            markersize=5,
            markevery=(len(picked) // 12, max(1, len(picked) // 6)),
            label=legible(run.name, 60 if wide else 44),
        )
    # One frame is a step, and a line needs room on both sides of it.
    if shortest > 0 and longest > _LOG_FROM * shortest:
        axes.set_xscale("log")
        log_ticks(axes)
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set_xlabel("latency [ms]")
    if deadline_s is not None and deadline_in_view(deadline_s, longest):
        axes.axvline(
            1e3 * deadline_s, color=palette["muted"], linestyle=(0, (4, 3)), linewidth=1,
            label=f"deadline, {1e3 * deadline_s:g} ms",
        )  # fmt: skip
    elif deadline_s is not None:
        axes.plot([], [], " ", label=f"deadline {1e3 * deadline_s:g} ms, far above")
    handles, labels = axes.get_legend_handles_labels()
    draw_key(figure, palette, list(zip(handles, labels, strict=True)), min(columns, entries))
    return figure


def quantile_rows(runs: list[Run], palette: Palette) -> Bars:
    """Per run, the middle half, the middle nine tenths and the median of its latencies."""
    rows = []
    for run in runs:
        s = run.summary
        if s["median_latency_s"] is None:
            rows.append(Row(run.name, "no frame answered"))
            continue
        p5, p25, median, p75, p95 = (
            1e3 * s[f"{name}_latency_s"] for name in ("p5", "p25", "median", "p75", "p95")
        )
        colour = palette.policy(run.base_policy)
        rows.append(
            Row(
                run.name,
                f"{median:.0f} · {p95:.0f} ms",
                box=(p25, p75, colour),
                interval=(p5, p95),
                mark=(median, palette["paper"], palette.marker(run.base_policy)),
            )
        )
    ends = [end for row in rows for end in row.interval or ()]
    log = bool(ends) and min(ends) > 0 and max(ends) > _LOG_FROM * min(ends)
    deadline_s = common_deadline_s(runs)
    line = None
    if deadline_s is not None and deadline_in_view(1e3 * deadline_s, max(ends, default=0.0)):
        line = (1e3 * deadline_s, f"deadline {1e3 * deadline_s:g} ms")
        ends.append(1e3 * deadline_s)
    limits = None
    if ends:
        limits = (0.9 * min(ends), 1.1 * max(ends)) if log else (0.0, 1.04 * max(ends))
    return Bars(rows, "latency [ms]", limits=limits, log=log, line=line)
