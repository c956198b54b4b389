"""Quantisation stays within half a step, zeros stay zeros, odd values have their place."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from dapdee_ros.codecs import TensorSpec, decode, encode

QUANTISED = [("u8", 255), ("u8c", 255), ("u4", 15), ("u4c", 15)]


def there_and_back(values: NDArray, codec: str) -> tuple[NDArray, TensorSpec]:
    specs, data = encode({"x": values}, codec)
    return decode(specs, data, codec, {"x": (values.shape, values.dtype.name)})["x"], specs[0]


def finite_tensors() -> st.SearchStrategy[NDArray]:
    limit = float(np.float32(1e30))
    return npst.arrays(
        np.float32,
        npst.array_shapes(min_dims=1, max_dims=4, max_side=5),
        elements=st.floats(-limit, limit, width=32),
    )


@pytest.mark.parametrize(("codec", "levels"), QUANTISED)
@settings(max_examples=150, deadline=None)
@given(values=finite_tensors())
def test_the_error_is_at_most_half_a_step(codec: str, levels: int, values: NDArray) -> None:
    got, spec = there_and_back(values, codec)
    rows = values.reshape(len(spec.scale), -1).astype(np.float64)
    reach = np.maximum(rows.max(axis=1), 0) - np.minimum(rows.min(axis=1), 0)
    error = np.abs(got.reshape(rows.shape) - rows).max(axis=1)
    # 1e-35: what is coded as zero because no normal float32 step would do.
    assert np.all(error <= reach / levels * 0.5001 + 1e-35)
    assert np.all(got[values == 0] == 0)


@pytest.mark.parametrize("value", [0.0, 5.0, -3.25, 1e-44, -1e-39, 1e30])
@pytest.mark.parametrize(("codec", "levels"), QUANTISED)
def test_a_constant_comes_back(codec: str, levels: int, value: float) -> None:
    values = np.full((1, 3, 8, 8), value, np.float32)
    got, _ = there_and_back(values, codec)
    assert got == pytest.approx(values, rel=1e-6, abs=1e-35)


@pytest.mark.parametrize(("codec", "levels"), QUANTISED)
def test_values_that_are_no_numbers_have_a_place(codec: str, levels: int) -> None:
    values = np.linspace(-1, 2, 128, dtype=np.float32).reshape(1, 1, 8, 16)
    values[0, 0, 3, :4] = [np.nan, np.inf, -np.inf, 3e38]
    got, _ = there_and_back(values, codec)
    assert got[0, 0, 3, 0] == 0
    assert got[0, 0, 3, 1] == got.max() > 0
    assert got[0, 0, 3, 2] == got.min()
    values[0, 0, 3, 3] = 2.0
    got, _ = there_and_back(values, codec)
    # Infinities cost the rest no precision.
    finite = np.isfinite(values)
    assert np.abs(got - values)[finite].max() <= 3 / levels * 0.5001
    assert (got[0, 0, 3, 1], got[0, 0, 3, 2]) == pytest.approx((2, -1), abs=3 / levels)


@pytest.mark.parametrize(("codec", "levels"), QUANTISED)
def test_nothing_but_nan(codec: str, levels: int) -> None:
    got, _ = there_and_back(np.full((2, 3), np.nan, np.float32), codec)
    assert np.array_equal(got, np.zeros((2, 3)))


def test_a_scale_a_channel_saves_the_quiet_ones() -> None:
    values = np.random.default_rng(0).normal(size=(1, 2, 8, 8)).astype(np.float32)
    values[0, 1] *= 1e-3
    whole, one = there_and_back(values, "u8")
    split, two = there_and_back(values, "u8c")
    assert (len(one.scale), len(two.scale)) == (1, 2)
    assert np.abs(split - values)[0, 1].max() < np.abs(whole - values)[0, 1].max() / 50


def test_tiny_channels_share_one_scale() -> None:
    _, spec = there_and_back(np.ones((1, 512, 1, 1), np.float32), "u8c")
    assert len(spec.scale) == 1


def test_four_bits_take_half_a_byte() -> None:
    for count in (1, 2, 7, 8):
        specs, data = encode({"x": np.arange(count, dtype=np.float32)}, "u4")
        assert len(data) == (count + 1) // 2 == specs[0].length


def test_half_precision_saturates_instead_of_overflowing() -> None:
    values = np.array([1e6, -1e6, 65504, np.inf, -np.inf, np.nan, 1 / 3], np.float32)
    got, _ = there_and_back(values, "f16")
    assert got[:5].tolist() == [65504, -65504, 65504, np.inf, -np.inf]
    assert np.isnan(got[5]) and got[6] == pytest.approx(1 / 3, rel=5e-4)
