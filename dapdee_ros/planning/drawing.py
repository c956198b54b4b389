"""Draws a plan: the network with its car and edge sides and what is sent between them."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch

from dapdee_ros.graph.cuts import head_of
from dapdee_ros.graph.dag import ModelDag
from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.sweep_chart import CAR, EDGE, save

_UNUSED, _SENT = "#d4d7da", "#c0392b"
# Nodes below each other before the drawing goes on in the next column.
_ROWS = 45
# Inches.
_ROW_HEIGHT, _LANE_WIDTH, _MARGIN = 0.27, 1.75, 0.4


def draw_plan(
    dag: ModelDag, plan: Plan, tensor_bytes: Mapping[str, float], title: str, stem: Path
) -> list[Path]:
    """Write ``<stem>.png`` and ``<stem>.svg``.

    Args:
        dag: the network.
        plan: what to show.
        tensor_bytes: bytes that each boundary tensor takes on the link.
        title: above the drawing.
        stem: where to write, without ending.

    Returns:
        The files.
    """
    head = head_of(dag, plan.exit_number, plan.boundary)
    part = head_of(dag, plan.exit_number, ())
    if plan.gate is not None:
        head = head | head_of(dag, plan.gate, ())
    place = _layout(dag)
    width = max(x for x, _ in place.values()) + _LANE_WIDTH + 2 * _MARGIN
    height = max(-y for _, y in place.values()) + _ROW_HEIGHT + 2 * _MARGIN + 0.7
    figure = Figure(figsize=(max(width, 5.0), height))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(-_MARGIN, max(width, 5.0) - _MARGIN)
    axes.set_ylim(0.7 + _MARGIN - height, 0.7 + _MARGIN)
    axes.text(-_MARGIN / 2, 0.62, title, fontsize=9, va="center")

    for node in dag.nodes:
        used = node.name in head or node.name in part
        colour = CAR if node.name in head else EDGE if used else _UNUSED
        for name in node.inputs:
            crosses = name in plan.boundary and node.name in part and node.name not in head
            _arrow(axes, place[name], place[node.name], crosses, used)
        _node(axes, place[node.name], node.name, colour, node.name in dag.outputs)
    for name in plan.boundary:
        x, y = place[name]
        axes.text(
            x + 0.1, y - 0.42 * _ROW_HEIGHT, f"{tensor_bytes[name]:,.0f} bytes",
            fontsize=6.5, color=_SENT, weight="bold", va="center", zorder=4,
        )  # fmt: skip
    marks = [(CAR, "car"), (EDGE, "edge"), (_UNUSED, "not run")]
    handles: list[Line2D] = [
        Line2D([], [], marker="o", linestyle="", color=colour, label=label)
        for colour, label in marks
    ]
    handles.append(Line2D([], [], color=_SENT, linewidth=2, label="sent"))
    axes.legend(handles=handles, loc="upper right", fontsize=7, ncols=4, frameon=False)
    return save(figure, stem)


def _layout(dag: ModelDag) -> dict[str, tuple[float, float]]:
    """Positions in inches: depth downwards, nodes of one depth side by side, columns wrapped."""
    depth = {dag.input: 0}
    for node in dag.nodes[1:]:
        depth[node.name] = 1 + max(depth[name] for name in node.inputs)
    lanes: dict[str, int] = {dag.input: 0}
    taken: dict[int, set[int]] = {0: {0}}
    for node in dag.nodes[1:]:
        used = taken.setdefault(depth[node.name], set())
        # The lane of what it reads, else the nearest free one to the right: chains stay straight.
        lane = min(lanes[name] for name in node.inputs)
        while lane in used:
            lane += 1
        used.add(lane)
        lanes[node.name] = lane
    tops = _column_tops(dag, depth)
    column_of = {name: bisect_right(tops, d) - 1 for name, d in depth.items()}
    widths = [
        1 + max(lanes[name] for name, column in column_of.items() if column == wanted)
        for wanted in range(len(tops))
    ]
    return {
        name: (
            _LANE_WIDTH * (sum(widths[: column_of[name]]) + lanes[name]),
            -_ROW_HEIGHT * (d - tops[column_of[name]]),
        )
        for name, d in depth.items()
    }


def _column_tops(dag: ModelDag, depth: Mapping[str, int]) -> list[int]:
    """The depths at which columns begin, where the fewest arrows lead from one to the next."""
    last = max(depth.values())
    passing = [0] * (last + 2)
    for node in dag.nodes:
        for reader in dag.readers[node.name]:
            for d in range(depth[node.name] + 1, depth[reader] + 1):
                passing[d] += 1
    columns = math.ceil((last + 1) / _ROWS)
    tops = [0]
    for column in range(1, columns):
        ideal = round((last + 1) * column / columns)
        near = range(max(tops[-1] + 1, ideal - 6), min(last, ideal + 6) + 1)
        tops.append(min(near, key=lambda d: (passing[d], abs(d - ideal))))
    return tops


def _node(axes: Axes, at: tuple[float, float], name: str, colour: str, is_exit: bool) -> None:
    axes.plot(
        *at,
        marker="s" if is_exit else "o",
        markersize=6 if is_exit else 4.5,
        color=colour,
        zorder=3,
    )
    shown = name if len(name) <= 26 else "…" + name[-25:]
    axes.text(at[0] + 0.1, at[1], shown, fontsize=5.5, va="center", color="#222222", zorder=3)


def _arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], sent: bool, used: bool
) -> None:
    straight = abs(start[0] - end[0]) < 1e-6
    skips = straight and start[1] - end[1] > 1.5 * _ROW_HEIGHT
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=5,
            shrinkA=3,
            shrinkB=3,
            connectionstyle="arc3,rad=0.25" if skips else "arc3,rad=0",
            color=_SENT if sent else "#777777" if used else _UNUSED,
            linewidth=1.8 if sent else 0.7,
            # From the foot of one column to the head of the next.
            linestyle="dotted" if end[1] > start[1] else "solid",
            zorder=2 if sent else 1,
        )
    )
