"""The report of a simulated fleet: fairness between cars, shares, prices and energy over time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dapdee_ros.files import write_whole
from dapdee_ros.report.page import figure_html, figures_html, page_html
from dapdee_ros.report.palette import Palette
from dapdee_ros.report.plate import Plate, draw_key, legible, make_plate, panels, style_axes
from dapdee_ros.report.tables import Table, escaped, table_html
from dapdee_ros.report.wording import milliseconds, number, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dapdee_ros.planning.candidates import Floats
    from dapdee_ros.simulation.fleet.results import FleetRun

_MOST_CARS_IN_TABLE = 100
_MOST_LINES = 12
_PANEL_PX = 92
_STYLES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))


def write_fleet_report(runs: Sequence[FleetRun], path: Path) -> None:
    """Write one page about runs of one scenario.

    Raises:
        ValueError: if there is no run.
        OSError: if it cannot be written.
    """
    if not runs:
        raise ValueError("a report needs at least one run")
    palette = Palette({run.policy for run in runs})
    first = runs[0]
    lead = (
        f"{len(first.cars)} cars, {len(first.servers)} edge servers and {first.cells} cells in "
        f"simulated time, {first.seconds:g} s of frames."
    )
    parts = [table_html(_totals(runs)), figures_html(_by_car(runs, palette))]
    for place, run in enumerate(runs):
        shown = " open" if place == 0 else ""
        parts.append(
            f"<details{shown}><summary>{escaped(run.policy)} over time</summary>"
            f"{figure_html(_over_time(run, place, palette), headed=False)}</details>"
        )
    parts += [table_html(_cars(run)) for run in runs]
    page = page_html(
        f"A fleet of {len(first.cars)} cars",
        lead,
        "".join(parts),
        "Latency is from accepting the image to its result.",
        palette,
    )
    write_whole(path, page)


def _totals(runs: Sequence[FleetRun]) -> Table:
    heads = (
        "policy", "frames", "in time", "late", "dropped", "on the edge", "median ms", "95 % ms",
        "quality", "J per frame", "fairness", "worst car", "servers busy", "cells busy",
    )  # fmt: skip
    rows = []
    for run in runs:
        t = run.totals
        accepted = max(t["accepted"], 1)
        rows.append(
            (
                run.policy, str(t["accepted"]), percent(t["in_time_share"]),
                percent(t["late"] / accepted), percent(t["dropped"] / accepted),
                percent(t["edge"] / accepted), milliseconds(t["median_s"]),
                milliseconds(t["p95_s"]), percent(t["quality"]), number(t["frame_j"]),
                f"{t['jain_in_time']:.3f}", percent(t["worst_in_time"]), percent(t["edge_busy"]),
                percent(t["air_busy"]),
            )
        )  # fmt: skip
    return Table(
        "The fleet", heads, rows,
        "Fairness is Jain's index of the cars' shares of frames answered in time.",
    )  # fmt: skip


def _cars(run: FleetRun) -> Table:
    heads = (
        "car", "server", "frames", "in time", "dropped", "fallback", "median ms", "95 % ms",
        "quality", "J per frame", "battery empty s", "plan changes",
    )  # fmt: skip
    worst = sorted(run.cars, key=lambda car: (car.in_time, -car.median_s))
    rows = [
        (
            car.name, car.server or "none", str(car.accepted), percent(car.in_time),
            str(car.dropped), str(car.fallback), milliseconds(car.median_s),
            milliseconds(car.p95_s), percent(car.quality), number(car.frame_j),
            number(car.empty_s), str(car.plan_changes),
        )
        for car in worst[:_MOST_CARS_IN_TABLE]
    ]  # fmt: skip
    note = "Those that are worst off first."
    if len(worst) > len(rows):
        note += f" {len(worst) - len(rows)} more are left out."
    return Table(f"Cars under {run.policy}", heads, rows, note, words=(1,))


def _by_car(runs: Sequence[FleetRun], palette: Palette) -> list[Plate]:
    figures = (
        ("in-time", "Answered in time", "% of a car's frames", lambda c: 100 * c.in_time),
        ("latency", "Median latency", "ms", lambda c: 1e3 * c.median_s),
        ("quality", "Expected quality", "%", lambda c: 100 * c.quality),
        ("energy", "Energy of a frame", "J", lambda c: c.frame_j),
    )
    plates = []
    for name, title, unit, value in figures:
        lines = [(run.policy, np.sort([value(car) for car in run.cars])) for run in runs]
        draw = partial(_draw_sorted, lines, unit, palette)
        caption = f"{unit}, every car, the lowest on the left. A flat line is a fair one."
        plates.append(make_plate(f"fleet-{name}", title, caption, palette, draw))
    return plates


def _draw_sorted(
    lines: Sequence[tuple[str, Floats]], unit: str, palette: Palette, width_px: int
) -> Figure:
    from matplotlib.lines import Line2D

    columns = max(1, width_px // 160)
    key = [
        (Line2D([], [], color=palette.policy(name), linestyle=_STYLES[n % 4]), legible(name, 24))
        for n, (name, _) in enumerate(lines)
    ]
    figure, (axes,) = panels(
        width_px, [170], key_rows=-(-len(key) // columns), left_px=44, title_px=4
    )
    style_axes(axes, palette)
    for n, (name, values) in enumerate(lines):
        known = values[~np.isnan(values)]
        if len(known):
            at = np.linspace(0, 100, len(known)) if len(known) > 1 else np.array([50.0])
            axes.plot(
                at, known, color=palette.policy(name), linestyle=_STYLES[n % 4], linewidth=1.6
            )
    axes.set_xlabel("cars, %")
    axes.set_ylabel(unit.partition(" of ")[0])
    draw_key(figure, palette, key, columns)
    return figure


def _over_time(run: FleetRun, place: int, palette: Palette) -> Plate:
    caption = (
        "From above: frames answered in time, late and dropped in each second; what every edge "
        "server and then every cell is worth to its cars (the price of the whole of it); how busy "
        "servers and cells are; power of all cars; the mean of the batteries, where there are any."
    )
    if max(len(run.servers), run.cells) > _MOST_LINES:
        caption += f" The first {_MOST_LINES} servers and cells are drawn."
    draw = partial(_draw_over_time, run, palette)
    name = f"fleet-over-time-{place + 1}"
    return make_plate(name, f"{run.policy} over time", caption, palette, draw, widths=True)


def _draw_over_time(run: FleetRun, palette: Palette, width_px: int) -> Figure:
    battery = np.array([s.battery for s in run.samples])
    count = 5 + bool((~np.isnan(battery)).any())
    figure, axes = panels(width_px, [_PANEL_PX] * count, key_rows=0, left_px=52, title_px=18)
    titles = (
        "frames/s: in time, late and dropped", "price of a server, s", "price of a cell, s",
        "busy, %: servers, cells dashed", "power of all cars, W", "battery, %",
    )  # fmt: skip
    for axis, title in zip(axes, titles, strict=False):
        style_axes(axis, palette, title)
    seconds = np.arange(len(run.over_time)) + 0.5
    for column, place in enumerate(("car", "edge", "fallback")):
        axes[0].plot(seconds, run.over_time[:, column], color=palette.place(place), linewidth=1.4)
    servers = len(run.servers)
    at_s = [r.at_s for r in run.rounds]
    prices = np.array([r.prices for r in run.rounds])
    for axis, columns in ((axes[1], prices[:, :servers]), (axes[2], prices[:, servers:])):
        for n, values in enumerate(columns.T[:_MOST_LINES]):
            _steps(axis, at_s, values, run.seconds, palette, n)
    times_s = np.array([s.at_s for s in run.samples])
    steps_s = np.diff(times_s)
    for busy, style in (("edge_busy_s", "-"), ("air_busy_s", (0, (4, 2)))):
        busy_s = np.array([getattr(s, busy) for s in run.samples])
        mean = 100 * np.diff(busy_s, axis=0) / steps_s[:, None]
        axes[3].plot(
            times_s[1:], mean.mean(axis=1), color=palette["ink"], linestyle=style, linewidth=1.3
        )
    power_w = np.diff([s.energy_j for s in run.samples]) / steps_s
    axes[4].plot(times_s[1:], power_w, color=palette["ink"], linewidth=1.3)
    if count > 5:
        axes[5].plot(times_s, 100 * battery, color=palette["ink"], linewidth=1.3)
    for axis in axes:
        axis.set_ylim(bottom=0)
        axis.set_xlim(0, run.seconds)
    axes[-1].set_xlabel("s")
    return figure


def _steps(
    axes: Axes, at_s: Sequence[float], values: Floats, end_s: float, palette: Palette, n: int
) -> None:
    axes.step(
        [*at_s, end_s], [*values, values[-1]], where="post", color=palette["ink"],
        alpha=1 - 0.06 * n, linestyle=_STYLES[n % 4], linewidth=1.2,
    )  # fmt: skip
