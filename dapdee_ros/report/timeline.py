"""A run over time: latency, exit, sent tensors and their bytes, quality, link, on one time axis.

Every panel draws a bounded number of marks, however long the run was, and keeps extremes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dapdee_ros.files import whole_file
from dapdee_ros.report.decimation import decimate, stretches
from dapdee_ros.report.palette import Palette
from dapdee_ros.report.plate import WIDE_PX, draw_key, drawing_style, legible, panels, style_axes
from dapdee_ros.report.run_log import LinkRecord, RunLog
from dapdee_ros.report.summary import deadline_in_view, deadlines_s, finite

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ALL_ON_CAR = "all on the car"
_PLACES = (("edge", "o"), ("car", "^"), ("fallback", "s"))
_MOST_CUTS = 7
_MOST_EXITS = 64


def draw_timeline(log: RunLog, path: Path) -> None:
    """Draw a run and write it in the format of the path's suffix (png, svg), on white."""
    palette = Palette(exit_count=deepest_exit(log))
    with drawing_style(), whole_file(path) as draft:
        timeline(log, palette, WIDE_PX).savefig(draft, dpi=90, facecolor="white")


def deepest_exit(log: RunLog) -> int:
    """Number of the deepest exit that the model has or a frame used, 64 at most."""
    numbers = [f.exit_number for f in log.frames] + [p.exit_number for p in log.plans]
    return min(_MOST_EXITS, max([log.exit_count, *numbers]))


def timeline(log: RunLog, palette: Palette, width_px: int, most_points: int = 3000) -> Figure:
    """Draw a run, ``width_px`` wide, with at most ``most_points`` points of latency."""
    wide = width_px >= WIDE_PX
    cuts = _cuts(log)
    exits = max(1, deepest_exit(log))
    columns = 6 if wide else 2
    qualities = [
        (p.at_s, p.predicted_quality) for p in log.plans if p.predicted_quality is not None
    ]
    heights = [200, 10 + min(16 * exits, 200), (25 if wide else 32) * max(1, len(cuts)), 90]
    heights += [70, 120] if qualities else [120]
    figure, (latency, exit_axes, cut, sent, *quality, link) = panels(
        width_px, heights, key_rows=math.ceil(_key_entries(log) / columns), left_px=40, title_px=28
    )
    start_s, end_s = _span_s(log)
    latency.set_xlim(start_s - 0.01 * (end_s - start_s), end_s + 0.01 * (end_s - start_s))
    shortest_s = (end_s - start_s) / (width_px / 2)

    style_axes(latency, palette, "latency [ms]")
    _draw_latency(latency, log, palette, most_points, wide)
    handles, labels = latency.get_legend_handles_labels()
    if handles:
        draw_key(figure, palette, list(zip(handles, labels, strict=True)), columns)

    style_axes(exit_axes, palette, "exit that answered", grid="x")
    exit_axes.set_ylim(0.4, exits + 0.6)
    exit_axes.set_yticks(range(1, exits + 1, 1 + exits // 13))
    for number in range(1, exits + 1):
        times = finite(f.at_s for f in log.frames if f.exit_number == number)
        spans = stretches([(t, t) for t in times], shortest_s)
        exit_axes.broken_barh(spans, (number - 0.32, 0.64), color=palette.exit(number), linewidth=0)

    style_axes(cut, palette, "what the plan sends", grid="x")
    _draw_cuts(cut, cuts, palette, shortest_s, wide)
    style_axes(sent, palette, "sent per frame [kB]")
    _draw_sent(sent, log, palette, most_points)
    for axes in quality:
        style_axes(axes, palette, f"{legible(log.quality_name, 20)} expected of the plan")
        _draw_quality(axes, qualities, palette, width_px, end_s)
    style_axes(link, palette, "uplink [Mbit/s]")
    _draw_link(link, log, palette, width_px, end_s)
    link.set_xlabel("time since the start [s]")
    return figure


def _key_entries(log: RunLog) -> int:
    """Number of marks in the latency panel's legend, at least 1."""
    wrong = any(f.right is False for f in log.frames)
    deadline = any(d is not None for d in deadlines_s(log))
    return max(1, len({f.place for f in log.frames}) + wrong + deadline + bool(log.drops))


def _span_s(log: RunLog) -> tuple[float, float]:
    records = (log.frames, log.plans, log.links, log.link_truth, log.drops)
    times = finite(record.at_s for of in records for record in of)
    start_s, end_s = min([0.0, *times]), max(times, default=1.0)
    return start_s, end_s if end_s > start_s else start_s + 1.0


def _draw_latency(axes: Axes, log: RunLog, palette: Palette, most_points: int, wide: bool) -> None:
    frames = [f for f in log.frames if math.isfinite(f.at_s) and math.isfinite(f.latency_s)]
    known = dict(_PLACES)
    groups = list(_PLACES) + sorted({(f.place, "D") for f in frames if f.place not in known})
    for place, marker in groups:
        of = [f for f in frames if f.place == place]
        if of:
            most = max(40, round(most_points * len(of) / len(frames)))
            times, values = decimate([f.at_s for f in of], [1e3 * f.latency_s for f in of], most)
            axes.plot(
                times, values, marker, color=palette.place(place), markersize=3.6,
                markeredgewidth=0, label=f"{legible(place, 20)} ({len(of)})",
            )  # fmt: skip
    wrong = [f for f in frames if f.right is False]
    if wrong:
        times, values = decimate(
            [f.at_s for f in wrong], [1e3 * f.latency_s for f in wrong], max(40, most_points // 6)
        )
        axes.plot(
            times, values, "x", color=palette["ink"], markersize=5, markeredgewidth=1,
            label=f"wrong answer ({len(wrong)})",
        )  # fmt: skip
    _draw_deadline(axes, log, palette)
    axes.set_ylim(bottom=0)
    axes.margins(y=0.08)
    dropped = [d for d in log.drops if math.isfinite(d.at_s)]
    if dropped:
        times, _ = decimate([d.at_s for d in dropped], [0.0] * len(dropped), 300)
        axes.plot(
            times, [0.97] * len(times), "|", color=palette["alarm"], markersize=9,
            markeredgewidth=1.3, transform=axes.get_xaxis_transform(),
            label=f"dropped ({sum(d.count for d in dropped)})",
        )  # fmt: skip
    if not frames:
        _say(axes, "no frame was answered", palette)


def _draw_deadline(axes: Axes, log: RunLog, palette: Palette) -> None:
    pairs = [
        (f.at_s, 1e3 * d)
        for f, d in zip(log.frames, deadlines_s(log), strict=True)
        if d is not None and math.isfinite(f.at_s)
    ]
    # A line from change to change; points in between add nothing.
    kept = [
        pair
        for number, pair in enumerate(pairs)
        if number in (0, len(pairs) - 1) or pair[1] != pairs[number - 1][1]
    ]
    if kept:
        longest_ms = max(finite(1e3 * f.latency_s for f in log.frames), default=math.inf)
        if not deadline_in_view(min(value for _, value in kept), longest_ms):
            axes.plot([], [], " ", label=f"deadline {kept[0][1]:g} ms, far above")
            return
        times, values = decimate([t for t, _ in kept], [v for _, v in kept], 200)
        axes.step(
            times, values, where="post", color=palette["muted"], linestyle=(0, (4, 3)),
            linewidth=1.1, label="deadline",
        )  # fmt: skip


def _cuts(log: RunLog) -> list[tuple[str, list[tuple[float, float]]]]:
    """What was sent, with its time spans, longest first; rare ones are combined."""
    plans = [p for p in log.plans if math.isfinite(p.at_s)]
    ends = finite(f.at_s for f in log.frames) + [p.at_s for p in plans]
    intervals: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for number, plan in enumerate(plans):
        until_s = plans[number + 1].at_s if number + 1 < len(plans) else max(ends)
        name = f"{' + '.join(plan.boundary)} as {plan.codec}" if plan.boundary else ALL_ON_CAR
        intervals[legible(name, 200)].append((plan.at_s, until_s))
    ordered = sorted(
        intervals.items(), key=lambda item: -sum(end - start for start, end in item[1])
    )
    if len(ordered) > _MOST_CUTS + 1:
        rest = ordered[_MOST_CUTS:]
        together = [interval for _, of in rest for interval in of]
        ordered = [*ordered[:_MOST_CUTS], (f"{len(rest)} other cuts", together)]
    return ordered


def _draw_cuts(
    axes: Axes,
    cuts: Sequence[tuple[str, list[tuple[float, float]]]],
    palette: Palette,
    shortest_s: float,
    wide: bool,
) -> None:
    axes.set_yticks([])
    if not cuts:
        _say(axes, "no plan was recorded", palette)
        return
    # Labels are in the panel, above their bars: on a phone there is no room beside it.
    axes.set_ylim(len(cuts), 0)
    for row, (name, intervals) in enumerate(cuts):
        alone = name == ALL_ON_CAR
        axes.broken_barh(
            stretches(intervals, shortest_s), (row + 0.6, 0.3), linewidth=0,
            color=palette.place("car" if alone else "edge"),
        )  # fmt: skip
        axes.text(
            0.004, row + 0.3, legible(name, 130 if wide else 46), va="center", fontsize=10,
            color=palette["muted"], transform=axes.get_yaxis_transform(),
        )  # fmt: skip


def _draw_sent(axes: Axes, log: RunLog, palette: Palette, most_points: int) -> None:
    """Bytes of every frame that was sent, on a logarithmic axis: codecs are decades apart."""
    of = [f for f in log.frames if f.sent_bytes > 0 and math.isfinite(f.at_s)]
    if not of:
        _say(axes, "no frame was sent", palette)
        return
    times, values = decimate(
        [f.at_s for f in of], [1e-3 * f.sent_bytes for f in of], max(40, most_points // 3)
    )
    axes.set_yscale("log")
    axes.plot(times, values, "o", color=palette.place("edge"), markersize=2.4, markeredgewidth=0)
    # At least one decade, so that there is a labelled tick.
    low, high = min(values), max(values)
    axes.set_ylim(10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high * 1.01)))
    axes.yaxis.set_major_formatter("{x:g}")


def _draw_quality(
    axes: Axes, plans: Sequence[tuple[float, float]], palette: Palette, width_px: int, end_s: float
) -> None:
    """The quality that each plan was expected to have when it came into force."""
    kept = [(at_s, value) for at_s, value in plans if math.isfinite(at_s) and math.isfinite(value)]
    times, values = decimate([t for t, _ in kept], [v for _, v in kept], width_px)
    if times:
        axes.step(
            [*times, max(end_s, times[-1])], [*values, values[-1]], where="post",
            color=palette["ink"], linewidth=1.2,
        )  # fmt: skip
    axes.margins(y=0.2)


def _draw_link(axes: Axes, log: RunLog, palette: Palette, width_px: int, end_s: float) -> None:
    for records, label, colour, width in (
        (log.link_truth, "true", palette["truth"], 3.2),
        (log.links, "estimated", palette["ink"], 1.2),
    ):
        times, rates = decimate([r.at_s for r in records], [_mbps(r) for r in records], width_px)
        if times:
            # The last state lasts until the end.
            axes.step(
                [*times, max(end_s, times[-1])], [*rates, rates[-1]], where="post", color=colour,
                linewidth=width, label=label,
            )  # fmt: skip
    axes.set_ylim(bottom=0)
    if log.links or log.link_truth:
        axes.legend(
            loc="lower right", bbox_to_anchor=(1, 1), ncols=2, labelcolor=palette["ink"],
            borderpad=0, borderaxespad=0.2, handlelength=1.6,
        )  # fmt: skip
    else:
        _say(axes, "the link was not recorded", palette)


def _mbps(record: LinkRecord) -> float:
    """Uplink in Mbit/s: 0 without a connection, NaN while unknown."""
    if not record.connected:
        return 0.0
    return math.nan if record.uplink_bps is None else record.uplink_bps / 1e6


def _say(axes: Axes, words: str, palette: Palette) -> None:
    axes.set_yticks([])
    axes.text(
        0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", color=palette["muted"]
    )
