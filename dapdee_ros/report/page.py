"""The report: one self-contained HTML file, with its figures also as SVG files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from dapdee_ros import __version__
from dapdee_ros.files import write_whole
from dapdee_ros.report.comparison import NOT_SET, Comparison, Run, compare, setting_text
from dapdee_ros.report.comparison_figures import comparison_plates
from dapdee_ros.report.palette import Palette
from dapdee_ros.report.plate import WIDE_PX, Plate, make_plate
from dapdee_ros.report.tables import (
    comparison_tables,
    escaped,
    settings_tables,
    table_html,
)
from dapdee_ros.report.timeline import deepest_exit, timeline
from dapdee_ros.report.wording import NOTHING, kilobytes, milliseconds, number, percent

MOST_TIMELINES = 24
# All timelines of a report share this number of latency points; otherwise many long runs would make
# a file too large for phones.
_POINTS = 24_000
_MOST_POINTS, _LEAST_POINTS = 3_000, 300
_OPEN_TIMELINES = 2


def write_report(
    runs: Sequence[Run],
    path: Path,
    figures: Path | None = None,
    most_timelines: int = MOST_TIMELINES,
) -> dict[str, Any]:
    """Write the report of some runs.

    Args:
        runs: at least one; they are grouped and named here.
        path: the HTML file.
        figures: folder for the figures as SVG; None writes none.
        most_timelines: how many runs, the first ones, to draw over time.

    Returns:
        The figures, as JSON values: ``report``, ``figures`` and ``comparisons``.

    Raises:
        ValueError: if there is no run.
        OSError: if something cannot be written.
    """
    if not runs:
        raise ValueError("a report needs at least one run")
    comparisons = compare(runs)
    palette = Palette({run.base_policy for run in runs}, max(deepest_exit(run.log) for run in runs))
    most_points = max(
        _LEAST_POINTS, min(_MOST_POINTS, _POINTS // max(1, min(len(runs), most_timelines)))
    )
    sections, plates, left = [], [], most_timelines
    for position, comparison in enumerate(comparisons, start=1):
        prefix = f"c{position}-" if len(comparisons) > 1 else ""
        own = comparison_plates(comparison, prefix, palette)
        timelines = [
            _timeline_plate(run, f"{prefix}timeline-{place}", palette, most_points)
            for place, run in enumerate(comparison.runs[:left], start=1)
        ]
        left -= len(timelines)
        plates += [*own, *timelines]
        sections.append(_section(comparison, f"c{position}", own, timelines))
    title, lead = _title(comparisons)
    page = page_html(
        title,
        lead,
        f"{_contents(comparisons)}{''.join(sections)}",
        "Latency is from receiving the image to its result, on the car's clock.",
        palette,
    )
    write_whole(path, page)
    written = []
    for plate in plates if figures is not None else ():
        written.append(Path(figures or "", f"{plate.name}.svg"))
        write_whole(written[-1], plate.file)
    return {
        "report": str(path),
        "figures": [str(figure) for figure in written],
        "comparisons": [_numbers(comparison) for comparison in comparisons],
    }


def _title(comparisons: Sequence[Comparison]) -> tuple[str, str]:
    runs = [run for comparison in comparisons for run in comparison.runs]
    frames = sum(run.summary["recorded"] for run in runs)
    models = sorted({str(run.log.settings.get("model") or "") for run in runs} - {""})
    subject = ", ".join(models[:4]) + (" and more" if len(models) > 4 else "") or "Split inference"
    if len(runs) == 1:
        link = runs[0].log.settings.get("link")
        title = f"{subject} over {link}" if link else subject
        return title, f"One run: {runs[0].policy}, {frames} answered frames."
    lead = f"{len(runs)} runs, {frames} answered frames"
    if len(comparisons) > 1:
        lead += f", in {len(comparisons)} comparisons: runs of one scenario had the same input"
    return f"{subject}: {len(runs)} runs compared", f"{lead}."


def _contents(comparisons: Sequence[Comparison]) -> str:
    if len(comparisons) < 2:
        return ""
    items = "".join(
        f'<li><a href="#c{position}">{escaped(comparison.title)}</a> ({len(comparison.runs)})</li>'
        for position, comparison in enumerate(comparisons, start=1)
    )
    return f'<nav aria-label="Comparisons"><ul>{items}</ul></nav>'


def _section(
    comparison: Comparison, identity: str, plates: Sequence[Plate], timelines: Sequence[Plate]
) -> str:
    runs = comparison.runs
    parts = [f'<section id="{identity}"><h2>{escaped(comparison.title)}</h2>']
    if comparison.scenario is None and len(runs) > 1:
        parts.append(
            '<p class="note">These runs name no common scenario: their input was not identical, so '
            "small differences say nothing, and there is no regret.</p>"
        )
    parts.append(_common_words(comparison))
    for run in runs:
        if not run.summary["recorded"]:
            parts.append(f"<p>{escaped(run.name)}: no frame was answered in this run.</p>")
    tables = comparison_tables(comparison)
    if len(runs) == 1:
        heading = "<h3>Over time</h3>"
        parts += [_tiles(runs[0]), heading, *(figure_html(p, headed=False) for p in timelines)]
        parts += [figures_html(plates)]
        parts += ['<div class="tables">', *map(table_html, tables), "</div>"]
    else:
        parts += [table_html(tables[0]), figures_html(plates)]
        parts += [*_over_time(runs, timelines), *map(table_html, tables[1:])]
    parts += map(table_html, settings_tables(comparison))
    return "".join([*parts, "</section>"])


def _common_words(comparison: Comparison) -> str:
    """The most important settings that all runs share."""
    words = []
    for key, text in _COMMON:
        values = {setting_text(run.log.settings.get(key)) for run in comparison.runs}
        value = values.pop()
        if not values and value not in ("", NOT_SET):
            words.append(text.format(value))
    return f'<p class="lead">{escaped(", ".join(words))}</p>' if words else ""


_COMMON = (
    ("model", "model {}"), ("link", "link {}"), ("load", "{} load"), ("car", "car: {}"),
    ("rate_hz", "{} frames/s"), ("deadline_s", "deadline {} s"), ("codecs", "codecs {}"),
    ("source", "{}"),
)  # fmt: skip


def _over_time(runs: Sequence[Run], timelines: Sequence[Plate]) -> list[str]:
    parts = ["<h3>Over time</h3>"] if timelines else []
    for place, (run, plate) in enumerate(zip(runs, timelines, strict=False)):
        s = run.summary
        words = f"median {milliseconds(s['median_latency_s'])} ms, {s['recorded']} frames"
        parts.append(
            f"<details{' open' if place < _OPEN_TIMELINES else ''}><summary>{escaped(run.name)} "
            f"<small>{escaped(words)}</small></summary>{figure_html(plate, headed=False)}</details>"
        )
    if len(timelines) < len(runs):
        parts.append(
            f'<p class="note">{len(runs) - len(timelines)} more runs are not drawn over time, to '
            "keep this file small. Give fewer runs to see them.</p>"
        )
    return parts


def _tiles(run: Run) -> str:
    s = run.summary
    quality, word = s["quality"], s["quality_name"]
    if quality is None and s["predicted_quality"] is not None:
        quality, word = s["predicted_quality"], f"{word}, predicted"
    tiles = (
        ("median latency", milliseconds(s["median_latency_s"]), "ms"),
        ("95th percentile", milliseconds(s["p95_latency_s"]), "ms"),
        ("throughput", number(s["throughput_hz"]), "results/s"),
        (word, percent(quality), ""),
        *(
            (name, percent(value), "")
            for name, value in s["quality_figures"].items()
            if name != s["quality_name"] and value is not None
        ),
        ("answered", percent(s["answered_ratio"] if s["accepted"] else None), ""),
        ("after the deadline", percent(s["late_ratio"]), ""),
        ("sent", kilobytes(s["sent_bytes_per_frame"]), "kB/frame"),
        ("plan changes", str(s["plan_changes"]), ""),
    )
    cells = "".join(
        f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}"
        f"{f' <small>{escaped(unit)}</small>' if unit and value != NOTHING else ''}</dd></div>"
        for name, value, unit in tiles
    )
    return f'<dl class="tiles">{cells}</dl>'


def _timeline_plate(run: Run, name: str, palette: Palette, most_points: int) -> Plate:
    frames, drops = run.summary["recorded"], run.summary["drops"]
    words = (
        "Latency of every frame by where it was finished, with the exit that answered, what the "
        "plan sends (tensors and codec) and the link below it."
    )
    if frames > most_points:
        words += (
            f" Of {frames} frames about {most_points} are drawn: the fastest and slowest of every "
            "short while."
        )
    if drops and not run.log.drops:
        words += f" {drops} frames were dropped; their times were not recorded."
    name = re.sub(r"-+", "-", f"{name}-{re.sub('[^a-z0-9]+', '-', run.name.lower())[:48]}")

    def draw(width_px: int) -> Any:
        points = most_points if width_px >= WIDE_PX else most_points // 3
        return timeline(run.log, palette, width_px, points)

    return make_plate(name.strip("-"), f"{run.name} over time", words, palette, draw, widths=True)


def page_html(title: str, lead: str, main: str, footer: str, palette: Palette) -> str:
    """A whole page; ``main`` is HTML, everything else is text."""
    template = Template(
        resources.files("dapdee_ros.report").joinpath("page.html").read_text(encoding="utf-8")
    )
    return template.substitute(
        title=escaped(title),
        light=palette.css(dark=False),
        dark=palette.css(dark=True),
        body=f'<header><h1>{escaped(title)}</h1><p class="lead">{escaped(lead)}</p></header>'
        f"<main>{main}</main><footer>Written by dapdee {escaped(__version__)}. {escaped(footer)}"
        "</footer>",
    )


def figures_html(plates: Sequence[Plate]) -> str:
    """Figures side by side, in as many columns as leave the least of the last row empty."""
    small = sum(len(plate.drawings) == 1 for plate in plates)
    columns = "four" if small % 4 in (0, 3) else "three"
    return f'<div class="figures {columns}">{"".join(map(figure_html, plates))}</div>'


def figure_html(plate: Plate, *, headed: bool = True) -> str:
    """One figure with its heading, unless what stands above it says the same."""
    drawings = "".join(f'<div class="{who}">{svg}</div>' for who, svg in plate.drawings.items())
    full = ' class="full"' if len(plate.drawings) > 1 else ""
    head = f"<h3>{escaped(plate.title)}</h3>" if headed else ""
    return (
        f"<figure{full}>{head}<figcaption>{escaped(plate.caption)}</figcaption>{drawings}</figure>"
    )


def _numbers(comparison: Comparison) -> dict[str, Any]:
    return {
        "scenario": comparison.scenario,
        "runs": [
            {
                "name": run.name,
                "path": str(run.path),
                "policy": run.policy,
                "settings": run.log.settings,
                "summary": run.summary,
                "regret": asdict(comparison.regrets[run.name])
                if run.name in comparison.regrets
                else None,
            }
            for run in comparison.runs
        ],
    }
