"""The things that stand and move on a road, drawn from simple shapes in many variants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dapdee_ros.datasets.road_canvas import Canvas, Colour
from dapdee_ros.datasets.scenery import Draws
from dapdee_ros.datasets.sign_faces import face_pyramid

CLASSES = (
    "car", "truck", "pedestrian", "cyclist", "red_light", "green_light", "stop", "yield",
    "no_entry", "speed_limit", "priority_road", "crosswalk",
)  # fmt: skip
"""The classes of objects."""

SURFACES = (
    "sky", "terrain", "building", "vegetation", "road", "marking", "sidewalk", "vehicle", "person",
    "light", "sign",
)  # fmt: skip
"""The classes of a class map."""

_FACES = {
    "stop": ("stop",),
    "yield": ("yield",),
    "no_entry": ("no_entry",),
    "speed_limit": ("speed_30", "speed_50", "speed_80"),
    "priority_road": ("priority_road",),
    "crosswalk": ("crosswalk",),
}
_GREY: Colour = (128, 130, 133)
_DARK: Colour = (28, 28, 31)
_GLASS: Colour = (62, 78, 92)
_SKIN: tuple[Colour, ...] = ((232, 190, 160), (190, 135, 100), (110, 72, 52))
_PAINT: tuple[Colour, ...] = (
    (205, 205, 208), (40, 42, 46), (120, 124, 130), (160, 24, 30), (24, 60, 130), (30, 92, 60),
    (214, 180, 60), (236, 236, 238),
)  # fmt: skip
_CLOTH: tuple[Colour, ...] = (
    (190, 40, 50), (36, 70, 140), (60, 120, 70), (230, 200, 60), (44, 46, 52), (210, 210, 205),
    (120, 80, 50), (150, 60, 140),
)  # fmt: skip


@dataclass(frozen=True)
class Lamp:
    """Something that shines, painted after the scene's light is done.

    Attributes:
        x: middle, in pixels.
        y: likewise.
        radius: in pixels.
        colour: what it shines in.
        owner: the object that it belongs to.
    """

    x: float
    y: float
    radius: float
    colour: Colour
    owner: int


@dataclass(frozen=True)
class Thing:
    """One object of a scene.

    Attributes:
        label: its class, an index into ``CLASSES``.
        x_m: metres right of the lane's middle.
        z_m: metres ahead when the sequence begins.
        speed_mps: its own speed along the road, away from the camera.
        across_mps: its speed to the right.
        size: factor to its usual size.
        seed: what its looks are drawn from.
    """

    label: int
    x_m: float
    z_m: float
    speed_mps: float
    across_mps: float
    size: float
    seed: int


class _Brush:
    """Paints in metres around the point where an object stands."""

    def __init__(self, canvas: Canvas, x_m: float, z_m: float, size: float) -> None:
        self.canvas, self._x_m, self._z_m, self._size = canvas, x_m, z_m, size
        self.scale = canvas.view.focal_px / z_m * size

    def at(self, x: float, y: float) -> tuple[float, float]:
        return self.canvas.view.at(self._x_m + x * self._size, y * self._size, self._z_m)

    def polygon(self, corners: list[tuple[float, float]], colour: Colour) -> None:
        self.canvas.polygon([self.at(x, y) for x, y in corners], colour)

    def box(self, left: float, low: float, right: float, high: float, colour: Colour) -> None:
        self.polygon([(left, low), (right, low), (right, high), (left, high)], colour)

    def disc(self, x: float, y: float, radius: float, colour: Colour, narrow: float = 1.0) -> None:
        px, py = self.at(x, y)
        self.canvas.ellipse(px, py, radius * narrow * self.scale, radius * self.scale, colour)

    def stroke(self, ax: float, ay: float, bx: float, by: float, pen: float, c: Colour) -> None:
        (px, py), (qx, qy) = self.at(ax, ay), self.at(bx, by)
        self.canvas.stroke(px, py, qx, qy, max(pen * self.scale, 1.0), c)

    def lamp(self, x: float, y: float, radius: float, colour: Colour, owner: int) -> Lamp:
        px, py = self.at(x, y)
        return Lamp(px, py, max(radius * self.scale, 0.7), colour, owner)


def _tinted(colour: Colour, by: float) -> Colour:
    return colour[0] * by, colour[1] * by, colour[2] * by


def _car(brush: _Brush, draws: Draws, owner: int, _time_s: float) -> list[Lamp]:
    paint = _tinted(_PAINT[draws.below(len(_PAINT))], draws.uniform(0.8, 1.1))
    shade = _tinted(paint, 0.72)
    if draws.chance(0.3):  # from the side
        d = 1.0 if draws.chance(0.5) else -1.0
        brush.box(-2.1, 0.3, 2.1, 0.85, paint)
        brush.polygon([(-1.5 * d, 0.85), (1.1 * d, 0.85), (0.6 * d, 1.45), (-0.9 * d, 1.45)], shade)
        brush.polygon([(-1.3 * d, 0.88), (-0.1 * d, 0.88), (-0.1 * d, 1.36), (-0.85 * d, 1.36)],
                      _GLASS)  # fmt: skip
        brush.polygon([(0.05 * d, 0.88), (0.95 * d, 0.88), (0.55 * d, 1.36), (0.05 * d, 1.36)],
                      _GLASS)  # fmt: skip
        for x in (-1.3, 1.3):
            brush.disc(x, 0.33, 0.33, _DARK)
            brush.disc(x, 0.33, 0.18, _GREY)
        return [brush.lamp(2.0 * d, 0.7, 0.1, (255, 240, 200), owner)]
    width = draws.uniform(0.82, 0.95)
    high = draws.uniform(1.35, 1.75)
    for side in (-1, 1):
        brush.box(side * width - 0.13, 0.0, side * width + 0.13, 0.4, _DARK)
    brush.box(-width, 0.22, width, 0.9, paint)
    brush.polygon([(-width, 0.9), (width, 0.9), (0.8 * width, high), (-0.8 * width, high)], shade)
    brush.polygon([(-0.85 * width, 0.95), (0.85 * width, 0.95), (0.72 * width, high - 0.1),
                   (-0.72 * width, high - 0.1)], _GLASS)  # fmt: skip
    brush.box(-0.28, 0.35, 0.28, 0.5, (225, 225, 215))
    rear = draws.chance(0.6)
    glow: Colour = (220, 30, 25) if rear else (255, 248, 225)
    return [brush.lamp(side * 0.78 * width, 0.72, 0.1, glow, owner) for side in (-1, 1)]


def _truck(brush: _Brush, draws: Draws, owner: int, _time_s: float) -> list[Lamp]:
    paint = _tinted(_PAINT[draws.below(len(_PAINT))], draws.uniform(0.8, 1.1))
    high = draws.uniform(2.8, 3.6)
    for side in (-1, 1):
        brush.box(side * 0.95 - 0.22, 0.0, side * 0.95 + 0.22, 0.7, _DARK)
    brush.box(-1.2, 0.5, 1.2, 0.8, _DARK)
    if draws.chance(0.6):  # from behind: the doors of a box
        brush.box(-1.22, 0.8, 1.22, high, paint)
        brush.stroke(0.0, 0.85, 0.0, high - 0.1, 0.06, _tinted(paint, 0.6))
        for x in (-0.7, 0.7):
            brush.stroke(x, 0.9, x, high - 0.2, 0.04, _tinted(paint, 0.75))
        return [brush.lamp(side * 1.05, 0.68, 0.11, (225, 30, 25), owner) for side in (-1, 1)]
    brush.box(-1.2, 2.4, 1.2, high, _tinted(paint, 0.8))
    brush.box(-1.15, 0.7, 1.15, 2.6, paint)
    brush.polygon([(-1.05, 1.6), (1.05, 1.6), (0.98, 2.4), (-0.98, 2.4)], _GLASS)
    brush.box(-0.7, 0.85, 0.7, 1.3, _DARK)
    return [brush.lamp(side * 0.92, 0.95, 0.12, (255, 248, 225), owner) for side in (-1, 1)]


def _pedestrian(brush: _Brush, draws: Draws, _owner: int, time_s: float) -> list[Lamp]:
    top, legs = _CLOTH[draws.below(8)], _tinted(_CLOTH[draws.below(8)], 0.7)
    skin = _SKIN[draws.below(3)]
    # A step back and forth, as a triangle wave.
    phase = (time_s * 1.8 + draws.uniform()) % 1.0
    step = 0.32 * (4 * abs(phase - 0.5) - 1) * (0.3 if draws.chance(0.3) else 1.0)
    brush.stroke(0.0, 0.88, step, 0.0, 0.16, legs)
    brush.stroke(0.0, 0.88, -step, 0.0, 0.16, _tinted(legs, 0.8))
    brush.polygon([(-0.2, 0.82), (0.2, 0.82), (0.25, 1.42), (-0.25, 1.42)], top)
    brush.stroke(-0.22, 1.38, -0.2 - 0.6 * step, 0.88, 0.1, _tinted(top, 0.85))
    brush.stroke(0.22, 1.38, 0.2 + 0.6 * step, 0.88, 0.1, _tinted(top, 0.85))
    brush.disc(0.0, 1.6, 0.13, skin, 0.85)
    if draws.chance(0.6):
        brush.polygon([(-0.13, 1.6), (0.13, 1.6), (0.1, 1.75), (-0.1, 1.75)],
                      _tinted(_CLOTH[draws.below(8)], 0.5))  # fmt: skip
    if draws.chance(0.25):
        brush.box(0.2, 0.7, 0.45, 1.1, _CLOTH[draws.below(8)])
    return []


def _cyclist(brush: _Brush, draws: Draws, owner: int, time_s: float) -> list[Lamp]:
    top, frame = _CLOTH[draws.below(8)], _tinted(_PAINT[draws.below(len(_PAINT))], 0.9)
    skin = _SKIN[draws.below(3)]
    phase = (time_s * 1.2 + draws.uniform()) % 1.0
    pedal = 0.17 * (4 * abs(phase - 0.5) - 1)
    if draws.chance(0.45):  # from the side
        d = 1.0 if draws.chance(0.5) else -1.0
        for x in (-0.55, 0.55):
            brush.disc(x, 0.34, 0.34, _DARK)
            brush.disc(x, 0.34, 0.27, _tinted(_GREY, 1.2))
        for ax, ay, bx, by in ((-0.55, 0.34, -0.1, 0.85), (-0.1, 0.85, 0.05, 0.34),
                               (0.05, 0.34, -0.55, 0.34), (-0.1, 0.85, 0.45, 0.9),
                               (0.05, 0.34, 0.45, 0.9), (0.45, 0.9, 0.55, 0.34)):  # fmt: skip
            brush.stroke(ax * d, ay, bx * d, by, 0.05, frame)
        brush.stroke(-0.12 * d, 0.95, (0.05 + pedal) * d, 0.3 + abs(pedal), 0.13, _tinted(top, 0.5))
        brush.stroke(-0.15 * d, 0.95, 0.18 * d, 1.45, 0.26, top)
        brush.stroke(0.18 * d, 1.4, 0.46 * d, 0.98, 0.08, skin)
        brush.disc(0.28 * d, 1.62, 0.13, skin)
        return [brush.lamp(0.5 * d, 0.85, 0.05, (255, 250, 230), owner)]
    brush.disc(0.0, 0.34, 0.34, _DARK, 0.16)
    brush.stroke(-0.3, 1.0, 0.3, 1.0, 0.05, frame)
    brush.stroke(-0.12, 0.9, -0.13, 0.3 + pedal, 0.12, _tinted(top, 0.5))
    brush.stroke(0.12, 0.9, 0.13, 0.3 - pedal, 0.12, _tinted(top, 0.45))
    brush.polygon([(-0.18, 0.85), (0.18, 0.85), (0.22, 1.45), (-0.22, 1.45)], top)
    brush.stroke(-0.2, 1.4, -0.28, 1.0, 0.09, skin)
    brush.stroke(0.2, 1.4, 0.28, 1.0, 0.09, skin)
    brush.disc(0.0, 1.62, 0.14, skin, 0.85)
    brush.polygon([(-0.14, 1.62), (0.14, 1.62), (0.09, 1.79), (-0.09, 1.79)],
                  _CLOTH[draws.below(8)])  # fmt: skip
    return [brush.lamp(0.0, 0.75, 0.05, (235, 40, 30), owner)]


def _light(red: bool) -> Callable[[_Brush, Draws, int, float], list[Lamp]]:
    def draw(brush: _Brush, draws: Draws, owner: int, _time_s: float) -> list[Lamp]:
        base = draws.uniform(2.0, 2.8)
        canvas, kind = brush.canvas, SURFACES.index("light")
        canvas.begin_part(SURFACES.index("building"))
        brush.box(-0.06, 0.0, 0.06, base, _GREY)
        canvas.begin_part(kind, owner)
        brush.box(-0.2, base, 0.2, base + 1.0, _DARK)
        colours: list[Colour] = [(18, 60, 40), (70, 55, 12), (70, 14, 14)]
        for place, colour in enumerate(colours):
            brush.disc(0.0, base + 0.18 + 0.32 * place, 0.12, colour)
        shines: Colour = (255, 52, 40) if red else (60, 250, 160)
        return [brush.lamp(0.0, base + (0.82 if red else 0.18), 0.13, shines, owner)]

    return draw


def _sign(name: str) -> Callable[[_Brush, Draws, int, float], list[Lamp]]:
    def draw(brush: _Brush, draws: Draws, owner: int, _time_s: float) -> list[Lamp]:
        base = draws.uniform(1.6, 2.4)
        canvas = brush.canvas
        canvas.begin_part(SURFACES.index("building"))
        brush.box(-0.04, 0.0, 0.04, base + 0.3, _GREY)
        canvas.begin_part(SURFACES.index("sign"), owner)
        faces = _FACES[name]
        side = 0.75 * brush.scale
        face = face_pyramid(faces[draws.below(len(faces))])
        # The coarsest level that still has a texel for every pixel.
        texture = next((f for f in reversed(face) if f.shape[0] >= side), face[0])
        x, y = brush.at(0.0, base + 0.75)
        canvas.sprite(texture, x - side / 2, y, side)
        return []

    return draw


_DRAW: dict[str, Callable[[_Brush, Draws, int, float], list[Lamp]]] = {
    "car": _car,
    "truck": _truck,
    "pedestrian": _pedestrian,
    "cyclist": _cyclist,
    "red_light": _light(True),
    "green_light": _light(False),
    **{name: _sign(name) for name in _FACES},
}
_KINDS = {"car": "vehicle", "truck": "vehicle", "pedestrian": "person", "cyclist": "person",
          "red_light": "light", "green_light": "light"}  # fmt: skip


def draw_thing(canvas: Canvas, thing: Thing, z_m: float, time_s: float, owner: int) -> list[Lamp]:
    """Paint an object, and return what of it shines.

    Args:
        canvas: what to paint on.
        thing: the object.
        z_m: how far ahead it is now.
        time_s: seconds since the sequence began, for what moves on it.
        owner: its number on the canvas.
    """
    name = CLASSES[thing.label]
    canvas.begin(SURFACES.index(_KINDS.get(name, "sign")), z_m, owner)
    brush = _Brush(canvas, thing.x_m + thing.across_mps * time_s, z_m, thing.size)
    return _DRAW[name](brush, Draws(thing.seed, thing.label), owner, time_s)
