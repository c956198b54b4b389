"""Latents as bytes: whatever the encoder's network puts out, both sides agree on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dapdee_ros.codecs.bottleneck.file import Bottleneck, Point
from dapdee_ros.codecs.bottleneck.message import decode_latent, encode_latent, length_bounds
from dapdee_ros.codecs.bottleneck.range_coder import TOTAL, SymbolModel
from dapdee_ros.codecs.tensor_spec import CodecError

SHAPE = (1, 4, 3, 5)
STEP = 0.25
PRIORS = [(-3, 7), (0, 1), (-127, 255), (2, 4)]
"""Lowest symbol and number of symbols of each channel; the second has only 0."""


def point_of(channels: int) -> Point:
    frequencies = []
    for _, count in PRIORS[:channels]:
        of = np.full(count, TOTAL // count, np.int64)
        of[count // 2] += TOTAL - of.sum()
        frequencies.append(of)
    lowest = np.array([low for low, _ in PRIORS[:channels]], np.int64)
    return Point(channels, STEP, lowest, SymbolModel(frequencies))


POINTS = tuple(point_of(channels) for channels in (1, 2, 3, 4))
FILE = Bottleneck("b", "0123456789abcdef", Path("b.onnx"), "m", ("t",), SHAPE, POINTS)
HOSTILE = [0.0, -0.0, 1e-45, 0.124, 0.126, 1e9, -1e9, 3e38, np.inf, -np.inf, np.nan]


def sent(latent: np.ndarray, point: Point) -> np.ndarray:
    data = encode_latent(FILE, point, latent)
    fewest, most = length_bounds(FILE, point)
    assert fewest <= len(data) <= most
    return decode_latent(FILE, point, np.frombuffer(data, np.uint8))


@settings(max_examples=200, deadline=None)
@given(
    latent=hnp.arrays(
        np.float32, SHAPE, elements=st.sampled_from(HOSTILE) | st.floats(-40, 40, width=32)
    ),
    point=st.sampled_from(POINTS),
)
def test_every_latent_comes_back_as_its_nearest_symbols(latent: np.ndarray, point: Point) -> None:
    back = sent(latent, point)
    assert back.shape == SHAPE
    assert back.dtype == np.float32
    assert not back[0, point.channels :].any()
    for channel, (low, count) in enumerate(PRIORS[: point.channels]):
        values = np.where(np.isnan(latent[0, channel]), 0, latent[0, channel]).astype(np.float64)
        wanted = np.clip(np.rint(values / STEP), low, low + count - 1) * STEP
        assert (back[0, channel] == wanted.astype(np.float32)).all()


def test_a_latent_that_was_sent_is_sent_the_same_again() -> None:
    latent = np.random.default_rng(0).normal(0, 2, SHAPE).astype(np.float32)
    for point in POINTS:
        once = sent(latent, point)
        assert (sent(once, point) == once).all()


@pytest.mark.parametrize("value", HOSTILE)
def test_constant_latents(value: float) -> None:
    back = sent(np.full(SHAPE, value, np.float32), POINTS[-1])
    assert np.isfinite(back).all()


def test_a_latent_of_another_shape_is_refused() -> None:
    with pytest.raises(CodecError, match=r"put out shape \(1, 4, 3, 4\)"):
        encode_latent(FILE, POINTS[0], np.zeros((1, 4, 3, 4), np.float32))


def test_another_bottlenecks_data_and_wrong_lengths_are_refused() -> None:
    data = bytearray(encode_latent(FILE, POINTS[-1], np.zeros(SHAPE, np.float32)))
    data[0] ^= 1
    with pytest.raises(CodecError, match=r"of bottleneck 0023456789abcdef.*copy b\.onnx"):
        decode_latent(FILE, POINTS[-1], np.frombuffer(data, np.uint8))
    for wrong in (b"", bytes(data[:11]), bytes(data) + bytes(1000)):
        with pytest.raises(CodecError, match="bytes of bottleneck b came, expected 12 to"):
            decode_latent(FILE, POINTS[-1], np.frombuffer(wrong, np.uint8))
