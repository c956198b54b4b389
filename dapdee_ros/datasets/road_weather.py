"""Light and weather of a road scene: day to night, fog, rain, blur, the sensor's noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.datasets.road_canvas import Canvas, Colour
from dapdee_ros.datasets.road_objects import Lamp
from dapdee_ros.datasets.scenery import Draws

# Brightness in fixed point: with gains below 4 a product fits 16 bits.
_BITS = 6


@dataclass(frozen=True)
class Weather:
    """Light and weather of a drive.

    Attributes:
        sky: colour of the sky overhead.
        fog: colour of the horizon, and of fog.
        sight_m: distance at which half of what is seen is fog.
        gain: brightness of each colour.
        headlights: how much the own headlights add to what is near.
        rain: streaks per 100 pixels of width.
        smear_px: length of motion blur in pixels, for 320 of width.
        noise: standard deviation of the sensor's noise.
        shadow: brightness in a shadow that lies across the scene; 1: there is none.
    """

    sky: Colour
    fog: Colour
    sight_m: float
    gain: Colour
    headlights: float
    rain: float
    smear_px: float
    noise: float
    shadow: float


def weather_of(draws: Draws) -> Weather:
    """Draw one: mostly a clear day, sometimes dusk, night, fog or rain."""
    sky, fog = _SKIES[draws.below(len(_SKIES))]
    sight_m = draws.uniform(150, 500)
    exposure = draws.uniform(0.75, 1.2)
    cast = [draws.uniform(0.92, 1.08) for _ in range(3)]
    headlights = rain = 0.0
    hour = draws.uniform()
    if hour > 0.86:  # night
        exposure *= draws.uniform(0.24, 0.4)
        sky, fog = (40, 46, 66), (62, 66, 84)
        headlights = draws.uniform(0.8, 1.6)
    elif hour > 0.72:  # dusk
        exposure *= draws.uniform(0.45, 0.7)
        cast = [cast[0] * 1.1, cast[1], cast[2] * 0.88]
        headlights = draws.uniform(0.0, 0.6)
    if draws.chance(0.14):
        sight_m = draws.uniform(18, 70)
    if draws.chance(0.15):
        rain, sight_m = draws.uniform(3, 16), min(sight_m, draws.uniform(60, 200))
    return Weather(
        sky,
        fog,
        sight_m,
        (exposure * cast[0], exposure * cast[1], exposure * cast[2]),
        headlights,
        rain,
        smear_px=draws.uniform(1.5, 5.0) if draws.chance(0.25) else 0.0,
        noise=draws.uniform(1.0, 4.0) + (draws.uniform(3, 9) if exposure < 0.5 else 0.0),
        shadow=draws.uniform(0.45, 0.8) if hour < 0.72 and draws.chance(0.35) else 1.0,
    )


_SKIES: tuple[tuple[Colour, Colour], ...] = (
    ((96, 144, 214), (196, 212, 228)),
    ((150, 178, 212), (214, 218, 222)),
    ((168, 172, 178), (198, 200, 202)),
    ((120, 128, 140), (176, 180, 186)),
    ((226, 170, 120), (236, 206, 176)),
)


def apply_weather(
    canvas: Canvas, weather: Weather, lamps: list[Lamp], draws: Draws
) -> NDArray[np.uint8]:
    """The finished image: uint8 ``(H, W, 3)``."""
    height, width = canvas.view.height, canvas.view.width
    gain = np.array(weather.gain, np.float32) * np.float32(1 << _BITS)
    rows = np.ones((height, 1), np.float32)
    if weather.headlights:
        below = np.arange(height, dtype=np.float32)[:, None] - np.float32(canvas.view.horizon_px)
        near = np.clip(below * np.float32(2.5 / height), np.float32(0), np.float32(1))
        rows += np.float32(weather.headlights) * near
    lit = canvas.image.astype(np.uint16)
    lit *= np.rint(rows * gain).astype(np.uint16)[:, None, :]
    lit >>= np.uint16(_BITS)
    if weather.shadow < 1:
        slope, start = draws.uniform(-0.6, 0.6), draws.uniform(0.2, 0.9) * width
        edge = start + slope * np.arange(height, dtype=np.float32)
        shaded = np.arange(width, dtype=np.float32)[None, :] > edge[:, None]
        lit[shaded] = lit[shaded] * np.uint16(weather.shadow * 16) >> np.uint16(4)
    canvas.image = np.minimum(lit, np.uint16(255)).astype(np.uint8)
    _shine(canvas, weather, lamps)
    if weather.rain:
        _rain(canvas, weather, draws)
    image = canvas.image
    if weather.smear_px:
        image = _smear(image, draws, weather.smear_px * width / 320)
    noisy = image.astype(np.int16)
    noisy += _noise(draws, image.shape, weather.noise)
    np.clip(noisy, np.int16(0), np.int16(255), out=noisy)
    return noisy.astype(np.uint8)


def _noise(draws: Draws, shape: tuple[int, ...], deviation: float) -> NDArray[np.int16]:
    """Triangular noise of a standard deviation, as integers."""
    count = shape[0] * shape[1] * shape[2]
    raw = draws.words((count + 3) // 4).view(np.uint16)[:count]
    # Of two uniform bytes the sum has a standard deviation of 104.5; half of it fits with its
    # factor into 16 bits.
    wide = ((raw & np.uint16(255)) + (raw >> np.uint16(8))).astype(np.int16) - np.int16(255)
    wide >>= 1
    wide *= np.int16(min(127, max(1, round(deviation * 128 / 52.25))))
    wide >>= 7
    return wide.reshape(shape)


def _shine(canvas: Canvas, weather: Weather, lamps: list[Lamp]) -> None:
    """Lamps are as bright at night as by day, and then have a halo."""
    dark = weather.gain[1] < 0.5
    for lamp in lamps:
        canvas.begin(int(canvas.kinds[int(lamp.y), int(lamp.x)]), 0.0, lamp.owner)
        if dark:
            halo = 2.2 * lamp.radius
            kinds, owners = canvas.kinds, canvas.owners
            # A halo covers no object: only the image gets it.
            canvas.kinds, canvas.owners = kinds.copy(), owners.copy()
            dim = (lamp.colour[0] * 0.45, lamp.colour[1] * 0.45, lamp.colour[2] * 0.45)
            canvas.ellipse(lamp.x, lamp.y, halo, halo, dim)
            canvas.kinds, canvas.owners = kinds, owners
        canvas.ellipse(lamp.x, lamp.y, lamp.radius, lamp.radius, lamp.colour)


def _rain(canvas: Canvas, weather: Weather, draws: Draws) -> None:
    height, width = canvas.view.height, canvas.view.width
    image = canvas.image
    drift = draws.uniform(-0.25, 0.25)
    for _ in range(int(weather.rain * width / 100)):
        x, y = draws.uniform(0, width), draws.uniform(-0.05, 1) * height
        length = draws.uniform(0.02, 0.08) * height
        rows = np.arange(max(int(y), 0), min(int(y + length), height))
        columns = (x + drift * (rows - y)).astype(np.intp)
        inside = (columns >= 0) & (columns < width)
        rows, columns = rows[inside], columns[inside]
        image[rows, columns] = (image[rows, columns] >> 1) + np.uint8(96)


def _smear(image: NDArray[np.uint8], draws: Draws, length: float) -> NDArray[np.uint8]:
    """Motion blur along a line: the mean of four copies."""
    step_x, step_y = draws.uniform(-1, 1) * length / 3, draws.uniform(-0.5, 0.5) * length / 3
    total = image.astype(np.uint16)
    for copy in (1, 2, 3):
        x, y = int(np.rint(copy * step_x)), int(np.rint(copy * step_y))
        moved = np.roll(image, (y, x), (0, 1))
        if y > 0:
            moved[:y] = image[:1]
        elif y < 0:
            moved[y:] = image[-1:]
        if x > 0:
            moved[:, :x] = image[:, :1]
        elif x < 0:
            moved[:, x:] = image[:, -1:]
        total += moved
    return (total >> 2).astype(np.uint8)
