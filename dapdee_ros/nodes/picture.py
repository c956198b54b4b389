"""The live view: the camera image, the network's answer, and the panel. No ROS here."""

from __future__ import annotations

import math

import cv2
import numpy as np

from dapdee_ros.nodes.drawing import RIGHT, TEXT, TRACK, WRONG, Canvas, Picture, fitted, width_of
from dapdee_ros.nodes.overlay import Placed, draw_boxes, draw_map, draw_truth
from dapdee_ros.nodes.panel import draw_panel
from dapdee_ros.nodes.shown import HEIGHT, MARGIN, OLD_S, PLACES, Answer, Shown
from dapdee_ros.nodes.shown_scene import counted


def draw(shown: Shown) -> Picture:
    """The complete view, uint8 ``(480, W, 3)`` rgb: the scene next to the panel."""
    return np.hstack([draw_scene(shown), draw_panel(shown)])


def draw_scene(shown: Shown) -> Picture:
    """The camera image with the answer over it; uint8 ``(480, W, 3)`` rgb."""
    canvas, placed = _enlarged(shown.image)
    width = canvas.pixels.shape[1]
    answer = shown.answer
    if answer is None:
        _shade(canvas, 64)
        waiting = "no image yet" if shown.image is None else "waiting for the first result"
        canvas.text(MARGIN, HEIGHT - 24, waiting, 20)
        return canvas.finish()
    if shown.answer_age_s > OLD_S:
        old = f"no result for {shown.answer_age_s:.0f} s"
        canvas.pill(MARGIN, 18, MARGIN + width_of(old, 15) + 28, 46, WRONG)
        canvas.text(MARGIN + 14, 32, old, 15, (20, 20, 20), anchor="lm")
        return canvas.finish()
    if answer.boxes is not None or answer.class_map is not None:
        _draw_found(canvas, answer, placed, shown.exits)
        return canvas.finish()
    colour = {True: RIGHT, False: WRONG, None: TEXT}[answer.right]
    truth_line = 26 if answer.right is False else 0
    _shade(canvas, 92 + truth_line)
    base = HEIGHT - 28 - truth_line
    left = MARGIN
    if answer.right is not None:
        _mark(canvas, left + 13, base - 11, answer.right)
        left += 40
    score = f"{100 * answer.score:.0f} %" if math.isfinite(answer.score) else ""
    room = width - left - MARGIN - width_of(score, 24) - 16
    size = next((s for s in (32, 26, 21) if width_of(answer.label, s, True) <= room), 18)
    label = fitted(answer.label, room, size, True)
    canvas.text(left, base, label, size, colour, bold=True)
    canvas.text(width - MARGIN, base, score, 24, TEXT, anchor="rs")
    bar = base + 10
    canvas.stacked(MARGIN, bar, width - MARGIN, bar + 4, [(answer.score, colour)])
    if truth_line:
        canvas.text(MARGIN, HEIGHT - 14, f"truth: {answer.truth}", 17, TEXT)
    if answer.right is not None:
        canvas.box(0, 0, width, 4, colour)
    return canvas.finish()


def _draw_found(canvas: Canvas, answer: Answer, placed: Placed, exits: int) -> None:
    """What was found in its place, and below it how much, at which exit and where."""
    width = canvas.pixels.shape[1]
    name, colour = PLACES[answer.place]
    if answer.class_map is not None:
        draw_map(canvas, answer.class_map, placed)
    _shade(canvas, 26)
    draw_truth(canvas, answer.true_boxes or (), placed)
    draw_boxes(canvas, answer.boxes or (), placed, colour)
    of = f" of {exits}" if exits else ""
    where = f"exit {answer.exit_number}{of}, {name.lower()}"
    canvas.text(width - MARGIN, HEIGHT - 14, where, 15, colour, bold=True, anchor="rs")
    room = width - 2 * MARGIN - width_of(where, 15, True) - 16
    found = counted(answer.boxes) or "nothing found" if answer.boxes is not None else ""
    if answer.class_map is not None:
        found = f"most of it {answer.label}"
    canvas.text(MARGIN, HEIGHT - 14, fitted(found, room, 15), 15, TEXT)


def _enlarged(image: Picture | None) -> tuple[Canvas, Placed]:
    """The image 480 pixels high, between 360 and 854 wide, and where it lies there."""
    if image is None:
        blank = np.full((HEIGHT, HEIGHT, 3), TRACK, np.uint8)
        return Canvas(blank), Placed((1.0, 1.0), 0, 0, (HEIGHT, HEIGHT))
    height, width = image.shape[:2]
    # Even, as video encoders require.
    wanted = 2 * round(HEIGHT * min(max(width / height, 0.75), 16 / 9) / 2)
    scale = min(wanted / width, HEIGHT / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    scaled = np.asarray(cv2.resize(image, size, interpolation=how), np.uint8)
    scales = (size[0] / width, size[1] / height)
    if scaled.shape[:2] == (HEIGHT, wanted):
        return Canvas(scaled), Placed(scales, 0, 0, (HEIGHT, wanted))
    framed = np.zeros((HEIGHT, wanted, 3), np.uint8)
    top, left = (HEIGHT - scaled.shape[0]) // 2, (wanted - scaled.shape[1]) // 2
    framed[top : top + scaled.shape[0], left : left + scaled.shape[1]] = scaled
    return Canvas(framed), Placed(scales, left, top, (size[1], size[0]))


def _shade(canvas: Canvas, height: int) -> None:
    """Darken the image's lower end, so that text on it is always readable."""
    height += 30
    light = np.clip(np.linspace(1.0, -0.35, height), 0.14, 1.0).astype(np.float32)
    lower = canvas.pixels[-height:]
    canvas.pixels[-height:] = (lower * light[:, None, None]).astype(np.uint8)


def _mark(canvas: Canvas, x: int, y: int, right: bool) -> None:
    """A tick or a cross, for people who cannot distinguish red from green."""
    canvas.dot(x, y, 14, RIGHT if right else WRONG)
    ink = (15, 20, 26)
    if right:
        canvas.line([(x - 6, y), (x - 2, y + 5), (x + 7, y - 5)], ink, 3)
    else:
        canvas.line([(x - 5, y - 5), (x + 5, y + 5)], ink, 3)
        canvas.line([(x - 5, y + 5), (x + 5, y - 5)], ink, 3)
