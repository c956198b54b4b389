"""The live view's panel: how the answer was computed. No ROS here."""

from __future__ import annotations

import math

from dapdee_ros.nodes.drawing import (
    CAR,
    EDGE,
    LINK,
    MUTED,
    RIGHT,
    TEXT,
    WRONG,
    Canvas,
    Picture,
    fitted,
    in_words,
    short_name,
    width_of,
)
from dapdee_ros.nodes.shown import HEIGHT, HISTORY_S, MARGIN, PLACES, Shown

WIDTH = 320


def draw_panel(shown: Shown) -> Picture:
    """The panel; uint8 ``(480, 320, 3)`` rgb."""
    canvas = Canvas.blank(HEIGHT, WIDTH)
    left, right = MARGIN, WIDTH - MARGIN
    _draw_place(canvas, shown, left, right)
    _draw_cut(canvas, shown, left, right, 78)
    _draw_latency(canvas, shown, left, right, 170)
    _draw_link(canvas, shown, left, right, 246)
    _draw_counts(canvas, shown, left, right, 390)
    if shown.plan:
        line = fitted(shown.plan, right - left, 11)
        canvas.text(left, HEIGHT - 12, line, 11, MUTED)
    return canvas.finish()


def _heading(canvas: Canvas, left: int, right: int, y: int, title: str, value: str) -> None:
    canvas.text(left, y, title, 11, MUTED, bold=True)
    canvas.text(right, y, value, 14, TEXT, anchor="rs")


def _draw_place(canvas: Canvas, shown: Shown, left: int, right: int) -> None:
    link = shown.links[-1] if shown.links else None
    connected = link is not None and link.connected
    state = "link unknown" if link is None else "connected" if connected else "no link"
    colour = MUTED if link is None else RIGHT if connected else WRONG
    canvas.text(right, 33, state, 13, colour, anchor="rm")
    canvas.dot(right - width_of(state, 13) - 11, 32, 5, colour)
    if shown.answer is None:
        canvas.text(left, 33, "no result yet", 14, MUTED, anchor="lm")
        return
    name, colour = PLACES[shown.answer.place]
    if shown.answer.server:
        room = right - width_of(state, 13) - 32 - left - width_of(name + " ", 13, True) - 24
        name = f"{name} {fitted(shown.answer.server, room, 13, True)}"
    end = left + width_of(name, 13, True) + 24
    canvas.pill(left, 20, end, 46, colour)
    canvas.text(left + 12, 33, name, 13, (12, 18, 24), bold=True, anchor="lm")


def _draw_cut(canvas: Canvas, shown: Shown, left: int, right: int, top: int) -> None:
    answer = shown.answer
    if answer is None:
        _heading(canvas, left, right, top, "CUT", "")
        return
    of = f" of {shown.exits}" if shown.exits else ""
    _heading(canvas, left, right, top, "CUT", f"exit {answer.exit_number}{of}")
    share = answer.car_share
    if answer.place == "car":
        share = 1.0
    if share is not None:
        canvas.stacked(left, top + 10, right, top + 22, [(share, CAR), (1 - share, EDGE)])
        at = left + round((right - left) * share)
        if 0 < share < 1:
            canvas.box(at - 2, top + 6, at + 2, top + 26, TEXT)
    if not answer.boundary:
        canvas.text(left, top + 43, "all on the car", 14, TEXT)
        canvas.text(left, top + 62, "nothing sent", 13, MUTED)
        return
    more = f" and {len(answer.boundary) - 1} more" if len(answer.boundary) > 1 else ""
    room = right - left - width_of(more, 14)
    cut = fitted(short_name(answer.boundary[0]), room, 14) + more
    canvas.text(left, top + 43, cut, 14, TEXT)
    sent = f"{in_words(answer.sent_bytes, 'B')} sent as {answer.codec}"
    canvas.text(left, top + 62, sent, 13, MUTED)


def _draw_latency(canvas: Canvas, shown: Shown, left: int, right: int, top: int) -> None:
    answer = shown.answer
    deadline_s = max((answer and answer.deadline_s) or shown.deadline_s, 1e-6)
    if answer is None:
        _heading(canvas, left, right, top, "LATENCY", f"deadline {1e3 * deadline_s:.0f} ms")
        canvas.stacked(left, top + 10, right, top + 22, [])
        return
    late = answer.latency_s > deadline_s
    value = f"{1e3 * answer.latency_s:.0f} of {1e3 * deadline_s:.0f} ms"
    canvas.text(left, top, "LATENCY", 11, MUTED, bold=True)
    canvas.text(right, top, value, 14, WRONG if late else TEXT, anchor="rs")
    parts = (("car", answer.head_s, CAR), ("link", answer.transfer_s, LINK),
             ("edge", answer.tail_s, EDGE))  # fmt: skip
    known_s = sum(seconds for _, seconds, _ in parts)
    wait_s = max(answer.latency_s - known_s, 0.0)
    # The bar ends slightly after the deadline, or at a late answer.
    whole_s = max(1.12 * deadline_s, answer.latency_s)
    shares = [(seconds / whole_s, colour) for _, seconds, colour in parts]
    canvas.stacked(left, top + 10, right, top + 22, [*shares, (wait_s / whole_s, MUTED)])
    at = left + round((right - left) * deadline_s / whole_s)
    canvas.box(at - 1, top + 6, at + 1, top + 26, WRONG if late else TEXT)
    x = left
    rest = "waiting, fallback" if answer.place == "fallback" else "waiting"
    legend = [*parts, (rest, wait_s, MUTED)] if wait_s > 0.001 else list(parts)
    for name, seconds, colour in legend:
        if seconds <= 0:
            continue
        words = f"{name} {1e3 * seconds:.0f}"
        canvas.dot(x + 4, top + 38, 4, colour)
        canvas.text(x + 13, top + 39, words, 12, MUTED, anchor="lm")
        x += width_of(words, 12) + 27


def _draw_link(canvas: Canvas, shown: Shown, left: int, right: int, top: int) -> None:
    link = shown.links[-1] if shown.links else None
    value = in_words(link.uplink_bps, "bit/s") if link else "unknown"
    _heading(canvas, left, right, top, "UPLINK", value)
    plot_top, plot_bottom = top + 10, top + 90
    canvas.box(left, plot_top, right, plot_bottom, (24, 30, 39))
    start_s = shown.now_s - HISTORY_S
    points = [point for point in shown.links if point.time_s >= start_s]
    known = [point.uplink_bps for point in points if math.isfinite(point.uplink_bps)]
    highest = _round_up(max(known, default=0.0))

    def x_of(time_s: float) -> int:
        share = min(max((time_s - start_s) / HISTORY_S, 0.0), 1.0)
        return left + round((right - left) * share)

    curve: list[tuple[int, float]] = []
    for index, point in enumerate(points):
        end_s = points[index + 1].time_s if index + 1 < len(points) else shown.now_s
        if not point.connected:
            # While there was no link the background shows it over the whole height.
            canvas.box(x_of(point.time_s), plot_top, x_of(end_s) + 1, plot_bottom, (74, 32, 36))
        if highest and math.isfinite(point.uplink_bps):
            y = plot_bottom - (plot_bottom - plot_top - 14) * point.uplink_bps / highest
            curve += [(x_of(point.time_s), y), (x_of(end_s), y)]
    if len(curve) > 1:
        canvas.line(curve, LINK, 2)
        axis = in_words(highest, "bit/s").replace(".0 ", " ").replace(".00 ", " ")
        canvas.text(left + 6, plot_top + 13, axis, 10, MUTED)
    rtt = f"round trip {1e3 * link.rtt_s:.0f} ms" if link and math.isfinite(link.rtt_s) else ""
    canvas.text(left, plot_bottom + 17, f"last {HISTORY_S:.0f} s", 12, MUTED)
    canvas.text(right, plot_bottom + 17, rtt, 12, MUTED, anchor="rs")


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, ... from a value on; 0 for 0."""
    if value <= 0:
        return 0.0
    base = 10.0 ** math.floor(math.log10(value))
    return next(step * base for step in (1, 2, 5, 10) if step * base >= value * 0.9999)


def _draw_counts(canvas: Canvas, shown: Shown, left: int, right: int, top: int) -> None:
    total = sum(shown.places.values())
    value = f"{100 * shown.right / shown.judged:.1f} % right" if shown.judged else ""
    if shown.objects_per_frame is not None:
        value = f"{shown.objects_per_frame:.1f} objects"
    if shown.quality is not None:
        comma = ", " if value else ""
        value += f"{comma}{shown.quality_name} {100 * shown.quality:.1f} %"
    _heading(canvas, left, right, top, "FRAMES", value)
    shares = [
        (shown.places.get(place, 0) / total if total else 0.0, colour)
        for place, (_, colour) in PLACES.items()
    ]
    canvas.stacked(left, top + 10, right, top + 22, shares)
    x = left
    for place, (_, colour) in PLACES.items():
        words = f"{place} {shown.places.get(place, 0)}"
        canvas.dot(x + 4, top + 38, 4, colour)
        canvas.text(x + 13, top + 39, words, 12, MUTED, anchor="lm")
        x += width_of(words, 12) + 27
    late = f"late {shown.missed}"
    canvas.text(right, top + 39, late, 12, WRONG if shown.missed else MUTED, anchor="rm")
