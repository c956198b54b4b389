"""What a road scene is drawn on: an image, and beside it which object and what kind is where.

Shapes are filled by OpenCV with corners in fixed point. Its rasteriser uses integers only, so the
pixels are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]
Point = tuple[float, float]

NO_OBJECT = 0
"""The number of what belongs to no object."""

_SHIFT = 4
_ONE = 1 << _SHIFT
_MOST = 1 << 14


@dataclass(frozen=True)
class View:
    """A pinhole camera that looks along the road.

    Attributes:
        height: of the image in pixels.
        width: likewise.
        focal_px: focal length in pixels.
        horizon_px: row of the horizon.
        camera_m: height of the camera above the road in m.
        bend: how far the road is aside at a distance z, in m per m squared.
    """

    height: int
    width: int
    focal_px: float
    horizon_px: float
    camera_m: float
    bend: float

    def at(self, x_m: float, y_m: float, z_m: float) -> Point:
        """Where a point is seen: metres right of the lane's middle, above the road, ahead."""
        scale = self.focal_px / z_m
        x_m += self.bend * z_m * z_m
        return 0.5 * self.width + scale * x_m, self.horizon_px + scale * (self.camera_m - y_m)


class Canvas:
    """An image under construction, painted from far to near.

    Attributes:
        view: the camera.
        image: uint8 ``(H, W, 3)``, red, green, blue.
        kinds: uint8 ``(H, W)``, what kind of thing each pixel shows.
        owners: uint8 ``(H, W)``, the number of the object that each pixel belongs to.
        fog: colour of the fog.
        sight_m: distance at which half of what is seen is fog.
    """

    def __init__(self, view: View, fog: Colour, sight_m: float) -> None:
        self.view = view
        self.image = np.empty((view.height, view.width, 3), np.uint8)
        self.kinds = np.zeros((view.height, view.width), np.uint8)
        self.owners = np.zeros((view.height, view.width), np.uint8)
        self.fog, self.sight_m = fog, sight_m
        self._kind, self._owner, self._clear = 0, NO_OBJECT, 1.0

    def begin(self, kind: int, z_m: float, owner: int = NO_OBJECT) -> None:
        """What is painted from now on is of this kind, at this distance, part of this object."""
        self._kind, self._owner = kind, owner
        self._clear = self.sight_m / (self.sight_m + z_m)

    def begin_part(self, kind: int, owner: int = NO_OBJECT) -> None:
        """The same at the distance there was, for another part of it."""
        self._kind, self._owner = kind, owner

    def polygon(self, corners: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon with corners in pixels."""
        points = np.array(corners, np.float64)
        self._fill(np.clip(np.rint(points * _ONE), -_MOST * 2, _MOST * 2).astype(np.int32), colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """Fill an upright rectangle."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], colour)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        """Fill an upright ellipse."""
        points = _CIRCLE * (rx, ry) + (x, y)
        self._fill(np.clip(np.rint(points * _ONE), -_MOST * 2, _MOST * 2).astype(np.int32), colour)

    def stroke(self, ax: float, ay: float, bx: float, by: float, pen: float, c: Colour) -> None:
        """Draw a line of some thickness, all in pixels."""
        along_x, along_y = bx - ax, by - ay
        longer = max(abs(along_x), abs(along_y), 1e-6)
        # The length within 6 %, without a square root: max + 3/8 min.
        length = longer + 0.375 * min(abs(along_x), abs(along_y))
        ox, oy = -along_y / length * pen / 2, along_x / length * pen / 2
        self.polygon(
            [(ax + ox, ay + oy), (bx + ox, by + oy), (bx - ox, by - oy), (ax - ox, ay - oy)], c
        )

    def sprite(self, rgba: NDArray[np.uint8], left: float, top: float, side: float) -> None:
        """Paint a square texture, colours already multiplied by coverage.

        Args:
            rgba: uint8 ``(S, S, 4)``.
            left: where it begins, in pixels.
            top: likewise.
            side: its size, in pixels.
        """
        size = max(2, int(np.rint(side)))
        x, y = int(np.rint(left)), int(np.rint(top))
        x0, y0 = max(x, 0), max(y, 0)
        x1, y1 = min(x + size, self.view.width), min(y + size, self.view.height)
        if x0 >= x1 or y0 >= y1:
            return
        scaled = cv2.resize(rgba, (size, size), interpolation=cv2.INTER_LINEAR_EXACT)
        part = scaled[y0 - y : y1 - y, x0 - x : x1 - x]
        clear = np.float32(self._clear)
        cover = part[..., 3:].astype(np.float32) * np.float32(1 / 255)
        paint = part[..., :3] * clear
        paint += cover * np.array(self.fog, np.float32) * (np.float32(1) - clear)
        patch = self.image[y0:y1, x0:x1]
        patch[...] = patch * (np.float32(1) - cover) + paint
        inside = part[..., 3] > 127
        self.kinds[y0:y1, x0:x1][inside] = self._kind
        self.owners[y0:y1, x0:x1][inside] = self._owner

    def in_fog(self, colour: Colour) -> tuple[int, int, int]:
        """A colour as it is seen at the present distance."""
        c = self._clear
        red, green, blue = (int(a * c + b * (1 - c)) for a, b in zip(colour, self.fog, strict=True))
        return red, green, blue

    def _fill(self, points: NDArray[np.int32], colour: Colour) -> None:
        corners = [points]
        cv2.fillPoly(self.image, corners, self.in_fog(colour), cv2.LINE_AA, _SHIFT)
        cv2.fillPoly(self.kinds, corners, (self._kind,), cv2.LINE_8, _SHIFT)
        cv2.fillPoly(self.owners, corners, (self._owner,), cv2.LINE_8, _SHIFT)


def _circle() -> NDArray[np.float64]:
    """Corners of a regular polygon on the unit circle, without the machine's sine."""
    # Cosine and sine of 15 degrees; each corner is the one before it, turned.
    c, s = 0.9659258262890683, 0.25881904510252074
    corners = [(1.0, 0.0)]
    for _ in range(23):
        x, y = corners[-1]
        corners.append((c * x - s * y, s * x + c * y))
    return np.array(corners, np.float64)


_CIRCLE = _circle()
