"""Rendered road scenes with objects to detect: seeded, endless, moving. No torch in here.

A camera drives along a road. A frame depends only on the seed, its index, the size and the length
of a sequence, so any frame can be generated directly; see ``road_canvas`` and ``scenery`` for why
the pixels are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.datasets.frame_source import SourceFrame, Truth
from dapdee_ros.datasets.road_canvas import Canvas, View
from dapdee_ros.datasets.road_objects import CLASSES, SURFACES, Lamp, Thing, draw_thing
from dapdee_ros.datasets.road_weather import Weather, apply_weather, weather_of
from dapdee_ros.datasets.roadside import Side, draw_ground, draw_side, sides_of
from dapdee_ros.datasets.scenery import Draws

DEFAULT_SIZE = (320, 320)
LEAST_SIDE = 64
MOST_OBJECTS = 8
FRAME_S = 0.1
"""Between two frames of a sequence."""

SEQUENCE_FRAMES = 40

# An object that is hidden more than that, or smaller, cannot be told from others.
_LEAST_VISIBLE = 0.3
_SHORTER_SIDE, _LONGER_SIDE = 1 / 80, 1 / 36
"""Of the image's width."""
_NEAREST_M, _FARTHEST_M = 3.0, 55.0
_SIGNS_FROM = CLASSES.index("stop")
_LIGHTS = (CLASSES.index("red_light"), CLASSES.index("green_light"))


@dataclass(frozen=True)
class SceneObject:
    """An object that can be seen in a frame.

    Attributes:
        label: its class, an index into ``CLASSES``.
        box: left, top, right, bottom in pixels, as far as it lies within the image, also where
            something hides it.
        visible: share of it that nothing hides.
        track: its number in the sequence, the same in every frame.
    """

    label: int
    box: tuple[float, float, float, float]
    visible: float
    track: int


@dataclass(frozen=True)
class SceneFrame:
    """One rendered frame.

    Attributes:
        image: uint8 ``(H, W, 3)``, red, green, blue.
        objects: 0 to 8 of them, the nearest first.
        class_map: uint8 ``(H, W)``, indices into ``SURFACES``.
    """

    image: NDArray[np.uint8]
    objects: tuple[SceneObject, ...]
    class_map: NDArray[np.uint8]

    def as_source_frame(self) -> SourceFrame:
        """The image with what it shows, as every source has it."""
        truth = Truth(
            boxes=[found.box for found in self.objects],
            box_labels=[found.label for found in self.objects],
            class_map=self.class_map,
        )
        return SourceFrame(self.image, truth)


@dataclass(frozen=True)
class _Drive:
    """What a sequence has in common."""

    view: View
    weather: Weather
    things: tuple[Thing, ...]
    sides: tuple[Side, ...]
    speed_mps: float
    road_m: float
    seed: int


class RoadScenes:
    """An endless series of road scenes, ``sequence_frames`` of which belong together.

    Args:
        seed: names the series; training and held-out data use different ones.
        size: height and width of the frames in pixels, each at least 64.
        sequence_frames: frames after which another drive begins; 1: every frame is one of its own,
            as a training wants them.

    Raises:
        ValueError: for a negative seed, too small a size, or no frame in a sequence.
    """

    def __init__(
        self,
        seed: int,
        size: tuple[int, int] = DEFAULT_SIZE,
        sequence_frames: int = SEQUENCE_FRAMES,
    ) -> None:
        if seed < 0:
            raise ValueError(f"the seed must be 0 or more, got {seed}")
        if min(size) < LEAST_SIDE:
            raise ValueError(
                f"frames must be at least {LEAST_SIDE} pixels high and wide, got {size}"
            )
        if sequence_frames < 1:
            raise ValueError(f"a sequence has 1 frame or more, got {sequence_frames}")
        self.seed = seed
        self.size = size
        self.sequence_frames = sequence_frames
        self._latest: tuple[int, _Drive] | None = None

    def frame(self, index: int) -> SceneFrame:
        """Frame ``index`` of the series (0 or more).

        Raises:
            ValueError: if the index is negative.
        """
        if index < 0:
            raise ValueError(f"the frame's index must be 0 or more, got {index}")
        number, place = divmod(index, self.sequence_frames)
        if self._latest is None or self._latest[0] != number:
            self._latest = number, _drive(Draws(self.seed, 2 * number), self.size)
        time_s = FRAME_S * place
        return _render(self._latest[1], time_s, Draws(self.seed, 2 * index + 1))

    def frames(self, start: int = 0) -> Iterator[SceneFrame]:
        """Frames ``start``, ``start + 1`` and so on, endlessly."""
        index = start
        while True:
            yield self.frame(index)
            index += 1


def _drive(draws: Draws, size: tuple[int, int]) -> _Drive:
    height, width = size
    view = View(
        height,
        width,
        focal_px=draws.uniform(0.8, 1.15) * width,
        horizon_px=draws.uniform(0.36, 0.52) * height,
        camera_m=draws.uniform(0.9, 1.7),
        bend=draws.uniform(-0.0016, 0.0016),
    )
    road_m = draws.uniform(3.0, 4.6)
    speed_mps = draws.uniform(0.0, 9.0) if draws.chance(0.85) else 0.0
    things = [_thing(draws, road_m) for _ in range(draws.below(MOST_OBJECTS + 1))]
    return _Drive(
        view,
        weather_of(draws),
        tuple(things),
        sides_of(draws, road_m),
        speed_mps,
        road_m,
        draws.below(1 << 30),
    )


def _thing(draws: Draws, road_m: float) -> Thing:
    label = draws.below(len(CLASSES))
    name = CLASSES[label]
    # Near ones are rarer than their share of the street, or small ones would be all there is.
    near = draws.uniform()
    small = label >= _SIGNS_FROM or label in _LIGHTS
    z_m = 5.0 + (14.0 if small else _FARTHEST_M - 15.0) * near * near
    side = 1.0 if draws.chance(0.6) else -1.0
    speed_mps = across_mps = 0.0
    size = draws.uniform(0.9, 1.12)
    if small:
        x_m = side * (road_m + draws.uniform(0.3, 1.8))
        if label in _LIGHTS:
            size *= 1.15
    elif name == "pedestrian":
        x_m = side * draws.uniform(0.4 * road_m, road_m + 2.5)
        across_mps = draws.uniform(-0.7, 0.7) if draws.chance(0.5) else 0.0
        size *= draws.uniform(0.75, 1.05)
    elif name == "cyclist":
        x_m = side * draws.uniform(0.5 * road_m, road_m + 0.5)
        speed_mps = draws.uniform(-4.0, 5.0)
    else:
        x_m = side * draws.uniform(0.25, 0.65) * road_m
        speed_mps = draws.uniform(-8.0, 8.0) if draws.chance(0.6) else 0.0
        if draws.chance(0.2):
            x_m = side * (road_m + draws.uniform(1.0, 2.5))  # parked
            speed_mps = 0.0
        z_m += 2.5
    return Thing(label, x_m, z_m, speed_mps, across_mps, size, draws.below(1 << 30))


def _render(drive: _Drive, time_s: float, draws: Draws) -> SceneFrame:
    weather = drive.weather
    canvas = Canvas(drive.view, weather.fog, weather.sight_m)
    ahead_m = drive.speed_mps * time_s
    draw_ground(canvas, Draws(drive.seed, 0), drive.road_m, ahead_m, weather)
    painted: list[tuple[float, int, Thing | Side]] = []
    for track, thing in enumerate(drive.things, start=1):
        z_m = thing.z_m + (thing.speed_mps - drive.speed_mps) * time_s
        if _NEAREST_M < z_m < _FARTHEST_M:
            painted.append((z_m, track, thing))
    for side in drive.sides:
        z_m = (side.z_m - ahead_m) % side.every_m + _NEAREST_M
        painted.append((z_m, 0, side))
    painted.sort(key=lambda item: (-item[0], item[1]))
    lamps: list[Lamp] = []
    seen: list[tuple[int, Thing, tuple[float, float, float, float], int]] = []
    for z_m, track, what in painted:
        if isinstance(what, Side):
            draw_side(canvas, what, z_m)
            continue
        lamps = _not_hidden(lamps, canvas)
        lamps += draw_thing(canvas, what, z_m, time_s, track)
        found = _extent(canvas.owners, track, drive.view, z_m, what)
        if found is not None:
            seen.append((track, what, *found))
    class_map = canvas.kinds
    objects = []
    for track, thing, box, area in reversed(seen):
        left, top, right, bottom = (int(side) for side in box)
        there = np.count_nonzero(canvas.owners[top:bottom, left:right] == track)
        visible = there / area
        sides = sorted((right - left, bottom - top))
        legible = (
            sides[0] >= _SHORTER_SIDE * drive.view.width
            and sides[1] >= _LONGER_SIDE * drive.view.width
        )
        if legible and visible >= _LEAST_VISIBLE:
            objects.append(SceneObject(thing.label, box, visible, track))
    image = apply_weather(canvas, weather, _not_hidden(lamps, canvas), draws)
    return SceneFrame(image, tuple(objects), class_map)


def _not_hidden(lamps: list[Lamp], canvas: Canvas) -> list[Lamp]:
    """Lamps whose own object is still what is seen where they are."""
    height, width = canvas.owners.shape
    return [
        lamp
        for lamp in lamps
        if 0 <= lamp.x < width
        and 0 <= lamp.y < height
        and canvas.owners[int(lamp.y), int(lamp.x)] == lamp.owner
    ]


def _extent(
    owners: NDArray[np.uint8], track: int, view: View, z_m: float, thing: Thing
) -> tuple[tuple[float, float, float, float], int] | None:
    """Box and pixels of an object that was just painted; None if it is outside the image."""
    middle, _ = view.at(thing.x_m, 0.0, z_m)
    reach = 6.0 * thing.size * view.focal_px / z_m + 4
    left, right = max(int(middle - reach), 0), min(int(middle + reach), view.width)
    if left >= right:
        return None
    mine = owners[:, left:right] == track
    area = int(np.count_nonzero(mine))
    if not area:
        return None
    rows = np.flatnonzero(mine.any(axis=1))
    columns = np.flatnonzero(mine.any(axis=0)) + left
    return (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)), area


__all__ = ["CLASSES", "SURFACES", "RoadScenes", "SceneFrame", "SceneObject"]
