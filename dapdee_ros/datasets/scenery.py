"""The surroundings of a road sign: scenes, clutter, occlusion, light, lens, sensor.

Every function here uses integer arithmetic and single IEEE additions, multiplications, divisions
and comparisons of float32, applied element by element by NumPy. Nothing uses the machine's math
library (sine, exponential, power), BLAS, OpenCV or a floating-point sum whose order depends on the
build, so the same draws give the same pixels everywhere.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Box = tuple[float, float, float, float]

_POOL = 320


class Draws:
    """The random numbers of one frame, fixed by a seed and the frame's index.

    NumPy guarantees that PCG64's raw 64-bit words never change, but not its distributions, so
    numbers are derived from the words here.
    """

    def __init__(self, seed: int, index: int) -> None:
        self._words = np.random.PCG64(np.random.SeedSequence((seed, index)))
        self._pool: list[float] = []

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number from ``low`` to ``high``, ``high`` excluded."""
        if not self._pool:
            words = self._words.random_raw(_POOL) >> np.uint64(11)
            self._pool = (words.astype(np.float64) * 2.0**-53).tolist()
        return low + (high - low) * self._pool.pop()

    def below(self, count: int) -> int:
        """An integer from 0 to ``count - 1``."""
        return int(self.uniform() * count)

    def chance(self, share: float) -> bool:
        """True for this share of the calls."""
        return self.uniform() < share

    def words(self, count: int) -> NDArray[np.uint64]:
        """Raw random words, uint64 ``(count,)``."""
        return self._words.random_raw(count)

    def lattice(self, rows: int, columns: int) -> Image:
        """float32 ``(rows, columns)`` of values from -1 to 1."""
        count = rows * columns
        raw = self._words.random_raw((count + 7) // 8).view(np.uint8)[:count]
        return raw.reshape(rows, columns).astype(np.float32) * np.float32(2 / 255) - np.float32(1)

    def noise(self, shape: tuple[int, ...]) -> Image:
        """float32 noise of the given shape, bell-shaped, mean 0, standard deviation about 1.

        The sum of two uniform bytes, a triangular distribution: sensor noise needs no better tails
        here.
        """
        count = 1
        for side in shape:
            count *= side
        raw = self._words.random_raw((count + 3) // 4).view(np.uint16)[:count]
        low, high = (raw & np.uint16(255)).astype(np.int16), (raw >> np.uint16(8)).astype(np.int16)
        # The sum of two uniform bytes has variance 2 * (256^2 - 1) / 12.
        return (low + high - np.int16(255)).reshape(shape).astype(np.float32) * np.float32(
            1 / 104.5117
        )


def stretch(lattice: Image, height: int, width: int) -> Image:
    """Bilinear enlargement of a lattice to ``(height, width)``."""

    def lines(cells: int, pixels: int) -> tuple[NDArray[np.intp], Image]:
        at = np.arange(pixels, dtype=np.float32) * np.float32((cells - 1) / pixels)
        first = at.astype(np.intp)
        return first, at - first.astype(np.float32)

    row, down = lines(lattice.shape[0], height)
    column, right = lines(lattice.shape[1], width)
    down = down[:, None]
    steps = lattice[row]
    rows = steps + (lattice[row + 1] - steps) * down
    near = rows[:, column]
    far = rows[:, column + 1]
    far -= near
    far *= right
    near += far
    return near


def surroundings(draws: Draws, height: int, width: int) -> Image:
    """A scene: something above the horizon, something below, both rough; float32 ``(H, W, 3)``."""
    above = (
        (150, 185, 225), (190, 195, 200), (70, 100, 55), (130, 105, 85), (95, 95, 100),
        (165, 150, 120),
    )[draws.below(6)]  # fmt: skip
    below = ((95, 95, 98), (85, 110, 60), (135, 120, 100), (60, 75, 45))[draws.below(4)]
    horizon = int(height * draws.uniform(0.3, 0.95))
    image = np.empty((height, width, 3), np.float32)
    image[:horizon] = np.array(above, np.float32) * np.float32(draws.uniform(0.7, 1.15))
    image[horizon:] = np.array(below, np.float32) * np.float32(draws.uniform(0.7, 1.15))
    roughness = draws.uniform(0.08, 0.4)
    texture = stretch(draws.lattice(6, 6), height, width)
    for cells, strength in ((12, 0.7), (27, 0.5)):
        texture += stretch(draws.lattice(cells, cells), height, width) * np.float32(strength)
    texture *= np.float32(roughness)
    texture += np.float32(1)
    image *= texture[..., None]
    return image


def shape_over(image: Image, draws: Draws, box: Box, colour: tuple[float, float, float]) -> None:
    """Paint a random shape (bar, ellipse, diamond, half-plane of a box) that fills ``box``."""
    height, width = image.shape[:2]
    left, top = max(int(box[0]), 0), max(int(box[1]), 0)
    right, bottom = min(int(box[2]) + 1, width), min(int(box[3]) + 1, height)
    if left >= right or top >= bottom:
        return
    patch = image[top:bottom, left:right]
    x = np.arange(left, right, dtype=np.float32) + np.float32(0.5 - (box[0] + box[2]) / 2)
    y = np.arange(top, bottom, dtype=np.float32) + np.float32(0.5 - (box[1] + box[3]) / 2)
    x *= np.float32(2 / max(box[2] - box[0], 1.0))
    y *= np.float32(2 / max(box[3] - box[1], 1.0))
    kind = draws.below(4)
    if kind == 0:
        patch[:] = colour
        return
    if kind == 1:
        inside = (x * x)[None, :] + (y * y)[:, None] <= np.float32(1)
    elif kind == 2:
        inside = np.abs(x)[None, :] + np.abs(y)[:, None] <= np.float32(1)
    else:
        slope = np.float32(draws.uniform(-1, 1))
        inside = (x * slope)[None, :] + y[:, None] <= np.float32(0.2)
    patch[inside] = colour


def clutter(draws: Draws, image: Image, count: int) -> None:
    """Clutter: some of it in the colours of signs, so that colour alone says little."""
    height, width = image.shape[:2]
    unit = min(height, width)
    vivid = ((185, 30, 40), (25, 80, 160), (240, 185, 30), (235, 235, 230), (30, 30, 32))
    for _ in range(count):
        x, y = draws.uniform(0, width), draws.uniform(0, height)
        w, h = unit * draws.uniform(0.03, 0.35), unit * draws.uniform(0.03, 0.35)
        if draws.chance(0.4):
            colour: tuple[float, float, float] = vivid[draws.below(5)]
        else:
            grey, tint = draws.uniform(40, 200), draws.uniform(-30, 30)
            colour = (grey + tint, grey, grey - tint)
        shape_over(image, draws, (x - w / 2, y - h / 2, x + w / 2, y + h / 2), colour)


def lighting(draws: Draws, image: Image, hardness: float) -> None:
    """Exposure, colour cast, contrast, a shadow's edge and glare; in place."""
    height, width = image.shape[:2]
    exposure = 1 + hardness * draws.uniform(-0.72, 0.5)
    haze = hardness * draws.uniform(0, 0.45)
    lift = haze * draws.uniform(90, 210)
    gain = np.array(
        [exposure * (1 - haze) * (1 + hardness * draws.uniform(-0.22, 0.22)) for _ in range(3)],
        np.float32,
    )
    if draws.chance(0.4 * hardness):
        slope, offset = draws.uniform(-1.5, 1.5), draws.uniform(-0.4, 0.4)
        x = (
            np.arange(width, dtype=np.float32) * np.float32(2 / width) - np.float32(1)
        ) * np.float32(slope) + np.float32(offset)
        y = np.arange(height, dtype=np.float32) * np.float32(2 / height) - np.float32(1)
        shade = x[None, :] + y[:, None]
        shade *= np.float32(draws.uniform(3, 20))
        np.clip(shade, np.float32(draws.uniform(0.35, 0.7)), np.float32(1), out=shade)
        image *= shade[..., None]
    image *= gain
    image += np.float32(lift)
    if draws.chance(0.3 * hardness):
        reach = min(height, width) * draws.uniform(0.1, 0.35)
        x = np.arange(width, dtype=np.float32) - np.float32(draws.uniform(0, width))
        y = np.arange(height, dtype=np.float32) - np.float32(draws.uniform(0, height))
        distance = (x * x)[None, :] + (y * y)[:, None]
        distance += np.float32(reach * reach)
        glare = np.float32(reach * reach * draws.uniform(60, 260)) / distance
        image += glare[..., None]


def smear(draws: Draws, image: Image, length: float) -> Image:
    """Motion blur: the mean of five copies along a line of ``length`` pixels."""
    height, width = image.shape[:2]
    step_x, step_y = draws.uniform(-1, 1) * length / 4, draws.uniform(-1, 1) * length / 4
    total = image.copy()
    for copy in (-2, -1, 1, 2):
        x, y = int(np.rint(copy * step_x)), int(np.rint(copy * step_y))
        rows = np.clip(np.arange(height) + y, 0, height - 1)
        columns = np.clip(np.arange(width) + x, 0, width - 1)
        total += image[rows][:, columns]
    total *= np.float32(0.2)
    return total


def soften(image: Image, radius: int) -> Image:
    """Defocus: a box blur of ``2 * radius + 1`` pixels per side, by running sums of integers."""
    if radius == 0:
        return image
    span = 2 * radius + 1
    # Two fractional bits are kept; running sums of integers do not depend on their order.
    fixed = (image * np.float32(4)).astype(np.int32)
    for axis in (0, 1):
        pads = [(0, 0), (0, 0), (0, 0)]
        pads[axis] = (radius + 1, radius)
        sums = np.cumsum(np.pad(fixed, pads, mode="edge"), axis=axis, dtype=np.int32)
        size = image.shape[axis]
        late = sums[span:] if axis == 0 else sums[:, span:]
        early = sums[:size] if axis == 0 else sums[:, :size]
        fixed = late - early
    return fixed.astype(np.float32) * np.float32(0.25 / (span * span))
