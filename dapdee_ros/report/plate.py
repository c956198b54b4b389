"""Prepares plots for a page: responsive, accessible SVG that follows the page's colours.

Matplotlib draws with the palette's light colours. In a page they become CSS variables, so that the
page's light and dark colours apply; in a separate file a plot keeps them, on white.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from dapdee_ros.report.palette import Palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Draw = Callable[[int], "Figure"]
"""Draws a figure of this width in pixels."""

WIDE_PX = 1120
NARROW_PX = 340
_KEY_ROW_PX = 14.5
_X_AXIS_PX = 40
_RIGHT_PX = 12
_SVG = "http://www.w3.org/2000/svg"
_HREF = "{http://www.w3.org/1999/xlink}href"
_FONT = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True)
class Plate:
    """One figure of a report.

    Attributes:
        name: for file names and ids: letters, digits, hyphens.
        title: heading, plain text.
        caption: what it shows, in a sentence or two, plain text.
        drawings: SVG for a page by screen: ``wide``, ``narrow`` or ``any``.
        drawn: matplotlib's SVG of the first of them.
    """

    name: str
    title: str
    caption: str
    drawings: dict[str, str]
    drawn: str

    @property
    def file(self) -> str:
        """SVG for a separate file."""
        identity = f"{self.name}-{next(iter(self.drawings))}"
        return finished_svg(self.drawn, identity, self.title, self.caption, in_page=False)


def make_plate(
    name: str, title: str, caption: str, palette: Palette, draw: Draw, *, widths: bool = False
) -> Plate:
    """Draw a figure, with ``widths`` once for desktops and once for phones."""
    sizes = {"wide": WIDE_PX, "narrow": NARROW_PX} if widths else {"any": NARROW_PX}
    drawings, drawn = {}, ""
    for who, width_px in sizes.items():
        with drawing_style():
            svg = _saved(draw(width_px))
        identity = f"{name}-{who}"
        drawings[who] = palette.themed(finished_svg(svg, identity, title, caption, in_page=True))
        drawn = drawn or svg
    return Plate(name, title, caption, drawings, drawn)


@contextmanager
def drawing_style() -> Iterator[None]:
    """Matplotlib's settings of all figures; names from logs are text, never markup."""
    import matplotlib

    with matplotlib.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "dapdee",
            "text.parse_math": False,
            "font.family": "DejaVu Sans",
            "font.size": 11,
            "axes.titlesize": 11,
            "axes.labelsize": 11,
            "xtick.labelsize": 10,
            "ytick.labelsize": 10,
            "legend.fontsize": 10,
            "legend.frameon": False,
            "path.simplify": False,
        }
    ):
        yield


def panels(
    width_px: int, heights_px: Sequence[float], *, key_rows: int, left_px: float, title_px: float
) -> tuple[Figure, list[Axes]]:
    """Axes below each other on a common x axis, with room for a key above and the x axis below.

    Everything is positioned in pixels (one unit of font size is a pixel): what surrounds the axes
    is known in advance, and measuring it would take as long as drawing.

    Args:
        width_px: of the figure.
        heights_px: of each axes.
        key_rows: rows of the figure's key, 0 for none; ``draw_key`` draws it.
        left_px: room for the names of ticks.
        title_px: room for a title above each axes.
    """
    from matplotlib.figure import Figure

    top_px = _KEY_ROW_PX * key_rows + (8 if key_rows else 2)
    total_px = top_px + sum(heights_px) + title_px * len(heights_px) + _X_AXIS_PX
    figure = Figure(figsize=(width_px / 72, total_px / 72), dpi=72, facecolor="none")
    found: list[Axes] = []
    at_px = total_px - top_px
    for height_px in heights_px:
        at_px -= title_px + height_px
        place = (
            left_px / width_px,
            at_px / total_px,
            (width_px - left_px - _RIGHT_PX) / width_px,
            height_px / total_px,
        )
        found.append(figure.add_axes(place, sharex=found[0] if found else None))
    for axes in found[:-1]:
        axes.tick_params(labelbottom=False)
    return figure, found


def draw_key(
    figure: Figure, palette: Palette, key: Sequence[tuple[Any, str]], columns: int
) -> None:
    """Explain colours and marks above a figure, row by row; matplotlib would fill columns."""
    read = [entry for column in range(columns) for entry in key[column::columns]]
    figure.legend(
        handles=[handle for handle, _ in read], labels=[words for _, words in read],
        loc="upper left", bbox_to_anchor=(0, 1), ncols=columns, labelcolor=palette["ink"],
        handlelength=1.4, handletextpad=0.5, columnspacing=1.2, borderpad=0.2, borderaxespad=0.2,
        labelspacing=0.4,
    )  # fmt: skip


def style_axes(axes: Axes, palette: Palette, title: str = "", *, grid: str = "both") -> None:
    """Give axes the report's look: quiet rules, ink for words."""
    axes.set_facecolor("none")
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(palette["rule"])
    axes.tick_params(
        colors=palette["rule"], labelcolor=palette["muted"], which="both", length=3, width=0.8
    )
    axes.xaxis.label.set_color(palette["muted"])
    axes.grid(axis=grid, color=palette["rule"], linewidth=0.6, alpha=0.6)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    if title:
        # Nothing is between axes and title; matplotlib would measure all ticks to find that out.
        axes.set_title(title, loc="left", color=palette["ink"], pad=5, y=1.0)


def log_ticks(axes: Axes) -> None:
    """Label 1, 2 and 5 of every decade on a logarithmic axis: ranges are often small."""
    from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def legible(text: object, most: int = 400) -> str:
    """Text that is valid in any file: no control characters or lone surrogates, bounded length."""
    clean = re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", " ", str(text))
    return clean if len(clean) <= most else f"{clean[: most - 1]}…"


def _saved(figure: Figure) -> str:
    buffer = io.BytesIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", facecolor="none", metadata=nothing)
    return buffer.getvalue().decode()


def finished_svg(svg: str, identity: str, title: str, text: str, *, in_page: bool) -> str:
    """Matplotlib's SVG made responsive, accessible and small.

    Args:
        svg: as matplotlib writes it.
        identity: begins every id in it, so that several drawings can share a page.
        title: accessible name.
        text: accessible description.
        in_page: for a page (responsive width) or for a file (white background).
    """
    root = ElementTree.fromstring(svg)
    left, top, width, height = (float(v) for v in root.attrib["viewBox"].split())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    _shorten_ids(root, identity)
    for element in root.iter():
        _tidy(element)
        _hoist(element)
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib.update(
        {
            "role": "img",
            "aria-labelledby": f"{identity}-title",
            "aria-describedby": f"{identity}-desc",
            "stroke-linejoin": "round",
            "font-family": _FONT,
        }
    )
    if in_page:
        root.attrib["style"] = f"max-width:{round(1.25 * width)}px"
    else:
        root.attrib.update({"width": f"{width:g}", "height": f"{height:g}"})
        paper = {"x": f"{left:g}", "y": f"{top:g}", "width": f"{width:g}", "height": f"{height:g}"}
        root.insert(0, ElementTree.Element(f"{{{_SVG}}}rect", {**paper, "fill": "#ffffff"}))
    for tag, words in (("desc", text), ("title", title)):
        element = ElementTree.Element(f"{{{_SVG}}}{tag}", {"id": f"{identity}-{tag}"})
        element.text = legible(words)
        root.insert(0, element)
    # In a page the parser knows the names; a file needs the namespace.
    for element in root.iter():
        element.tag = element.tag.rsplit("}", maxsplit=1)[-1]
    if not in_page:
        root.attrib["xmlns"] = _SVG
    return ElementTree.tostring(root, encoding="unicode")


def _shorten_ids(root: ElementTree.Element, identity: str) -> None:
    """Keep only the ids that something refers to."""
    used: dict[str, str] = {}

    def short(name: str) -> str:
        return used.setdefault(name, f"{identity}-{len(used)}")

    for element in root.iter():
        if _HREF in element.attrib:
            element.attrib["href"] = "#" + short(element.attrib.pop(_HREF)[1:])
        clip = element.attrib.get("clip-path")
        if clip:
            element.attrib["clip-path"] = f"url(#{short(clip[5:-1])})"
    for element in root.iter():
        name = element.attrib.pop("id", None)
        if name in used:
            element.attrib["id"] = used[name]


def _tidy(element: ElementTree.Element) -> None:
    """Round to a tenth of a pixel, use the page's font, remove rotations by zero."""
    attributes = element.attrib
    if "d" in attributes:
        attributes["d"] = _rounded(" ".join(attributes["d"].split()))
    for key in ("x", "y", "width", "height", "transform"):
        if key in attributes:
            attributes[key] = _rounded(attributes[key])
    if re.match(r"rotate\(-?0(\.0*)? ", attributes.get("transform", "")):
        del attributes["transform"]
    if "style" in attributes:
        style = re.sub(r"font(-family)?: ([^;]*)'DejaVu Sans'[^;]*", _font, attributes["style"])
        attributes["style"] = style.replace(": ", ":").replace("; ", ";")
    for text in ("text", "tail"):
        value = getattr(element, text)
        if value is not None and not value.strip():
            setattr(element, text, None)


def _font(match: re.Match[str]) -> str:
    size = re.search(r"[\d.]+px", match.group(2))
    weight = "font-weight:bold;" if "bold" in match.group(2) or " 700 " in match.group(2) else ""
    return f"{weight}font-size:{size.group()}" if size else ""


def _rounded(numbers: str) -> str:
    return re.sub(r"-?\d+\.\d+", lambda m: f"{round(float(m.group()), 1):g}", numbers)


def _hoist(group: ElementTree.Element) -> None:
    """Move the style of many equal marks to their group."""
    marks = [child for child in group if child.tag.endswith("}use")]
    styles = {mark.attrib.get("style") for mark in marks}
    if group.tag.endswith("}g") and len(marks) > 1 and len(marks) == len(group):
        style = styles.pop()
        if not styles and style and "style" not in group.attrib:
            group.attrib["style"] = style
            for mark in marks:
                del mark.attrib["style"]
