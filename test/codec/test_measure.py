"""Measured sizes are those of the wire; times are the clock's."""

from itertools import count

import numpy as np
import pytest

from dapdee_ros.codecs import CodecError, encoded_bytes
from dapdee_ros.codecs.measure import measure


def test_sizes_count_everything_that_is_sent() -> None:
    rng = np.random.default_rng(0)
    samples = [rng.normal(size=(1, 4, 8, 8)).astype(np.float32) for _ in range(3)]
    found = measure("u8c", samples, lambda: 0.0)
    assert found.mean_bytes == found.most_bytes == encoded_bytes("u8c", (1, 4, 8, 8), "float32")
    samples.append(np.zeros((1, 4, 8, 8), np.float32))
    found = measure("u8z", samples, lambda: 0.0)
    assert found.mean_bytes < found.most_bytes <= 256 + 8


def test_times_come_from_the_clock() -> None:
    ticks = count()
    found = measure("f32", [np.zeros(4, np.float32)], lambda: float(next(ticks)))
    # Three readings a repeat: encoding and decoding take one tick each.
    assert (found.encode_s, found.decode_s) == (1.0, 1.0)
    assert next(ticks) == 9


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(CodecError, match="at least one"):
        measure("f32", [], lambda: 0.0)
    with pytest.raises(CodecError, match="cannot code"):
        measure("jpeg", [np.zeros(4, np.float32)], lambda: 0.0)
