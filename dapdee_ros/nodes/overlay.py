"""Answers drawn into the camera's image: boxes, truth, and class maps. No ROS here."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dapdee_ros.nodes.drawing import TEXT, Canvas, Colour, Picture, fitted, width_of
from dapdee_ros.nodes.shown_scene import Box, NamedMap

_MAP_SHARE = 0.45
_DASH_PX = 5
_TAG_PX = 18
_TAG_LETTERS_PX = 13
_Corners = tuple[int, int, int, int]
_DARK: Colour = (12, 18, 24)


@dataclass(frozen=True)
class Placed:
    """Where the camera's image lies in the picture.

    Attributes:
        scale: pixels of the picture per pixel of the image, along x and y.
        left: where it begins.
        top: the same downwards.
        size: height and width that it takes there.
    """

    scale: tuple[float, float]
    left: int
    top: int
    size: tuple[int, int]

    def corners(self, box: Box) -> _Corners:
        """Left, top, right and bottom in pixels of the picture, within the image."""
        height, width = self.size
        sides = []
        for value, axis, start, most in (
            (box.left, 0, self.left, width), (box.top, 1, self.top, height),
            (box.right, 0, self.left, width), (box.bottom, 1, self.top, height),
        ):  # fmt: skip
            sides.append(start + round(min(max(value * self.scale[axis], 0), most - 1)))
        return sides[0], sides[1], sides[2], sides[3]


def draw_truth(canvas: Canvas, boxes: Sequence[Box], placed: Placed) -> None:
    """True boxes, thin and dashed: below the answer's, which they should coincide with."""
    for box in boxes:
        left, top, right, bottom = placed.corners(box)
        for start in range(left, right, 2 * _DASH_PX):
            end = min(start + _DASH_PX, right)
            canvas.line([(start, top), (end, top)], TEXT)
            canvas.line([(start, bottom), (end, bottom)], TEXT)
        for start in range(top, bottom, 2 * _DASH_PX):
            end = min(start + _DASH_PX, bottom)
            canvas.line([(left, start), (left, end)], TEXT)
            canvas.line([(right, start), (right, end)], TEXT)


def draw_boxes(canvas: Canvas, boxes: Sequence[Box], placed: Placed, colour: Colour) -> None:
    """An answer's boxes with class and score; best first.

    Where there is no room for another box's class and score, they are left out.
    """
    for box in reversed(boxes):
        left, top, right, bottom = placed.corners(box)
        corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        canvas.line(corners, colour, 2)
    taken: list[_Corners] = []
    for box in boxes:
        score = f" {100 * box.score:.0f}" if math.isfinite(box.score) else ""
        words = fitted(box.label, 150, _TAG_LETTERS_PX, True) + score
        wide = width_of(words, _TAG_LETTERS_PX, True) + 8
        place = _free_place(placed.corners(box), wide, canvas.pixels.shape[:2], taken)
        if place is None:
            continue
        taken.append(place)
        x, y, end, bottom = place
        canvas.box(x, y, end, bottom, colour)
        middle = y + _TAG_PX // 2
        canvas.text(x + 4, middle, words, _TAG_LETTERS_PX, _DARK, bold=True, anchor="lm")


def _free_place(
    box: _Corners, wide: int, size: tuple[int, int], taken: Sequence[_Corners]
) -> _Corners | None:
    """Where a tag so many pixels wide overlaps no other: at the box's top or bottom edge."""
    left, top, right, bottom = box
    height, width = size
    for y in (top - _TAG_PX, top, bottom - _TAG_PX, bottom):
        for side in (left - 1, right + 1 - wide):
            x = max(min(side, width - wide), 0)
            place = (x, y, x + wide, y + _TAG_PX)
            inside = 0 <= y <= height - _TAG_PX
            if inside and not any(_overlap(place, other) for other in taken):
                return place
    return None


def _overlap(one: _Corners, other: _Corners) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def class_colours(count: int) -> Picture:
    """A colour for each of 256 classes, uint8 ``(256, 3)``, those of a few classes far apart."""
    colours = np.zeros((256, 3), np.uint8)
    for number in range(min(count, 255)):
        # The golden ratio keeps neighbouring numbers apart, however many there are.
        tone = colorsys.hsv_to_rgb(0.618034 * number % 1, 0.75, 1.0 - 0.35 * (number % 2))
        colours[number] = [round(255 * part) for part in tone]
    return colours


def draw_map(canvas: Canvas, found: NamedMap, placed: Placed) -> None:
    """A class map over the image, and what the colours of its most frequent classes mean."""
    height, width = placed.size
    colours = class_colours(len(found.labels))
    enlarged = cv2.resize(found.cells, (width, height), interpolation=cv2.INTER_NEAREST)
    under = canvas.pixels[placed.top : placed.top + height, placed.left : placed.left + width]
    over = colours[np.asarray(enlarged)]
    mixed = cv2.addWeighted(under, 1 - _MAP_SHARE, over, _MAP_SHARE, 0)
    canvas.pixels[placed.top : placed.top + height, placed.left : placed.left + width] = mixed
    counts = np.bincount(found.cells.reshape(-1), minlength=256)[: len(found.labels)]
    y = 54
    for number in np.argsort(-counts, kind="stable")[:8]:
        if not counts[number]:
            break
        colour = colours[number]
        tone = (int(colour[0]), int(colour[1]), int(colour[2]))
        name = fitted(found.labels[number], 150, _TAG_LETTERS_PX)
        canvas.box(14, y, 38 + width_of(name, _TAG_LETTERS_PX) + 8, y + _TAG_PX, _DARK)
        canvas.dot(25, y + 9, 5, tone)
        canvas.text(36, y + 9, name, _TAG_LETTERS_PX, TEXT, anchor="lm")
        y += _TAG_PX + 2
