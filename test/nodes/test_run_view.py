"""What the live view shows, gathered and drawn."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from dapdee_ros.graph.dag import ModelDag, Node
from dapdee_ros.nodes.drawing import RIGHT, WRONG, fitted, in_words, width_of
from dapdee_ros.nodes.overlay import class_colours
from dapdee_ros.nodes.picture import draw, draw_scene
from dapdee_ros.nodes.run_view import RunView
from dapdee_ros.nodes.shown import PLACES, Answer, LinkPoint, Shown, TrueScene
from dapdee_ros.nodes.shown_scene import Box, NamedMap, boxes_of, counted
from dapdee_ros.tasks.records import Records
from dapdee_ros.tasks.running_quality import RunningQuality

EDGE = Answer("stop", 0.9, None, 2, "edge", ("b",), "u8", 1000, 0.02, 0.03, 0.01, 0.06)


def chain(flops: list[int]) -> ModelDag:
    names = "abcdefgh"
    nodes = [
        Node(names[i], "op", (names[i - 1],) if i else (), (1, 4), "float32", 16, count)
        for i, count in enumerate(flops)
    ]
    return ModelDag(tuple(nodes), ((names[2],), (names[len(flops) - 1],)))


def picture(value: int, height: int = 8, width: int = 8) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_answer_meets_its_own_image_and_truth() -> None:
    view = RunView(0.3)
    for stamp in range(3):
        view.take_image((stamp, 0), picture(stamp))
        view.take_truth((stamp, 0), TrueScene(("yield", "stop", "yield")[stamp]))
    view.take_answer((1, 0), EDGE, now_s=10.0)
    shown = view.shown(10.5)
    assert shown.image is not None and shown.image[0, 0, 0] == 1
    assert shown.answer is not None and shown.answer.right is True
    # An answer too old to speak about the present does not hold the picture back ...
    shown = view.shown(12.0)
    assert shown.image is not None and shown.image[0, 0, 0] == 2
    assert shown.answer_age_s == pytest.approx(2.0)
    # ... except where the last answer itself is asked for.
    shown = view.shown(99.0, as_last_answered=True)
    assert shown.image is not None and shown.image[0, 0, 0] == 1 and shown.answer_age_s == 0


def test_answer_is_not_drawn_over_another_picture() -> None:
    view = RunView(0.3)
    for stamp in (1, 2):
        view.take_image((stamp, 0), picture(stamp))
        view.take_answer((stamp, 0), EDGE, now_s=float(stamp))
    view.take_answer((3, 0), EDGE, now_s=2.5)  # before its image
    shown = view.shown(2.6)
    assert shown.stamp == (2, 0) and shown.image is not None and shown.image[0, 0, 0] == 2
    assert sum(shown.places.values()) == 3
    assert view.take_image((3, 0), picture(3))
    shown = view.shown(2.7)
    assert shown.stamp == (3, 0) and shown.image is not None and shown.image[0, 0, 0] == 3
    assert not view.take_image((4, 0), picture(4))
    view.take_answer((5, 0), EDGE, now_s=9.0)  # its image was lost
    assert view.shown(9.0).stamp == (5, 0)


def test_counts() -> None:
    view = RunView(0.05)
    view.take_truth((1, 0), TrueScene("stop"))
    view.take_truth((2, 0), TrueScene("yield"))
    for stamp in (1, 2, 3):
        view.take_answer((stamp, 0), EDGE, now_s=float(stamp))
    view.take_plan("plan 1", "latency", 0.5)
    view.take_answer((4, 0), Answer("stop", 0.9, None, 1, "fallback", latency_s=0.06), now_s=4.0)
    shown = view.shown(4.0)
    assert shown.places == {"edge": 3, "fallback": 1}
    assert (shown.right, shown.judged, shown.missed) == (1, 2, 3)
    # Begun under an earlier plan, and too late for that one's deadline.
    before = Answer("stop", 0.9, None, 1, "car", latency_s=0.06, deadline_s=0.05)
    view.take_answer((5, 0), before, now_s=5.0)
    assert view.shown(5.0).missed == 4


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        (EDGE, 10 / 40),
        (Answer("stop", 0.9, None, 1, "edge", ("b",)), 10 / 20),
        (Answer("stop", 0.9, None, 2, "edge", ("a",)), 0.0),
        (Answer("stop", 0.9, None, 2, "car"), 1.0),
        (Answer("stop", 0.9, None, 2, "edge", ("of another model",)), None),
        (Answer("stop", 0.9, None, 7, "edge", ("b",)), None),
    ],
)
def test_share_of_the_car_counts_operations_of_the_exit(
    answer: Answer, share: float | None
) -> None:
    view = RunView(0.3, chain([0, 10, 10, 20]))
    view.take_answer((1, 0), answer, now_s=0.0)
    got = view.shown(0.0).answer
    assert got is not None and got.car_share == share
    assert view.shown(0.0).exits == 2


def test_images_waiting_for_answers_do_not_fill_the_memory() -> None:
    view = RunView(0.3)
    for stamp in range(100):
        view.take_image((stamp, 0), np.empty((1080, 1920, 3), np.uint8))
    assert sum(image.nbytes for image in view._images.values()) <= 64e6
    assert (99, 0) in view._images


def test_history_is_thinned_but_keeps_every_change() -> None:
    view = RunView(0.3)
    for step in range(2000):
        connected = step != 1977
        view.take_link(LinkPoint(step * 0.05, 1e6 + step, connected))
    links = view.shown(100.0).links
    assert len(links) < 200
    assert links[-1].uplink_bps == 1e6 + 1999
    assert [point.connected for point in links].count(False) == 1
    assert 60 <= links[-1].time_s - links[0].time_s <= 62


def test_status_is_json_even_when_nothing_is_known() -> None:
    view = RunView(0.3)
    json.dumps(view.status(0.0), allow_nan=False)
    view.take_link(LinkPoint(0.0, math.nan, False, math.inf))
    view.take_answer((1, 0), Answer("stop", math.nan, None, 1, "car"), now_s=0.0)
    status = json.loads(json.dumps(view.status(1.0), allow_nan=False))
    assert status["link"]["uplink_bps"] is None and status["answer"]["score"] is None
    assert status["answer"]["age_s"] == 1.0 and status["places"]["edge"] == 0


@pytest.mark.parametrize(
    ("size", "width"),
    [((64, 64), 480), ((480, 640), 640), ((1080, 1920), 854), ((200, 10), 360), ((10, 200), 854)],
)
def test_pictures_of_any_shape_become_480_high(size: tuple[int, int], width: int) -> None:
    assert draw_scene(Shown(picture(200, *size))).shape == (480, width, 3)
    assert draw(Shown(picture(200, *size), EDGE)).shape == (480, width + 320, 3)


@pytest.mark.parametrize(("truth", "colour"), [("stop", RIGHT), ("yield", WRONG), (None, None)])
def test_bar_over_the_scene_tells_right_from_wrong(
    truth: str | None, colour: tuple[int, int, int] | None
) -> None:
    answer = Answer("stop", 0.9, truth, 1, "car")
    scene = draw_scene(Shown(picture(100), answer))
    assert tuple(scene[1, 200]) == (colour or (100, 100, 100))
    old = draw_scene(Shown(picture(100), answer, answer_age_s=5.0))
    assert tuple(old[1, 200]) == (100, 100, 100)


def test_extreme_values_are_drawn() -> None:
    links = [LinkPoint(t, bps, t > 2) for t, bps in enumerate([math.nan, 0.0, 1e12, 1.0])]
    answer = Answer(
        "a very long label " * 9, math.nan, "x" * 200, 255, "edge", ("n" * 300, "m"), "codec" * 9,
        2**32 - 1, -1.0, 1e9, math.nan, 1e9, 0.5, "d" * 500,
    )  # fmt: skip
    for given in (answer, None):
        shown = Shown(picture(9), given, 0.0, 0.0, 3, links, 3.0, "latency", "p" * 900, {"car": 1})
        assert draw(shown).shape == (480, 800, 3)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (5.85e6, "5.85 Mbit/s"), (18.88e6, "18.9 Mbit/s"), (999.7e3, "1.00 Mbit/s"),
        (130e3, "130 kbit/s"), (0, "0 bit/s"), (math.nan, "unknown"),
    ],
)  # fmt: skip
def test_quantities_in_words(value: float, words: str) -> None:
    assert in_words(value, "bit/s") == words


def test_text_is_shortened_to_its_room() -> None:
    assert fitted("stop", 200, 14) == "stop"
    short = fitted("a reason that goes on and on", 80, 14)
    assert short.endswith("...") and 60 < width_of(short, 14) <= 80
    assert fitted("anything", 1, 14) == "..."


CAR = Box("car", 10, 10, 40, 30, 0.87)
FOUND = Answer(
    "car", 0.87, None, 2, "edge", boxes=(CAR,), true_boxes=(Box("car", 12, 12, 42, 32),),
    record=[[0, 0.87, 10, 10, 40, 30]],
)  # fmt: skip


def test_a_detectors_answers_are_judged_by_their_boxes() -> None:
    view = RunView(0.3, None, RunningQuality(Records("detection", ["car", "bus"])), "mAP")
    truth = TrueScene(None, (), [[0, 1.0, 10, 10, 40, 30], [1, 1.0, 60, 60, 70, 70]])
    view.take_truth((1, 0), truth)
    view.take_answer((1, 0), FOUND, now_s=1.0)
    view.take_answer((2, 0), FOUND, now_s=1.1)  # of unknown truth
    shown = view.shown(1.1)
    assert (shown.right, shown.judged) == (0, 0)
    assert shown.quality == pytest.approx(0.5) and shown.objects_per_frame == 1.0
    # One of another model, whose classes this one does not know.
    view.take_truth((3, 0), truth)
    view.take_answer((3, 0), replace(FOUND, record=[[7, 0.9, 0, 0, 1, 1]]), now_s=1.2)
    status = json.loads(json.dumps(view.status(1.2), allow_nan=False))
    assert status["quality"] == pytest.approx(0.5) and status["quality_name"] == "mAP"
    assert status["answer"]["boxes"][0]["label"] == "car"
    assert status["answer"]["true_boxes"] == []


@pytest.mark.parametrize(("height", "width"), [(320, 320), (480, 640), (240, 320), (9, 90)])
def test_boxes_are_drawn_where_they_are(height: int, width: int) -> None:
    image = picture(60, height, width)
    box = Box("car", 0.25 * width, 0.25 * height, 0.75 * width, 0.5 * height, 0.9)
    truth = replace(box, left=0.5 * width, bottom=0.9 * height)
    answer = Answer("car", 0.9, None, 1, "car", boxes=(box,), true_boxes=(truth,))
    scene = draw_scene(Shown(image, answer))
    wide = scene.shape[1]
    scale = min(wide / width, 480 / height)
    left, top = (wide - width * scale) / 2, (480 - height * scale) / 2

    def drawn(x: float, y: float) -> np.ndarray:
        x, y = round(left + x * width * scale), round(top + y * height * scale)
        return scene[y - 3 : y + 4, x - 3 : x + 4].reshape(-1, 3)

    for x, y in ((0.25, 0.4), (0.75, 0.3), (0.6, 0.5)):
        assert (np.abs(drawn(x, y).astype(int) - PLACES["car"][1]).sum(1) < 60).any(), (x, y)
    assert (scene == 60).all(-1).any()  # the scene is still seen


def test_class_maps_are_drawn_over_the_scene() -> None:
    cells = np.repeat(np.array([[0, 1]], np.uint8), 40, 0).repeat(30, 1)
    answer = Answer("sky", 0.5, None, 1, "edge", class_map=NamedMap(cells, ("sky", "road", "sign")))
    scene = draw_scene(Shown(picture(100, 40, 60), answer))
    assert scene.shape == (480, 720, 3)
    tones = class_colours(3)
    for x, number in ((240, 0), (500, 1)):
        expected = 0.55 * 100 + 0.45 * tones[number].astype(float)
        np.testing.assert_allclose(scene[300, x], expected, atol=2)


def test_hundreds_of_boxes_and_none_are_drawn() -> None:
    draws = np.random.default_rng(1)
    sides = draws.uniform(-50, 400, (300, 4)).tolist()
    many = tuple(Box("x" * 99, a, b, c, d, 0.5) for a, b, c, d in sides)
    for boxes in (many, ()):
        answer = Answer("", math.nan, None, 1, "fallback", boxes=boxes, true_boxes=boxes)
        assert draw(Shown(picture(9, 320, 320), answer)).shape == (480, 800, 3)


def test_what_messages_hold_of_objects() -> None:
    assert boxes_of([1, 2, 3, 4], [1], [0.5], ["car", "bus"]) == (Box("bus", 1, 2, 3, 4, 0.5),)
    assert boxes_of([1, 2, 3, 4], [7], [0.5], ["car"])[0].label == "class 7"
    assert boxes_of([1, 2, 3], [1], [0.5], ["car"]) == ()
    assert boxes_of([1, 2, 3, math.inf], [0], [], ["car"]) == ()
    assert counted((CAR, Box("stop", 0, 0, 1, 1), CAR)) == "2 car, 1 stop"
