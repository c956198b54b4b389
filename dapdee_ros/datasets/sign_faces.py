"""Front views of the road signs, drawn from half-planes, discs and strokes. No torch in here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Colour = tuple[int, int, int]
Point = tuple[float, float]

FACE_SIZE = 192
_SUPERSAMPLING = 3

RED: Colour = (190, 22, 34)
BLUE: Colour = (16, 74, 158)
YELLOW: Colour = (248, 184, 16)
WHITE: Colour = (244, 244, 240)
BLACK: Colour = (20, 20, 22)


class _Face:
    """A square drawing board, x to the right and y down, both from -1 to 1."""

    def __init__(self) -> None:
        cells = FACE_SIZE * _SUPERSAMPLING
        axis = (np.arange(cells, dtype=np.float64) * 2 + 1) / cells - 1
        self.x = np.broadcast_to(axis[None, :], (cells, cells))
        self.y = np.broadcast_to(axis[:, None], (cells, cells))
        self.colour = np.zeros((cells, cells, 3), np.uint8)
        self.covered: Mask = np.zeros((cells, cells), np.bool_)

    def paint(self, mask: Mask, colour: Colour) -> None:
        self.colour[mask] = colour
        self.covered |= mask

    def ellipse(self, x: float, y: float, rx: float, ry: float) -> Mask:
        dx, dy = (self.x - x) / rx, (self.y - y) / ry
        return dx * dx + dy * dy <= 1

    def disc(self, radius: float, x: float = 0, y: float = 0) -> Mask:
        return self.ellipse(x, y, radius, radius)

    def box(self, left: float, top: float, right: float, bottom: float) -> Mask:
        return (self.x >= left) & (self.x <= right) & (self.y >= top) & (self.y <= bottom)

    def polygon(self, corners: Sequence[Point]) -> Mask:
        """A convex polygon, corners clockwise as seen (y down)."""
        mask: Mask = np.ones(self.x.shape, np.bool_)
        for (ax, ay), (bx, by) in zip(corners, [*corners[1:], corners[0]], strict=True):
            mask &= (bx - ax) * (self.y - ay) - (by - ay) * (self.x - ax) >= 0
        return mask

    def stroke(self, points: Sequence[Point], width: float) -> Mask:
        """A polyline with round ends; ``width`` is the whole width of the pen."""
        mask: Mask = np.zeros(self.x.shape, np.bool_)
        reach = width * width / 4
        for (ax, ay), (bx, by) in pairwise(points):
            ux, uy = bx - ax, by - ay
            along = ((self.x - ax) * ux + (self.y - ay) * uy) / (ux * ux + uy * uy)
            along = np.clip(along, 0, 1)
            dx, dy = self.x - ax - along * ux, self.y - ay - along * uy
            mask |= dx * dx + dy * dy <= reach
        return mask

    def rgba(self) -> NDArray[np.uint8]:
        """The board at FACE_SIZE, colour already multiplied by coverage, uint8 ``(S, S, 4)``."""
        layers = np.dstack([self.colour * self.covered[..., None], self.covered * np.uint8(255)])
        s = _SUPERSAMPLING
        blocks = layers.reshape(FACE_SIZE, s, FACE_SIZE, s, 4).astype(np.uint32)
        # Integer sums: the same bytes whatever order a build adds them in.
        return (blocks.sum(axis=(1, 3)) // (s * s)).astype(np.uint8)


_ROUND: list[Point] = [(-0.5, -0.6), (-0.2, -1), (0.2, -1), (0.5, -0.6), (0.5, 0.6), (0.2, 1),
                       (-0.2, 1), (-0.5, 0.6), (-0.5, -0.6)]  # fmt: skip

# Strokes of glyphs in a box from -1 to 1.
_GLYPHS: dict[str, Sequence[Sequence[Point]]] = {
    "0": [_ROUND],
    "3": [[(-0.5, -0.7), (-0.2, -1), (0.2, -1), (0.5, -0.7), (0.5, -0.3), (0.2, -0.05),
           (-0.1, -0.05)],
          [(0.2, -0.05), (0.5, 0.25), (0.5, 0.7), (0.2, 1), (-0.2, 1), (-0.5, 0.7)]],
    "5": [[(0.5, -1), (-0.45, -1), (-0.5, -0.1), (-0.2, -0.3), (0.2, -0.3), (0.5, 0.05),
           (0.5, 0.65), (0.2, 1), (-0.2, 1), (-0.5, 0.7)]],
    "8": [[(-0.2, -0.05), (-0.5, -0.3), (-0.5, -0.7), (-0.2, -1), (0.2, -1), (0.5, -0.7),
           (0.5, -0.3), (0.2, -0.05), (-0.2, -0.05), (-0.5, 0.25), (-0.5, 0.7), (-0.2, 1),
           (0.2, 1), (0.5, 0.7), (0.5, 0.25), (0.2, -0.05)]],
    "S": [[(0.5, -0.7), (0.2, -1), (-0.2, -1), (-0.5, -0.7), (-0.5, -0.35), (0.5, 0.3), (0.5, 0.7),
           (0.2, 1), (-0.2, 1), (-0.5, 0.7)]],
    "T": [[(-0.55, -1), (0.55, -1)], [(0, -1), (0, 1)]],
    "O": [_ROUND],
    "P": [[(-0.5, 1), (-0.5, -1), (0.2, -1), (0.5, -0.7), (0.5, -0.2), (0.2, 0.1), (-0.5, 0.1)]],
}  # fmt: skip


def _write(face: _Face, text: str, pitch: float, height: float, pen: float, colour: Colour) -> None:
    for place, letter in enumerate(text):
        centre = (place - (len(text) - 1) / 2) * pitch
        for points in _GLYPHS[letter]:
            placed = [(centre + px * pitch * 0.72, py * height / 2) for px, py in points]
            face.paint(face.stroke(placed, pen), colour)


def _stop(face: _Face) -> None:
    for size, colour in ((0.97, WHITE), (0.9, RED)):
        octagon = (np.abs(face.x) <= size) & (np.abs(face.y) <= size)
        face.paint(octagon & (np.abs(face.x) + np.abs(face.y) <= size * 1.414), colour)
    _write(face, "STOP", 0.4, 0.62, 0.115, WHITE)


def _yield(face: _Face) -> None:
    face.paint(face.polygon([(-0.98, -0.8), (0.98, -0.8), (0, 0.92)]), RED)
    face.paint(face.polygon([(-0.6, -0.58), (0.6, -0.58), (0, 0.48)]), WHITE)


def _no_entry(face: _Face) -> None:
    face.paint(face.disc(0.97), WHITE)
    face.paint(face.disc(0.92), RED)
    face.paint(face.box(-0.66, -0.17, 0.66, 0.17), WHITE)


def _speed(text: str) -> Callable[[_Face], None]:
    def draw(face: _Face) -> None:
        face.paint(face.disc(0.97), RED)
        face.paint(face.disc(0.75), WHITE)
        _write(face, text, 0.6, 0.74, 0.15, BLACK)

    return draw


def _priority_road(face: _Face) -> None:
    across = np.abs(face.x) + np.abs(face.y)
    face.paint(across <= 0.98, WHITE)
    face.paint(across <= 0.68, YELLOW)


def _crosswalk(face: _Face) -> None:
    face.paint(face.box(-0.9, -0.9, 0.9, 0.9), BLUE)
    face.paint(face.polygon([(0, -0.74), (0.78, 0.66), (-0.78, 0.66)]), WHITE)
    face.paint(face.disc(0.11, 0.02, -0.3), BLACK)
    for limb in (
        [(0, -0.14), (0, 0.16), (-0.22, 0.48)],
        [(0, 0.16), (0.22, 0.48)],
        [(-0.2, 0.1), (0, -0.12), (0.2, 0.1)],
    ):
        face.paint(face.stroke(limb, 0.11), BLACK)
    for left in (-0.56, -0.2, 0.16, 0.42):
        face.paint(face.box(left, 0.54, left + 0.16, 0.62), BLACK)


def _no_overtaking(face: _Face) -> None:
    face.paint(face.disc(0.97), RED)
    face.paint(face.disc(0.75), WHITE)
    for x, colour in ((-0.31, RED), (0.31, BLACK)):
        face.paint(face.box(x - 0.25, -0.06, x + 0.25, 0.2), colour)
        roof = [(x - 0.13, -0.28), (x + 0.13, -0.28), (x + 0.22, -0.06), (x - 0.22, -0.06)]
        face.paint(face.polygon(roof), colour)
        for wheel in (-0.15, 0.15):
            face.paint(face.box(x + wheel - 0.06, 0.2, x + wheel + 0.06, 0.3), colour)


def _roundabout(face: _Face) -> None:
    face.paint(face.disc(0.97), BLUE)
    ring = face.disc(0.6) & ~face.disc(0.36)
    # Three arrows, a third of a turn apart: cosine and sine of 0, 120 and 240 degrees.
    turns = ((1.0, 0.0), (-0.5, 0.8660254), (-0.5, -0.8660254))
    for c, s in turns:
        ring &= ~face.stroke([(0.3 * c, 0.3 * s), (0.7 * c, 0.7 * s)], 0.2)
    face.paint(ring, WHITE)
    for c, s in turns:
        # The head points along the circle, clockwise as seen, and ends in the gap.
        head = [(0.24, -0.16), (0.72, -0.16), (0.48, 0.2)]
        face.paint(face.polygon([(px * c - py * s, px * s + py * c) for px, py in head]), WHITE)


def _turn(side: int) -> Callable[[_Face], None]:
    def draw(face: _Face) -> None:
        face.paint(face.disc(0.97), BLUE)
        face.paint(face.stroke([(-0.3 * side, 0.6), (-0.3 * side, -0.1), (0.2 * side, -0.1)], 0.24),
                   WHITE)  # fmt: skip
        head = [(0.62 * side, -0.1), (0.16 * side, 0.3), (0.16 * side, -0.5)]
        face.paint(face.polygon(head if side > 0 else head[::-1]), WHITE)

    return draw


def _ahead(face: _Face) -> None:
    face.paint(face.disc(0.97), BLUE)
    face.paint(face.box(-0.12, -0.3, 0.12, 0.68), WHITE)
    face.paint(face.polygon([(0, -0.72), (0.42, -0.2), (-0.42, -0.2)]), WHITE)


SIGNS: dict[str, Callable[[_Face], None]] = {
    "stop": _stop,
    "yield": _yield,
    "no_entry": _no_entry,
    "speed_30": _speed("30"),
    "speed_50": _speed("50"),
    "speed_80": _speed("80"),
    "priority_road": _priority_road,
    "crosswalk": _crosswalk,
    "no_overtaking": _no_overtaking,
    "roundabout": _roundabout,
    "turn_left": _turn(-1),
    "turn_right": _turn(1),
    "ahead_only": _ahead,
}


@cache
def face_pyramid(sign: str) -> tuple[NDArray[np.uint8], ...]:
    """The sign's face at FACE_SIZE, half of it, and so on down to 12 pixels.

    Returns:
        uint8 arrays ``(S, S, 4)``: red, green, blue, each multiplied by coverage, and coverage
        (255 is inside). Halving a texture before sampling it keeps small signs free of aliasing
        (L. Williams, "Pyramidal Parametrics", SIGGRAPH 1983).
    """
    face = _Face()
    SIGNS[sign](face)
    levels = [face.rgba()]
    while levels[-1].shape[0] > 12:
        half = levels[-1].shape[0] // 2
        blocks = levels[-1].reshape(half, 2, half, 2, 4).astype(np.uint32)
        levels.append(((blocks.sum(axis=(1, 3)) + 2) // 4).astype(np.uint8))
    return tuple(levels)
