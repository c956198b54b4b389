import hashlib
import subprocess
import sys

import numpy as np
import pytest

from dapdee_ros.datasets.roadsigns import LABELS, RoadSigns


def _digest(size: tuple[int, int], count: int) -> str:
    signs = RoadSigns(2024, size)
    digest = hashlib.sha256()
    for index in range(count):
        frame = signs.frame(index)
        digest.update(frame.image.tobytes() + bytes([frame.label]))
    return digest.hexdigest()[:16]


@pytest.mark.parametrize(
    ("size", "count", "expected"),
    [
        ((64, 64), 40, "1953a7a6657e1f98"),
        ((480, 640), 3, "3152879cad280dd9"),
        ((37, 90), 10, "db99612125f941b4"),
    ],
)
def test_pixels_are_the_same_on_every_machine(
    size: tuple[int, int], count: int, expected: str
) -> None:
    assert _digest(size, count) == expected


def test_frames_can_be_had_in_any_order() -> None:
    signs = RoadSigns(3)
    forward = [signs.frame(i).image for i in range(8)]
    backward = [RoadSigns(3).frame(i).image for i in reversed(range(8))][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(forward, backward, strict=True))
    series = signs.frames(start=5)
    assert np.array_equal(next(series).image, forward[5])
    assert np.array_equal(next(series).image, forward[6])


def test_seeds_differ() -> None:
    assert not np.array_equal(RoadSigns(1).frame(0).image, RoadSigns(2).frame(0).image)


def test_every_class_appears_about_equally_often() -> None:
    signs = RoadSigns(5, (16, 16))
    counts = np.bincount([signs.frame(i).label for i in range(1300)], minlength=len(LABELS))
    assert len(LABELS) == 14
    assert counts.min() > 50
    assert counts.max() < 150


def test_box_holds_the_sign_and_background_has_none() -> None:
    height, width = 64, 96
    for index in range(60):
        frame = RoadSigns(9, (height, width)).frame(index)
        assert frame.image.shape == (height, width, 3)
        assert frame.image.dtype == np.uint8
        assert (frame.box is None) == (LABELS[frame.label] == "background")
        if frame.box is not None:
            left, top, right, bottom = frame.box
            seen = (min(right, width) - max(left, 0)) * (min(bottom, height) - max(top, 0))
            assert seen > 0.6 * (right - left) * (bottom - top)


def test_same_scene_at_another_resolution() -> None:
    small, large = RoadSigns(4).frame(11), RoadSigns(4, (256, 256)).frame(11)
    assert small.label == large.label
    assert small.box is not None
    assert large.box is not None
    assert np.allclose(np.array(small.box) * 4, large.box, atol=0.01)


def test_what_cannot_be_rendered_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16 pixels"):
        RoadSigns(0, (8, 64))
    with pytest.raises(ValueError, match="seed must be 0 or more"):
        RoadSigns(-1)
    with pytest.raises(ValueError, match="index must be 0 or more"):
        RoadSigns(0).frame(-1)


def test_the_camera_needs_no_torch() -> None:
    code = "import sys, dapdee_ros.datasets.roadsigns; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
