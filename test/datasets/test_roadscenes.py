import hashlib
import subprocess
import sys

import numpy as np
import pytest

from dapdee_ros.datasets.road_objects import CLASSES, SURFACES
from dapdee_ros.datasets.roadscenes import MOST_OBJECTS, RoadScenes, SceneFrame


def digest(size: tuple[int, int], count: int, sequence_frames: int) -> str:
    scenes = RoadScenes(2024, size, sequence_frames)
    found = hashlib.sha256()
    for index in range(count):
        frame = scenes.frame(index)
        found.update(frame.image.tobytes() + frame.class_map.tobytes())
        found.update(repr([(o.label, o.box, o.track) for o in frame.objects]).encode())
    return found.hexdigest()[:16]


@pytest.mark.parametrize(
    ("size", "count", "sequence_frames", "expected"),
    [
        ((320, 320), 30, 1, "8f59690a891556dc"),
        ((480, 640), 12, 4, "716d8fca8005233e"),
        ((90, 130), 20, 10, "0a09fa6984a86ee6"),
    ],
)
def test_frames_are_the_same_on_every_machine(
    size: tuple[int, int], count: int, sequence_frames: int, expected: str
) -> None:
    assert digest(size, count, sequence_frames) == expected


def test_frames_can_be_had_in_any_order() -> None:
    forward = [RoadScenes(3, (96, 96), 5).frame(i).image for i in range(12)]
    scenes = RoadScenes(3, (96, 96), 5)
    backward = [scenes.frame(i).image for i in reversed(range(12))][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(forward, backward, strict=True))
    series = scenes.frames(start=7)
    assert np.array_equal(next(series).image, forward[7])
    assert np.array_equal(next(series).image, forward[8])


@pytest.fixture(scope="module")
def frames() -> list[SceneFrame]:
    scenes = RoadScenes(11, (320, 320), 1)
    return [scenes.frame(i) for i in range(250)]


def test_every_class_is_there_and_scenes_have_none_to_eight_objects(
    frames: list[SceneFrame],
) -> None:
    counts = [len(f.objects) for f in frames]
    assert min(counts) == 0
    assert 5 <= max(counts) <= MOST_OBJECTS
    labels = np.bincount([o.label for f in frames for o in f.objects], minlength=len(CLASSES))
    assert len(labels) == len(CLASSES) == 12
    assert labels.min() >= 20
    sides = [max(o.box[2] - o.box[0], o.box[3] - o.box[1]) for f in frames for o in f.objects]
    assert np.quantile(sides, 0.1) < 20
    assert np.quantile(sides, 0.9) > 50
    assert min(o.visible for f in frames for o in f.objects) < 0.7


def test_boxes_lie_within_the_image_and_hold_what_the_class_map_says(
    frames: list[SceneFrame],
) -> None:
    kind_of = dict.fromkeys(("car", "truck"), "vehicle")
    kind_of |= dict.fromkeys(("pedestrian", "cyclist"), "person")
    kind_of |= dict.fromkeys(("red_light", "green_light"), "light")
    for frame in frames:
        assert frame.image.shape == (320, 320, 3)
        assert frame.image.dtype == frame.class_map.dtype == np.uint8
        assert frame.class_map.shape == (320, 320)
        assert frame.class_map.max() < len(SURFACES)
        for thing in frame.objects:
            left, top, right, bottom = thing.box
            assert 0 <= left < right <= 320
            assert 0 <= top < bottom <= 320
            kind = SURFACES.index(kind_of.get(CLASSES[thing.label], "sign"))
            inside = frame.class_map[int(top) : int(bottom), int(left) : int(right)] == kind
            assert inside.any(), CLASSES[thing.label]
    seen = {int(kind) for frame in frames for kind in np.unique(frame.class_map)}
    assert seen == set(range(len(SURFACES)))


def test_objects_of_a_sequence_keep_their_number_and_move_smoothly() -> None:
    scenes = RoadScenes(5, (320, 320), 20)
    followed = 0
    for sequence in range(12):
        before: dict[int, tuple[float, ...]] = {}
        labels: dict[int, int] = {}
        for place in range(20):
            now = {o.track: o for o in scenes.frame(20 * sequence + place).objects}
            assert len(now) == len(scenes.frame(20 * sequence + place).objects)
            for track in before.keys() & now.keys():
                assert labels[track] == now[track].label
                moved = np.abs(np.subtract(before[track], now[track].box)).max()
                assert moved < 90, (sequence, place, track)
                followed += 1
            before = {track: thing.box for track, thing in now.items()}
            labels |= {track: thing.label for track, thing in now.items()}
    assert followed > 300


def test_the_same_scene_at_another_resolution() -> None:
    small = RoadScenes(4, (160, 160), 1).frame(9)
    large = RoadScenes(4, (640, 640), 1).frame(9)
    boxes = {o.track: np.array(o.box) for o in large.objects}
    common = [o for o in small.objects if o.track in boxes]
    assert common
    for thing in common:
        assert np.allclose(np.array(thing.box) * 4, boxes[thing.track], atol=8)


def test_what_cannot_be_rendered_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 64 pixels"):
        RoadScenes(0, (320, 32))
    with pytest.raises(ValueError, match="seed must be 0 or more"):
        RoadScenes(-1)
    with pytest.raises(ValueError, match="1 frame or more"):
        RoadScenes(0, sequence_frames=0)
    with pytest.raises(ValueError, match="index must be 0 or more"):
        RoadScenes(0).frame(-1)


def test_no_torch_is_needed() -> None:
    code = (
        "import sys; from dapdee_ros.datasets.roadscenes import RoadScenes;"
        "RoadScenes(0, (64, 64)).frame(0); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
