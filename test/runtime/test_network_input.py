"""Images of any size as a network's input."""

from __future__ import annotations

import numpy as np
import pytest

from dapdee_ros.runtime.network_input import NetworkInputError, network_input

RNG = np.random.default_rng(0)


def test_picture_of_the_right_size_is_not_copied() -> None:
    picture = RNG.integers(0, 256, (6, 8, 3), np.uint8)
    batch = network_input(picture, (6, 8))
    assert batch.shape == (1, 6, 8, 3) and batch.flags.c_contiguous
    assert np.shares_memory(batch, picture)
    np.testing.assert_array_equal(batch[0], picture)


def test_shrinking_averages_areas() -> None:
    picture = RNG.integers(0, 256, (8, 12, 3), np.uint8)
    batch = network_input(picture, (4, 6))
    means = picture.reshape(4, 2, 6, 2, 3).astype(float).mean(axis=(1, 3))
    assert batch.dtype == np.uint8 and np.abs(batch[0] - means).max() <= 0.5


@pytest.mark.parametrize("size", [(64, 64), (3, 5), (7, 300)])
def test_any_size_keeps_what_is_where(size: tuple[int, int]) -> None:
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:20, :, 0] = picture[:, 30:, 2] = 200
    batch = network_input(picture[:, ::-1], size)
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
        (np.zeros((4, 4, 3), np.uint8), (0, 2)),
    ],
)
def test_what_is_no_picture_is_refused(picture: np.ndarray, size: tuple[int, int]) -> None:
    with pytest.raises(NetworkInputError):
        network_input(picture, size)
