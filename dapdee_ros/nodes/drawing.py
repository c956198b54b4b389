"""Drawing for the live view: colours, anti-aliased shapes from OpenCV, text from Pillow."""

from __future__ import annotations

import importlib.util
import math
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

GROUND: Colour = (16, 21, 28)
TRACK: Colour = (40, 48, 59)
TEXT: Colour = (232, 237, 243)
MUTED: Colour = (146, 158, 172)
RIGHT: Colour = (74, 201, 126)
WRONG: Colour = (244, 91, 91)
CAR: Colour = (94, 162, 255)
LINK: Colour = (244, 196, 88)
EDGE: Colour = (70, 205, 190)
FALLBACK: Colour = (255, 145, 77)
_FOLDERS = ("/usr/share/fonts/truetype/dejavu", "/usr/share/fonts/dejavu")


@lru_cache(maxsize=32)
def font(size: int, bold: bool = False) -> Any:
    """DejaVu Sans, which comes with Matplotlib and most systems; else Pillow's default font."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    found = importlib.util.find_spec("matplotlib")
    folders = [Path(folder) for folder in _FOLDERS]
    if found is not None and found.origin:
        folders.insert(0, Path(found.origin).parent / "mpl-data" / "fonts" / "ttf")
    for folder in folders:
        if (folder / name).is_file():
            # The other layout engine supports scripts that are not used here, and is slower.
            return ImageFont.truetype(
                str(folder / name), size, layout_engine=ImageFont.Layout.BASIC
            )
    return ImageFont.load_default(size)


@lru_cache(maxsize=512)
def width_of(text: str, size: int, bold: bool = False) -> int:
    """Width of a line of text in pixels."""
    return int(font(size, bold).getlength(text))


@lru_cache(maxsize=64)
def fitted(text: str, width: int, size: int, bold: bool = False) -> str:
    """The text, shortened with dots at its end if it is wider than ``width`` pixels."""
    if width_of(text, size, bold) <= width:
        return text
    fits = bisect_right(
        range(len(text)), width, key=lambda count: width_of(text[:count] + "...", size, bold)
    )
    return text[: max(fits - 1, 0)].rstrip() + "..."


@lru_cache(maxsize=4)
def _blank(height: int, width: int, colour: Colour) -> Picture:
    return np.full((height, width, 3), colour, np.uint8)


@dataclass
class Canvas:
    """An image being drawn.

    Shapes are drawn at once; text is collected and drawn over everything by ``finish``, because
    each change between the two libraries costs a copy.

    Attributes:
        pixels: uint8 ``(H, W, 3)``, red, green, blue.
    """

    pixels: Picture
    _texts: list[tuple[int, int, str, int, bool, Colour, str]] = field(default_factory=list)

    @classmethod
    def blank(cls, height: int, width: int, colour: Colour = GROUND) -> Canvas:
        """A canvas of one colour."""
        return cls(_blank(height, width, colour).copy())

    def box(self, left: int, top: int, right: int, bottom: int, colour: Colour) -> None:
        """A filled rectangle; right and bottom are excluded."""
        if right > left and bottom > top:
            self.pixels[max(top, 0) : bottom, max(left, 0) : right] = colour

    def pill(self, left: int, top: int, right: int, bottom: int, colour: Colour) -> None:
        """A filled rectangle with round ends."""
        radius, centre = (bottom - top) // 2, (top + bottom) // 2
        ends = (left + radius, centre), (right - radius, centre)
        # A thick line has round ends.
        cv2.line(self.pixels, *ends, colour, bottom - top, cv2.LINE_AA)

    def dot(self, x: int, y: int, radius: int, colour: Colour) -> None:
        """A filled circle."""
        cv2.circle(self.pixels, (x, y), radius, colour, -1, cv2.LINE_AA)

    def line(self, points: Any, colour: Colour, thickness: int = 1) -> None:
        """A line through points ``(N, 2)``."""
        corners = np.rint(np.asarray(points)).astype(np.int32).reshape(-1, 1, 2)
        cv2.polylines(self.pixels, [corners], False, colour, thickness, cv2.LINE_AA)

    def area(self, points: Any, colour: Colour) -> None:
        """A filled polygon with corners ``(N, 2)``."""
        corners = np.rint(np.asarray(points)).astype(np.int32).reshape(-1, 1, 2)
        cv2.fillPoly(self.pixels, [corners], colour, cv2.LINE_AA)

    def stacked(
        self, left: int, top: int, right: int, bottom: int, parts: list[tuple[float, Colour]]
    ) -> None:
        """A bar of coloured parts, each a share (0 to 1) of the whole; any excess is cut off."""
        self.box(left, top, right, bottom, TRACK)
        done = 0.0
        for share, colour in parts:
            start = left + round((right - left) * min(done, 1.0))
            done += max(share, 0.0) if math.isfinite(share) else 0.0
            self.box(start, top, left + round((right - left) * min(done, 1.0)), bottom, colour)

    def text(
        self,
        x: int,
        y: int,
        text: str,
        size: int = 14,
        colour: Colour = TEXT,
        *,
        bold: bool = False,
        anchor: str = "ls",
    ) -> None:
        """A line of text.

        Args:
            x: where its anchor is, pixels from the left.
            y: the same from the top.
            text: the line.
            size: height of the letters in pixels.
            colour: its colour.
            bold: whether it is bold.
            anchor: Pillow's: ``l``, ``m`` or ``r``, and ``s`` (base line) or ``m`` (middle).
        """
        self._texts.append((x, y, text, size, bold, colour, anchor))

    def finish(self) -> Picture:
        """The image with its text."""
        image = Image.fromarray(self.pixels)
        pen = ImageDraw.Draw(image)
        for x, y, text, size, bold, colour, anchor in self._texts:
            pen.text((x, y), text, fill=colour, font=font(size, bold), anchor=anchor)
        return np.asarray(image)


def in_words(value: float, unit: str) -> str:
    """A quantity with three digits and a prefix: ``5.85 Mbit/s``, ``12.3 kB``."""
    if not math.isfinite(value):
        return "unknown"
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * factor:
            scaled = value / factor
            digits = 0 if scaled >= 99.95 else 1 if scaled >= 9.995 else 2
            return f"{scaled:.{digits}f} {prefix}{unit}"
    return f"{value:.0f} {unit}"


def short_name(node: str) -> str:
    """The end of a model node's name, without the common prefix.

    ``backbone.layer2.1.relu`` becomes ``layer2.1.relu``.
    """
    parts = node.split(".")
    return ".".join(parts[-3:])
