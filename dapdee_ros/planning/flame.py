"""Draws where a frame's time goes: what consists of what stands above it, as wide as it takes."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dapdee_ros.planning.breakdown import Piece
from dapdee_ros.planning.sites import CAR as CAR_SITE
from dapdee_ros.planning.sites import EDGE as EDGE_SITE
from dapdee_ros.planning.sweep_chart import CAR, EDGE, save

_LINK, _FRAME = "#f2c94c", "#e8eaed"
# Sites differ in their hatching too, for whoever sees or prints no colours.
_LOOKS = {CAR_SITE: (CAR, ""), "link": (_LINK, "...."), EDGE_SITE: (EDGE, "////")}
_WIDTH, _ROW_HEIGHT = 12.0, 0.55  # inches
_LEVELS = 5
_NARROWEST = 0.002
"""Narrower than this share of the whole nothing is drawn."""

_INCHES_PER_LETTER = 0.075


def draw_frame(whole: Piece, title: str, stem: Path) -> list[Path]:
    """Write ``<stem>.png`` and ``<stem>.svg``.

    Args:
        whole: a frame's time.
        title: above the drawing.
        stem: where to write, without ending.

    Returns:
        The files.
    """
    figure = Figure(figsize=(_WIDTH, (_LEVELS + 1.6) * _ROW_HEIGHT))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.02, 0.16, 0.96, 0.74))
    axes.set_xlim(0, 1e3 * whole.seconds or 1.0)
    axes.set_ylim(0, _LEVELS)
    axes.set_yticks([])
    axes.set_xlabel("ms")
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.set_title(title, fontsize=10, loc="left")
    _draw(axes, whole, 0.0, 0, whole.seconds, (_FRAME, ""))
    return save(figure, stem)


def _draw(
    axes: Axes, piece: Piece, begin_s: float, level: int, total_s: float, look: tuple[str, str]
) -> None:
    width_s = piece.seconds
    if level >= _LEVELS or width_s < _NARROWEST * total_s or not total_s:
        return
    look = _LOOKS.get(piece.name, look) if level == 1 else look
    colour, hatch = look
    axes.add_patch(
        Rectangle(
            (1e3 * begin_s, level), 1e3 * width_s, 0.92, facecolor=colour, hatch=hatch,
            edgecolor="white", linewidth=0.8,
        )
    )  # fmt: skip
    room = int(_WIDTH * 0.96 * width_s / total_s / _INCHES_PER_LETTER)
    text = f"{piece.name} {1e3 * width_s:.3g} ms"
    if len(text) > room:
        # The end of a node's name tells it from its neighbours.
        missing = len(piece.name) - room
        text = piece.name if missing <= 0 else "…" + piece.name[missing + 1 :]
    if room >= 3:
        axes.text(
            1e3 * (begin_s + width_s / 2), level + 0.46, text, ha="center", va="center",
            fontsize=8, color="black",
            bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8},
        )  # fmt: skip
    for inner in piece.pieces:
        _draw(axes, inner, begin_s, level + 1, total_s, look)
        begin_s += inner.seconds
