"""Rendered road-sign scenes: seeded, endless, each frame with its label. No torch in here.

A frame depends only on the seed, its index and the size; see ``scenery`` for why the pixels are the
same on every machine. Frames are independent, so each can be generated directly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.datasets.scenery import (
    Draws,
    Image,
    clutter,
    lighting,
    shape_over,
    smear,
    soften,
    surroundings,
)
from dapdee_ros.datasets.sign_faces import SIGNS, face_pyramid

LABELS: tuple[str, ...] = ("background", *SIGNS)
DEFAULT_SIZE = (64, 64)
LEAST_SIDE = 16
"""Frames are at least this many pixels high and wide."""


@dataclass(frozen=True)
class Frame:
    """One rendered scene.

    Attributes:
        image: uint8 ``(H, W, 3)``, red, green, blue.
        label: index into ``LABELS``.
        box: left, top, right, bottom of the sign in pixels (it may extend beyond the image), or
            None if there is no sign.
    """

    image: NDArray[np.uint8]
    label: int
    box: tuple[float, float, float, float] | None


@dataclass(frozen=True)
class _Pose:
    """A projective map from the sign's plane (-1 to 1 on both axes) to pixels.

    ``x = (a u + b v + c) / (g u + h v + 1)``, ``y = (d u + e v + f) / (g u + h v + 1)``.
    """

    a: float
    b: float
    c: float
    d: float
    e: float
    f: float
    g: float
    h: float

    def box(self) -> tuple[float, float, float, float]:
        xs, ys = [], []
        for u, v in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
            w = self.g * u + self.h * v + 1
            xs.append((self.a * u + self.b * v + self.c) / w)
            ys.append((self.d * u + self.e * v + self.f) / w)
        return min(xs), min(ys), max(xs), max(ys)

    def inverse(self) -> tuple[float, ...]:
        """The adjugate of the 3x3 matrix, row by row: the inverse map, up to a common factor."""
        a, b, c, d, e, f, g, h = (
            self.a, self.b, self.c, self.d, self.e, self.f, self.g, self.h,
        )  # fmt: skip
        return (
            e - f * h, c * h - b, b * f - c * e,
            f * g - d, a - c * g, c * d - a * f,
            d * h - e * g, b * g - a * h, a * e - b * d,
        )  # fmt: skip


def _pose(draws: Draws, height: int, width: int, hardness: float) -> _Pose:
    unit = min(height, width)
    half = unit * draws.uniform(0.44 - 0.18 * hardness, 0.48 - 0.1 * hardness)
    narrow = 1 - hardness * draws.uniform(0, 0.45)
    # The tangent of half the angle gives cosine and sine without the math library.
    t = hardness * draws.uniform(-0.14, 0.14)
    cosine, sine = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    shear = hardness * draws.uniform(-0.15, 0.15)
    across, down = (half * narrow, half) if draws.chance(0.75) else (half, half * narrow)
    slack_x, slack_y = 0.5 * width - 0.85 * across, 0.5 * height - 0.85 * down
    return _Pose(
        a=across * cosine,
        b=-down * sine + across * shear,
        c=0.5 * width + draws.uniform(-1, 1) * max(slack_x, 0.0) * (0.4 + 0.6 * hardness),
        d=across * sine,
        e=down * cosine,
        f=0.5 * height + draws.uniform(-1, 1) * max(slack_y, 0.0) * (0.4 + 0.6 * hardness),
        g=hardness * draws.uniform(-0.22, 0.22),
        h=hardness * draws.uniform(-0.16, 0.16),
    )


def _place(image: Image, sign: str, pose: _Pose, fade: float) -> None:
    """Draw the sign's face in its pose, bilinearly, over the image; in place."""
    height, width = image.shape[:2]
    left, top, right, bottom = pose.box()
    x0, y0 = max(int(left), 0), max(int(top), 0)
    x1, y1 = min(int(right) + 2, width), min(int(bottom) + 2, height)
    if x0 >= x1 or y0 >= y1:
        return
    wanted = max(right - left, bottom - top)
    # The coarsest level that still has a texel for every pixel.
    face = next(f for f in reversed(face_pyramid(sign)) if f.shape[0] >= min(wanted, 192))
    size = face.shape[0]
    x = np.arange(x0, x1, dtype=np.float32)[None, :] + np.float32(0.5)
    y = np.arange(y0, y1, dtype=np.float32)[:, None] + np.float32(0.5)
    m = [np.float32(value) for value in pose.inverse()]
    scale = np.float32(size / 2) / (x * m[6] + (y * m[7] + m[8]))
    shift = np.float32(size / 2 - 0.5)
    u = (x * m[0] + (y * m[1] + m[2])) * scale + shift
    v = (x * m[3] + (y * m[4] + m[5])) * scale + shift
    edge = np.float32(size - 1.001)
    inside = (u > 0) & (v > 0) & (u < edge) & (v < edge)
    u, v = u[inside], v[inside]
    column, row = u.astype(np.intp), v.astype(np.intp)
    u -= column.astype(np.float32)
    v -= row.astype(np.float32)
    texels = face.reshape(-1, 4)
    first = row * size + column
    corners = [texels.take(first + step, axis=0) for step in (0, 1, size, size + 1)]
    u, v = u[:, None], v[:, None]
    upper = corners[0] + (corners[1].astype(np.float32) - corners[0]) * u
    lower = corners[2] + (corners[3].astype(np.float32) - corners[2]) * u
    texel = upper + (lower - upper) * v
    patch = image[y0:y1, x0:x1]
    through = np.float32(1) - texel[:, 3:] * np.float32(1 / 255)
    # An old sign fades towards grey.
    paint = texel[:, :3] * np.float32(1 - fade) + texel[:, 3:] * np.float32(fade * 0.6)
    patch[inside] = patch[inside] * through + paint


def _occlude(draws: Draws, image: Image, box: tuple[float, float, float, float]) -> None:
    """Occlude the sign partly: a leaf, a pole, a lamp, over an edge or across."""
    left, top, right, bottom = box
    w, h = right - left, bottom - top
    for _ in range(1 + draws.below(2)):
        x, y = draws.uniform(left, right), draws.uniform(top, bottom)
        size = draws.uniform(0.12, 0.34)
        if draws.chance(0.3):
            ox, oy = 0.1 * w, 1.5 * h
        else:
            ox, oy = size * w, size * h * draws.uniform(0.6, 1.6)
        green = draws.uniform(40, 110)
        colour = (
            (green * 0.6, green, green * 0.4)
            if draws.chance(0.6)
            else (green, green * 0.95, green * 0.9)
        )
        shape_over(image, draws, (x - ox / 2, y - oy / 2, x + ox / 2, y + oy / 2), colour)


class RoadSigns:
    """An endless series of road-sign scenes.

    Args:
        seed: names the series; training and held-out data use different ones.
        size: height and width of the frames in pixels, each at least 16.

    Raises:
        ValueError: if the seed is negative or the size too small.
    """

    def __init__(self, seed: int, size: tuple[int, int] = DEFAULT_SIZE) -> None:
        if seed < 0:
            raise ValueError(f"the seed must be 0 or more, got {seed}")
        if min(size) < LEAST_SIDE:
            raise ValueError(
                f"frames must be at least {LEAST_SIDE} pixels high and wide, got {size}"
            )
        self.seed = seed
        self.size = size

    def frame(self, index: int) -> Frame:
        """Frame ``index`` of the series (0 or more).

        Raises:
            ValueError: if the index is negative.
        """
        if index < 0:
            raise ValueError(f"the frame's index must be 0 or more, got {index}")
        height, width = self.size
        unit = min(height, width)
        draws = Draws(self.seed, index)
        label = draws.below(len(LABELS))
        # Most frames are easy, some are hard: some an early exit can classify, others not.
        hardness = 0.15 + 0.85 * draws.uniform()
        image = surroundings(draws, height, width)
        clutter(draws, image, 2 + draws.below(9))
        pose = _pose(draws, height, width, hardness)
        box = None
        if label:
            box = pose.box()
            pole = pose.c + unit * draws.uniform(-0.02, 0.02)
            grey = draws.uniform(90, 170)
            edges = [
                int(min(max(p, 0.0), float(width)))
                for p in (pole - 0.02 * unit, pole + 0.03 * unit)
            ]
            image[max(int(pose.f), 0) :, edges[0] : edges[1]] = np.float32(grey)
            _place(image, LABELS[label], pose, hardness * draws.uniform(0, 0.5))
            if draws.chance(0.55 * hardness):
                _occlude(draws, image, box)
        lighting(draws, image, hardness)
        if draws.chance(0.5 * hardness):
            image = smear(draws, image, unit * draws.uniform(0.02, 0.1))
        radius = unit * hardness * draws.uniform(0, 0.026)
        image = soften(image, int(np.rint(radius)))
        image += draws.noise(image.shape) * np.float32(2 + 16 * hardness * draws.uniform())
        np.clip(image, np.float32(0), np.float32(255), out=image)
        return Frame(image.astype(np.uint8), label, box)

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """Frames ``start``, ``start + 1`` and so on, endlessly."""
        index = start
        while True:
            yield self.frame(index)
            index += 1
