"""Tensors come back from the wire, and nothing that lies about itself gets in."""

from __future__ import annotations

from array import array
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from dapdee_ros.codecs import (
    CODEC_NAMES,
    CodecError,
    TensorSpec,
    codec_named,
    decode,
    encode,
    encoded_bytes,
    is_lossless,
    size_is_fixed,
)

IMAGE = ["jpeg", "webp"]
NUMERIC = [name for name in CODEC_NAMES if name not in IMAGE]
FIXED = [name for name in NUMERIC if not name.endswith("z")]
DTYPES = ["float32", "float16", "float64", "uint8", "int8", "int16", "int32", "int64", "bool"]
Expected = dict[str, tuple[tuple[int, ...], str]]


def expectation(tensors: dict[str, NDArray]) -> Expected:
    return {name: (values.shape, values.dtype.name) for name, values in tensors.items()}


def shapes() -> st.SearchStrategy[tuple[int, ...]]:
    return npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)


@st.composite
def boundaries(draw: st.DrawFn) -> dict[str, NDArray]:
    """One to three tensors of any dtype with any values, NaN and infinities among them."""
    tensors = {}
    for index in range(draw(st.integers(1, 3))):
        values = draw(npst.arrays(draw(st.sampled_from(DTYPES)), shapes()))
        if draw(st.booleans()):
            values = values.T
        if draw(st.booleans()) and values.dtype != bool:
            values = values.astype(values.dtype.newbyteorder(">"))
        tensors[f"node.{index}"] = values
    return tensors


@pytest.mark.parametrize("codec", [name for name in CODEC_NAMES if is_lossless(name)])
@settings(max_examples=150, deadline=None)
@given(tensors=boundaries())
def test_f32_is_the_identity_for_every_dtype(codec: str, tensors: dict[str, NDArray]) -> None:
    specs, data = encode(tensors, codec)
    decoded = decode(specs, data, codec, expectation(tensors))
    assert list(decoded) == list(tensors)
    for name, values in tensors.items():
        assert decoded[name].dtype == np.dtype(values.dtype.name)
        assert decoded[name].shape == values.shape
        # Bits, not values: NaN payloads and the sign of zero belong to it.
        little = np.ascontiguousarray(values).astype(decoded[name].dtype).tobytes()
        assert decoded[name].tobytes() == little


@pytest.mark.parametrize("codec", NUMERIC)
@settings(max_examples=60, deadline=None)
@given(tensors=boundaries())
def test_every_numeric_codec_takes_everything(codec: str, tensors: dict[str, NDArray]) -> None:
    specs, data = encode(tensors, codec)
    assert isinstance(data, array) and data.typecode == "B"
    plain = codec.removesuffix("z")
    predicted = sum(encoded_bytes(plain, *e) for e in expectation(tensors).values())
    took = len(data) + sum(8 * len(spec.scale) for spec in specs)
    assert took <= predicted if codec.endswith("z") else took == predicted
    decoded = decode(specs, bytes(data), codec, expectation(tensors))
    for name, values in tensors.items():
        got = decoded[name]
        assert got.shape == values.shape and got.dtype == np.dtype(values.dtype.name)
        assert got.flags.writeable and got.flags.aligned and got.dtype.isnative
        if values.dtype.name not in ("float32", "float64"):
            assert np.array_equal(got, values, equal_nan=got.dtype.kind == "f")
        elif codec.startswith("u"):
            assert np.isfinite(got).all()


@pytest.mark.parametrize("codec", FIXED)
def test_a_raw_image_stays_as_it_is(codec: str) -> None:
    image = np.random.default_rng(1).integers(0, 256, (1, 9, 7, 3), dtype=np.uint8)
    specs, data = encode({"image": image}, codec)
    assert data.tobytes() == image.tobytes() and not len(specs[0].scale)
    assert encoded_bytes(codec, image.shape, "uint8") == image.size


def test_what_was_decoded_may_follow_a_misaligned_image() -> None:
    tensors: dict[str, NDArray] = {
        "image": np.zeros((1, 3, 3, 3), np.uint8),
        "conv": np.arange(5, dtype=np.float32),
    }
    specs, data = encode(tensors, "f32")
    assert specs[1].offset % 4
    decoded = decode(specs, data, "f32", expectation(tensors))
    assert np.array_equal(decoded["conv"], tensors["conv"]) and decoded["conv"].flags.aligned


def test_a_plain_tensor_is_not_copied_on_arrival() -> None:
    tensors: dict[str, NDArray] = {"conv": np.arange(5, dtype=np.float32)}
    specs, data = encode(tensors, "f32")
    decoded = decode(specs, data, "f32", expectation(tensors))
    assert np.shares_memory(decoded["conv"], np.frombuffer(data, np.uint8))


def test_sizes_that_depend_on_the_content_are_not_made_up() -> None:
    assert [name for name in CODEC_NAMES if size_is_fixed(name)] == FIXED
    for codec in CODEC_NAMES:
        if codec not in FIXED:
            with pytest.raises(CodecError, match="measure"):
                encoded_bytes(codec, (1, 8, 8, 3), "uint8")


def test_unknown_codecs_and_dtypes_are_named() -> None:
    with pytest.raises(CodecError, match=r"'zip'.*f32"):
        codec_named("zip")
    with pytest.raises(CodecError, match="complex64"):
        encode({"x": np.zeros(3, np.complex64)}, "f32")
    with pytest.raises(CodecError, match="object"):
        encode({"x": np.array([None])}, "u8")


# What follows speaks for the decoder: one good message, and ways of spoiling it.

GOOD: dict[str, NDArray] = {
    "features.3": np.linspace(-2, 3, 2 * 8 * 8, dtype=np.float32).reshape(1, 2, 8, 8),
    "image": np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3),
}
SPECS, DATA = encode(GOOD, "u8")
EXPECTED = expectation(GOOD)


def spoil(index: int, **changes: Any) -> list[TensorSpec]:
    specs = list(SPECS)
    specs[index] = replace(specs[index], **changes)
    return specs


@pytest.mark.parametrize(
    ("specs", "reason"),
    [
        (SPECS[:1], "1 tensors came, expected 2"),
        (SPECS * 200, "400 tensors came"),
        ([SPECS[0], SPECS[0]], "twice"),
        (SPECS[::-1], "lies at 128"),
        (spoil(0, name="features.4"), "features.4"),
        (spoil(0, name="x" * 10**6), "came, expected"),
        (spoil(0, dtype="float64"), "float64"),
        (spoil(0, dtype="object"), "object"),
        (spoil(0, shape=(1, 2, 8, 9)), "shape"),
        (spoil(0, shape=(1, 2, 64)), "shape"),
        (spoil(0, shape=(1, 2**31, 2**31, 8)), "shape"),
        (spoil(0, shape=tuple(range(10**5))), "shape"),
        (spoil(0, offset=1), "lies at 1"),
        (spoil(0, offset=-1), "lies at -1"),
        (spoil(0, length=127), "127 bytes"),
        (spoil(0, length=2**32 - 1), "bytes"),
        (spoil(1, offset=0), "lies at 0"),
        (spoil(1, offset=129), "lies at 129"),
        (spoil(1, length=13), "13 bytes"),
        (spoil(0, scale=()), "0 scales"),
        (spoil(0, scale=(1.0, 1.0)), "2 scales"),
        (spoil(0, zero_point=()), "0 zero points"),
        (spoil(1, scale=(1.0,), zero_point=(0.0,)), "1 scales"),
        (spoil(0, scale=(float("nan"),)), "scale"),
        (spoil(0, scale=(float("inf"),)), "scale"),
        (spoil(0, scale=(0.0,)), "scale"),
        (spoil(0, scale=(-1.0,)), "scale"),
        (spoil(0, scale=(3e38,)), "scale"),
        (spoil(0, zero_point=(256.0,)), "zero point"),
        (spoil(0, zero_point=(-1.0,)), "zero point"),
        (spoil(0, zero_point=(float("nan"),)), "zero point"),
    ],
)
def test_a_lying_description_is_refused_with_its_reason(
    specs: list[TensorSpec], reason: str
) -> None:
    with pytest.raises(CodecError, match=reason) as caught:
        decode(specs, DATA, "u8", EXPECTED)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("data", [b"", DATA[:-1], DATA + array("B", [0])])
def test_missing_and_left_over_bytes_are_refused(data: Any) -> None:
    with pytest.raises(CodecError, match=f"140 bytes of the data, {len(data)} came"):
        decode(SPECS, data, "u8", EXPECTED)


def test_more_tensors_than_any_boundary_has_are_refused() -> None:
    tensors: dict[str, NDArray] = {f"n{k}": np.zeros(1, np.uint8) for k in range(257)}
    specs, data = encode(tensors, "f32")
    with pytest.raises(CodecError, match="at most 256"):
        decode(specs, data, "f32", expectation(tensors))


def test_the_bound_holds_whatever_the_model_says() -> None:
    assert decode(SPECS, DATA, "u8", EXPECTED, most_bytes=4 * 128 + 12)
    with pytest.raises(CodecError, match="at most 523"):
        decode(SPECS, DATA, "u8", EXPECTED, most_bytes=4 * 128 + 11)


@settings(max_examples=600, deadline=None)
@given(st.data())
def test_mutations_are_refused_or_harmless(data: st.DataObject) -> None:
    codec = data.draw(st.sampled_from(NUMERIC))
    specs, payload = encode(GOOD, codec)
    raw = bytearray(payload)
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    del raw[data.draw(st.integers(0, len(raw))) :]
    raw.extend(data.draw(st.binary(max_size=4)))
    index = data.draw(st.integers(0, 1))
    number = st.integers(0, 2**32 - 1)
    float32s = st.lists(st.floats(width=32), max_size=3)
    field, values = data.draw(
        st.sampled_from(
            [
                ("name", st.text(max_size=20)),
                ("dtype", st.sampled_from([*DTYPES, "U8", "O", ""])),
                ("shape", st.lists(number, max_size=5)),
                ("scale", float32s),
                ("zero_point", float32s),
                ("offset", number),
                ("length", number),
                ("length", st.just(specs[index].length)),
            ]
        )
    )
    changes: Any = {field: data.draw(values)}
    specs[index] = replace(specs[index], **changes)
    name = data.draw(st.sampled_from([codec, codec, codec, *CODEC_NAMES]))
    try:
        decoded = decode(specs, raw, name, EXPECTED)
    except CodecError as error:
        assert str(error)
    else:
        assert expectation(decoded) == EXPECTED
