"""What a road scene has around its objects: sky, ground, road, houses, trees."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from dapdee_ros.datasets.road_canvas import Canvas, Colour
from dapdee_ros.datasets.road_objects import SURFACES
from dapdee_ros.datasets.scenery import Draws, stretch

if TYPE_CHECKING:
    from dapdee_ros.datasets.road_weather import Weather

_SKY, _TERRAIN, _BUILDING, _VEGETATION, _ROAD, _MARKING, _SIDEWALK = (
    SURFACES.index(name)
    for name in ("sky", "terrain", "building", "vegetation", "road", "marking", "sidewalk")
)
_FAR_M, _NEAR_M = 90.0, 1.2
_LANE_PERIOD_M = 6.0
_WALLS: tuple[Colour, ...] = (
    (150, 120, 100), (170, 165, 155), (120, 105, 95), (185, 170, 140), (110, 115, 125),
    (160, 90, 75),
)  # fmt: skip
_GROUNDS: tuple[Colour, ...] = ((92, 118, 66), (128, 120, 92), (108, 106, 102))
_ASPHALT: tuple[Colour, ...] = ((92, 92, 95), (74, 75, 79), (116, 114, 110))


@dataclass(frozen=True)
class Side:
    """Something beside the road that comes again and again.

    Attributes:
        what: 0 a house, 1 a tree, 2 a bush, 3 a post.
        x_m: middle, right of the lane's middle.
        z_m: ahead when the sequence begins.
        every_m: distance after which it comes again.
        wide_m: its width.
        high_m: its height.
        colour: its main colour.
        seed: of its details.
    """

    what: int
    x_m: float
    z_m: float
    every_m: float
    wide_m: float
    high_m: float
    colour: Colour
    seed: int


def sides_of(draws: Draws, road_m: float) -> tuple[Side, ...]:
    """What stands beside the road on a drive."""
    town = draws.chance(0.5)
    sides = []
    for _ in range(6 + draws.below(9)):
        what = 0 if draws.chance(0.55 if town else 0.15) else 1 + draws.below(3)
        side = 1.0 if draws.chance(0.5) else -1.0
        wide_m, high_m = (
            (draws.uniform(5, 12), draws.uniform(3.5, 11)),
            (draws.uniform(2.0, 4.5), draws.uniform(3.5, 8)),
            (draws.uniform(1.0, 3.0), draws.uniform(0.6, 1.6)),
            (0.14, draws.uniform(1.0, 6.0)),
        )[what]
        x_m = side * (road_m + draws.uniform(2.5, 9.0) + wide_m / 2)
        green = draws.uniform(50, 115)
        colour = (
            _WALLS[draws.below(len(_WALLS))],
            (0.62 * green, green, 0.45 * green),
            (0.6 * green, green, 0.5 * green),
            (120.0, 118.0, 115.0),
        )[what]
        z_m = draws.uniform(0, 60)
        sides.append(Side(what, x_m, z_m, 60.0, wide_m, high_m, colour, draws.below(1 << 30)))
    return tuple(sides)


def draw_ground(
    canvas: Canvas, draws: Draws, road_m: float, ahead_m: float, weather: Weather
) -> None:
    """Sky, terrain, sidewalks, road and its markings."""
    view = canvas.view
    horizon = int(view.horizon_px)
    rows = np.arange(view.height, dtype=np.float32)[:, None]
    colours = np.empty((view.height, 3), np.float32)
    up = (rows[:horizon] * np.float32(1 / max(horizon, 1))).astype(np.float32)
    zenith, haze = np.array(weather.sky, np.float32), np.array(weather.fog, np.float32)
    colours[:horizon] = zenith + (haze - zenith) * up * up
    ground = np.array(_GROUNDS[draws.below(len(_GROUNDS))], np.float32)
    # A row below the horizon shows what is this far away; the fog takes its share of it.
    below = np.maximum(rows[horizon:] - np.float32(view.horizon_px), np.float32(0.5))
    far_m = np.float32(view.focal_px * view.camera_m) / below
    clear = np.float32(canvas.sight_m) / (np.float32(canvas.sight_m) + far_m)
    colours[horizon:] = ground * clear + haze * (np.float32(1) - clear)
    canvas.image[...] = colours.astype(np.uint8)[:, None, :]
    canvas.kinds[:horizon], canvas.kinds[horizon:] = _SKY, _TERRAIN
    hill = draws.uniform(0.02, 0.14) * view.height
    canvas.begin(_VEGETATION, 70.0)
    corners = [(0.0, view.horizon_px + 1)]
    corners += [
        (place * view.width / 6, view.horizon_px - hill * draws.uniform(0.1, 1))
        for place in range(7)
    ]
    canvas.polygon([*corners, (float(view.width), view.horizon_px + 1)], (70, 92, 74))
    asphalt = _ASPHALT[draws.below(len(_ASPHALT))]
    walk_m = draws.uniform(1.2, 2.4) if draws.chance(0.7) else 0.0
    if walk_m:
        _strip(canvas, _SIDEWALK, -road_m - walk_m, road_m + walk_m, (150, 146, 140))
    _strip(canvas, _ROAD, -road_m, road_m, asphalt)
    paint = (
        235 * draws.uniform(0.75, 1.0), 235 * draws.uniform(0.75, 1.0),
        225 * draws.uniform(0.75, 1.0),
    )  # fmt: skip
    if draws.chance(0.8):
        for x_m in (-0.94 * road_m, 0.94 * road_m):
            _strip(canvas, _MARKING, x_m - 0.07, x_m + 0.07, paint)
    begin_m = _LANE_PERIOD_M - ahead_m % _LANE_PERIOD_M
    for number in range(-1, 8):
        low_m = max(begin_m + number * _LANE_PERIOD_M, _NEAR_M)
        high_m = begin_m + number * _LANE_PERIOD_M + 2.4
        if high_m > low_m:
            _patch(canvas, _MARKING, -0.07, 0.07, low_m, high_m, paint)
    texture = stretch(draws.lattice(24, 24), view.height - horizon, view.width)
    part = canvas.image[horizon:]
    part[...] = np.clip(
        part + (texture * np.float32(draws.uniform(2, 9)))[..., None], 0, 255
    ).astype(np.uint8)


def _strip(canvas: Canvas, kind: int, left_m: float, right_m: float, colour: Colour) -> None:
    """A strip along the road, in pieces, so that it bends and fades."""
    edges = (_NEAR_M, 4.0, 8.0, 14.0, 24.0, 45.0, _FAR_M)
    for near_m, far_m in pairwise(edges):
        _patch(canvas, kind, left_m, right_m, near_m, far_m, colour)


def _patch(
    canvas: Canvas,
    kind: int,
    left_m: float,
    right_m: float,
    near_m: float,
    far_m: float,
    colour: Colour,
) -> None:
    view = canvas.view
    canvas.begin(kind, (near_m + far_m) / 2)
    canvas.polygon(
        [view.at(left_m, 0, near_m), view.at(right_m, 0, near_m), view.at(right_m, 0, far_m),
         view.at(left_m, 0, far_m)], colour,
    )  # fmt: skip


def draw_side(canvas: Canvas, side: Side, z_m: float) -> None:
    """A house, tree, bush or post at a distance."""
    view, draws = canvas.view, Draws(side.seed, side.what)
    x, ground = view.at(side.x_m, 0.0, z_m)
    scale = view.focal_px / z_m
    half, high = side.wide_m * scale / 2, side.high_m * scale
    if x + half < 0 or x - half > view.width:
        return
    if side.what == 0:
        canvas.begin(_BUILDING, z_m)
        canvas.box(x - half, ground - high, x + half, ground, side.colour)
        floors, windows = max(1, int(side.high_m / 3)), max(1, int(side.wide_m / 2.5))
        lit: Colour = (235, 205, 120) if draws.chance(0.2) else (70, 80, 95)
        for row in range(floors):
            for column in range(windows):
                left = x - half + (column + 0.3) * 2 * half / windows
                top = ground - high + (row + 0.25) * high / floors
                canvas.box(left, top, left + 0.8 * half / windows, top + 0.45 * high / floors, lit)
        return
    if side.what == 3:
        canvas.begin(_BUILDING, z_m)
        canvas.box(x - half, ground - high, x + half, ground, side.colour)
        return
    canvas.begin(_VEGETATION, z_m)
    crown = 0.7 * high if side.what == 1 else high
    if side.what == 1:
        canvas.box(x - 0.12 * half, ground - 0.5 * high, x + 0.12 * half, ground, (78, 60, 44))
    for _ in range(3):
        ox, oy, tone = draws.uniform(-0.35, 0.35), draws.uniform(-0.2, 0.2), draws.uniform(0.8, 1.2)
        colour = (side.colour[0] * tone, side.colour[1] * tone, side.colour[2] * tone)
        canvas.ellipse(
            x + ox * half, ground - high + crown * (0.5 + oy), 0.75 * half, 0.45 * crown,
            (min(colour[0], 255), min(colour[1], 255), min(colour[2], 255)),
        )  # fmt: skip
