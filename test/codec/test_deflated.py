"""Entropy coding: smaller where there is something to gain, never larger, never a bomb."""

import zlib

import numpy as np
import pytest

from dapdee_ros.codecs import CodecError, TensorSpec, decode, encode

EXPECTED = {"x": ((1, 8, 16, 16), "float32")}


def activations() -> np.ndarray:
    """What a ReLU leaves of normal noise: half of it zero."""
    noise = np.random.default_rng(0).normal(size=(1, 8, 16, 16)).astype(np.float32)
    return np.maximum(noise, 0)


@pytest.mark.parametrize(("codec", "share"), [("u8z", 0.75), ("u4z", 0.75), ("f32z", 0.75)])
def test_activations_shrink_and_come_back_the_same(codec: str, share: float) -> None:
    values = activations()
    plain_specs, plain = encode({"x": values}, codec[:-1])
    specs, data = encode({"x": values}, codec)
    assert len(data) < share * len(plain)
    expected = decode(plain_specs, plain, codec[:-1], EXPECTED)["x"]
    assert np.array_equal(decode(specs, data, codec, EXPECTED)["x"], expected)


def test_what_does_not_shrink_is_sent_as_it_is() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    _, data = encode({"x": noise}, "u8z")
    assert data.tobytes() == noise.tobytes()


def pressed(plain: bytes) -> bytes:
    press = zlib.compressobj(9, zlib.DEFLATED, -15)
    return press.compress(plain) + press.flush()


@pytest.mark.parametrize(
    "data",
    [
        pressed(bytes(2047)),
        pressed(bytes(2049)),
        pressed(bytes(10**7))[:2000],
        pressed(bytes(2048)) + b"x",
        pressed(bytes(2048))[:-1],
        b"\xff" * 20,
        b"\0",
    ],
    ids=["short", "long", "bomb", "followed", "torn", "damaged", "empty block"],
)
def test_data_of_another_length_is_refused(data: bytes) -> None:
    spec = TensorSpec("x", "float32", (1, 8, 16, 16), (1.0,), (0.0,), 0, len(data))
    with pytest.raises(CodecError, match="compressed data"):
        decode([spec], data, "u8z", EXPECTED)


def test_the_exact_length_passes() -> None:
    data = pressed(bytes(2048))
    spec = TensorSpec("x", "float32", (1, 8, 16, 16), (1.0,), (0.0,), 0, len(data))
    assert not decode([spec], data, "u8z", EXPECTED)["x"].any()
