"""Images of any size as a network's input."""

from __future__ import annotations

import numpy as np
import pytest

from dapdee_ros.datasets.frame_source import UNLABELLED, SourceFrame, Truth
from dapdee_ros.exits.image_input import InputSpec
from dapdee_ros.runtime.network_input import (
    NetworkInputError,
    frame_as_input,
    network_input,
    placement,
)

RNG = np.random.default_rng(0)


def spec(size: tuple[int, int], resize: str = "stretch", pad_value: int = 114) -> InputSpec:
    return InputSpec(size, (0.0,) * 3, (1.0,) * 3, resize, pad_value=pad_value)


def test_picture_of_the_right_size_is_not_copied() -> None:
    picture = RNG.integers(0, 256, (6, 8, 3), np.uint8)
    batch = network_input(picture, spec((6, 8)))
    assert batch.shape == (1, 6, 8, 3) and batch.flags.c_contiguous
    assert np.shares_memory(batch, picture)
    np.testing.assert_array_equal(batch[0], picture)


def test_shrinking_averages_areas() -> None:
    picture = RNG.integers(0, 256, (8, 12, 3), np.uint8)
    batch = network_input(picture, spec((4, 6)))
    means = picture.reshape(4, 2, 6, 2, 3).astype(float).mean(axis=(1, 3))
    assert batch.dtype == np.uint8 and np.abs(batch[0] - means).max() <= 0.5


@pytest.mark.parametrize("size", [(64, 64), (3, 5), (7, 300)])
def test_any_size_keeps_what_is_where(size: tuple[int, int]) -> None:
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:20, :, 0] = picture[:, 30:, 2] = 200
    batch = network_input(picture[:, ::-1], spec(size))
    assert batch.shape == (1, *size, 3) and batch.flags.c_contiguous
    # Mirrored: red above, blue at the left.
    np.testing.assert_array_equal(batch[0, 0, 0], [200, 0, 200])
    np.testing.assert_array_equal(batch[0, -1, -1], [0, 0, 0])
    np.testing.assert_array_equal(batch[0, 0, -1], [200, 0, 0])


@pytest.mark.parametrize(
    ("picture", "size"),
    [
        (np.zeros((4, 4), np.uint8), (2, 2)),
        (np.zeros((4, 4, 4), np.uint8), (2, 2)),
        (np.zeros((4, 4, 3), np.float32), (2, 2)),
        (np.zeros((0, 4, 3), np.uint8), (2, 2)),
    ],
)
def test_what_is_no_picture_is_refused(picture: np.ndarray, size: tuple[int, int]) -> None:
    with pytest.raises(NetworkInputError):
        network_input(picture, spec(size))


@pytest.mark.parametrize(
    ("resize", "left", "top"), [("letterbox", 0, 12), ("letterbox_corner", 0, 0)]
)
def test_letterboxing_keeps_the_aspect_ratio_and_pads(resize: str, left: int, top: int) -> None:
    picture = np.full((40, 80, 3), 200, np.uint8)
    batch = network_input(picture, spec((48, 48), resize))
    inside = np.zeros((48, 48), bool)
    inside[top : top + 24, left : left + 48] = True
    assert batch.shape == (1, 48, 48, 3) and batch.flags.c_contiguous
    np.testing.assert_array_equal(batch[0][inside], 200)
    np.testing.assert_array_equal(batch[0][~inside], 114)


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "letterbox_corner"])
@pytest.mark.parametrize("source", [(480, 640), (640, 480), (31, 300), (300, 31), (1, 1), (64, 64)])
def test_boxes_come_back_to_where_they_were(source: tuple[int, int], resize: str) -> None:
    height, width = source
    wanted = spec((64, 96), resize)
    placed = placement(source, wanted)
    assert placed.left >= 0 and placed.left + placed.width <= 96
    assert placed.top >= 0 and placed.top + placed.height <= 64
    assert network_input(np.zeros((*source, 3), np.uint8), wanted).shape == (1, 64, 96, 3)
    boxes = np.array([[0, 0, width, height], [width / 4, height / 2, width / 2, height]])
    scale = np.array([placed.width / width, placed.height / height] * 2)
    there = boxes * scale + [placed.left, placed.top] * 2
    np.testing.assert_allclose(placed.to_source(there.astype(np.float32)), boxes, atol=1e-3)
    # What lies in the padding ends at the image's edge.
    beyond = placed.to_source(np.array([[-9, -9, 999, 999]], np.float32))
    assert beyond.tolist() == [[0, 0, width, height]]


def test_a_marked_corner_is_found_in_the_input_where_the_placement_says() -> None:
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[20:30, 40:60] = 255
    for resize in ("stretch", "letterbox", "letterbox_corner"):
        wanted = spec((64, 64), resize, pad_value=0)
        rows, columns = np.nonzero(network_input(picture, wanted)[0, :, :, 0] > 127)
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        found = placement((40, 80), wanted).to_source(np.array([box], np.float32))
        np.testing.assert_allclose(found, [[40, 20, 60, 30]], atol=1.0)


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "letterbox_corner"])
@pytest.mark.parametrize("source", [(30, 60), (90, 40), (64, 64), (1, 7)])
def test_what_a_frame_shows_moves_with_its_pixels(source: tuple[int, int], resize: str) -> None:
    height, width = source
    spec = InputSpec((64, 64), (0.0,) * 3, (1.0,) * 3, resize, pad_value=9)
    image = np.full((height, width, 3), 200, np.uint8)
    whole = np.array([[0, 0, width, height]], np.float32)
    truth = Truth(3, whole, np.array([5]), np.full(source, 2, np.uint8))
    found = frame_as_input(SourceFrame(image, truth), spec)
    assert found.truth is not None and found.truth.boxes is not None
    assert (found.truth.label, found.truth.box_labels.tolist()) == (3, [5])
    ((left, top, right, bottom),) = found.truth.boxes.round().astype(int).tolist()
    inside = np.zeros(spec.size, bool)
    inside[top:bottom, left:right] = True
    # The image fills the box that was its edge, and nothing is known of the padding around it.
    np.testing.assert_array_equal(found.image[..., 0], np.where(inside, 200, 9))
    np.testing.assert_array_equal(found.truth.class_map, np.where(inside, 2, UNLABELLED))
