"""The range coder: what it decodes, what it takes, and that both its forms write the same bytes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dapdee_ros.codecs.bottleneck import range_coder
from dapdee_ros.codecs.bottleneck.range_coder import STATE_BYTES, TOTAL, SymbolModel
from dapdee_ros.codecs.tensor_spec import CodecError


def frequencies_of(weights: list[int]) -> np.ndarray:
    """Integers of at least 1 that add up to the total, about in these proportions."""
    shares = np.array(weights, np.float64)
    found = np.maximum(1, np.floor(shares / shares.sum() * (TOTAL - len(shares)))).astype(np.int64)
    found[found.argmax()] += TOTAL - found.sum()
    return found


@st.composite
def coded(draw: st.DrawFn) -> tuple[list[np.ndarray], np.ndarray]:
    channels = draw(st.integers(1, 5))
    per_channel = draw(st.integers(0, 40))
    models = [
        frequencies_of(draw(st.lists(st.integers(1, 10**6), min_size=1, max_size=256)))
        for _ in range(channels)
    ]
    rows = [
        draw(st.lists(st.integers(0, len(of) - 1), min_size=per_channel, max_size=per_channel))
        for of in models
    ]
    return models, np.array(rows, np.uint8).reshape(channels, per_channel)


def in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(range_coder, "_library", lambda: None)


@settings(max_examples=150, deadline=None)
@given(drawn=coded())
def test_symbols_come_back_and_both_forms_write_the_same_bytes(
    drawn: tuple[list[np.ndarray], np.ndarray],
) -> None:
    models, symbols = drawn
    model = SymbolModel(models)
    data = model.encode(symbols)
    raw = np.frombuffer(data, np.uint8)
    assert (model.decode(raw, symbols.shape[1]) == symbols).all()
    with pytest.MonkeyPatch.context() as patch:
        in_python(patch)
        assert model.encode(symbols) == data
        assert (model.decode(raw, symbols.shape[1]) == symbols).all()


def test_the_compiled_loops_are_there_where_the_package_is_built() -> None:
    pytest.importorskip("dapdee_ros.msg", reason="the package is not built: make setup")
    assert range_coder.is_compiled()


@pytest.mark.parametrize("spread", [0.2, 1.0, 8.0])
def test_it_takes_what_the_model_says_and_a_few_bytes(spread: float) -> None:
    rng = np.random.default_rng(int(10 * spread))
    weights = np.exp(-np.abs(np.arange(-30, 31)) / spread)
    of = frequencies_of([max(1, int(1e6 * w)) for w in weights])
    symbols = rng.choice(len(of), (24, 400), p=of / TOTAL).astype(np.uint8)
    ideal_bits = float(-np.log2(of[symbols] / TOTAL).sum())
    data = SymbolModel([of] * 24).encode(symbols)
    assert ideal_bits / 8 <= len(data) <= 1.001 * ideal_bits / 8 + STATE_BYTES + 2


def test_a_channel_of_one_symbol_takes_nothing() -> None:
    sure = np.array([TOTAL], np.int64)
    data = SymbolModel([sure] * 3).encode(np.zeros((3, 1000), np.uint8))
    assert len(data) == STATE_BYTES


def test_the_rarest_symbols_take_two_bytes_each_at_most() -> None:
    of = frequencies_of([1, 10**9])
    count = 500
    data = SymbolModel([of]).encode(np.zeros((1, count), np.uint8))
    assert len(data) <= STATE_BYTES + 2 * count
    assert math.isclose(len(data), 2 * count, rel_tol=0.01)


def test_damaged_data_are_noticed_in_both_forms() -> None:
    rng = np.random.default_rng(3)
    of = frequencies_of([1, 5, 60, 5, 1])
    model = SymbolModel([of] * 4)
    symbols = rng.choice(5, (4, 100), p=of / TOTAL).astype(np.uint8)
    data = bytearray(model.encode(symbols))
    wrong = [
        b"",
        bytes(data[:3]),
        bytes(data[:-1]),
        bytes(data[:-2]),
        bytes(data) + b"\0\0",
        bytes(4) + bytes(data[4:]),
    ]
    for spoilt in wrong:
        for python in (False, True):
            with pytest.MonkeyPatch.context() as patch:
                if python:
                    in_python(patch)
                with pytest.raises(CodecError):
                    model.decode(np.frombuffer(spoilt, np.uint8), 100)
    noticed = 0
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 1 << rng.integers(8)
        try:
            model.decode(np.frombuffer(flipped, np.uint8), 100)
        except CodecError:
            noticed += 1
    assert noticed == len(data)


@pytest.mark.parametrize(
    "of", [[], [TOTAL - 1], [0, TOTAL], [-1, TOTAL + 1], [1] * 257, [TOTAL, TOTAL]]
)
def test_frequencies_that_make_no_model_are_refused(of: list[int]) -> None:
    with pytest.raises(ValueError, match="frequencies"):
        SymbolModel([np.array(of, np.int64)])
