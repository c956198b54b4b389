"""Quantisation to a few bits: a real value is (code - zero point) times scale."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.codecs.plain import CODED_DTYPES, Identity
from dapdee_ros.codecs.tensor_spec import WIRE_DTYPES, Bytes, CodecError, Coded

LARGEST = 1e38
"""Finite values beyond this are clipped to it, so that every range has a finite length."""

SMALLEST_SCALE = float(np.finfo(np.float32).tiny)
"""A tensor whose range is too narrow for a normal float32 step is coded as zero."""

LEAST_PER_CHANNEL = 64
"""Below this many elements per channel, a scale per channel costs more than it gains."""


class Affine:
    """Codes of 8 or 4 bits, with one range per tensor or one per channel.

    Ranges are widened to include 0, which then has its own code: zeros from ReLU and padding are
    decoded as exactly 0 (the scheme of Jacob et al., CVPR 2018, section 2.1). The error is at most
    half a step, a step being the range divided by the number of codes minus one. NaN is coded as 0,
    infinities as the largest or smallest finite value of the tensor, so that they cost the other
    values no precision.

    Tensors of dtypes other than float32 and float64 are sent unchanged.
    """

    _identity = Identity()

    def __init__(self, bits: int, per_channel: bool) -> None:
        if bits not in (4, 8):
            raise ValueError(f"codes have 4 or 8 bits, not {bits}")
        self.bits = bits
        self.per_channel = per_channel
        self._levels = (1 << bits) - 1

    def accepts(self, shape: Sequence[int], dtype: str) -> bool:
        """True for every dtype of the wire."""
        return dtype in WIRE_DTYPES

    def length_bounds(self, shape: Sequence[int], dtype: str) -> tuple[int, int]:
        """``bits`` per element, rounded up to whole bytes."""
        if dtype not in CODED_DTYPES:
            return self._identity.length_bounds(shape, dtype)
        size = (math.prod(shape) * self.bits + 7) // 8
        return size, size

    def scale_count(self, shape: Sequence[int], dtype: str) -> int:
        """One, or one per channel if channels (axis 1) are large enough to be worth it."""
        if dtype not in CODED_DTYPES:
            return 0
        if not self.per_channel or len(shape) < 3 or shape[0] != 1 or not shape[1]:
            return 1
        return shape[1] if math.prod(shape) // shape[1] >= LEAST_PER_CHANNEL else 1

    def encode(self, values: NDArray) -> Coded:
        """Find the ranges, then quantise in a handful of passes over the array."""
        if values.dtype.name not in CODED_DTYPES:
            return self._identity.encode(values)
        rows = values.reshape(self.scale_count(values.shape, values.dtype.name), -1)
        if not rows.size:
            return Coded(
                memoryview(b""), array("f", [1.0] * len(rows)), array("f", [0.0] * len(rows))
            )
        low, high = rows.min(axis=1), rows.max(axis=1)
        # NaN and infinities show up in the extremes, so finite tensors pay nothing for this.
        bound = max(float(high.max()), -float(low.min()))
        if not bound <= LARGEST:
            rows = _tamed(rows)
            low, high = rows.min(axis=1), rows.max(axis=1)
        rows = rows.astype(np.float32, copy=False)
        reach = np.maximum(high, 0).astype(np.float64) - np.minimum(low, 0)
        scale = (reach / self._levels).astype(np.float32)
        scale[scale < SMALLEST_SCALE] = np.inf
        inverse = (1.0 / scale)[:, None]
        zero_point = np.rint(-np.minimum(low, 0)[:, None] * inverse)
        scale[np.isinf(scale)] = 1.0
        scaled = rows * inverse
        # Truncation at the cast below then rounds to nearest; nothing is below 0 by construction.
        scaled += zero_point + np.float32(0.5)
        np.minimum(scaled, np.float32(self._levels), out=scaled)
        codes = scaled.astype(np.uint8).reshape(-1)
        if self.bits == 4:
            codes = _pack_pairs(codes)
        return Coded(
            codes.data, array("f", scale.tolist()), array("f", zero_point.reshape(-1).tolist())
        )

    def decode(
        self,
        data: Bytes,
        scale: NDArray[np.float32],
        zero_point: NDArray[np.float32],
        shape: tuple[int, ...],
        dtype: str,
    ) -> NDArray:
        """Undo the quantisation; the ranges are checked first.

        Raises:
            CodecError: if a scale or zero point is not one that ``encode`` writes.
        """
        if dtype not in CODED_DTYPES:
            return self._identity.decode(data, scale, zero_point, shape, dtype)
        if not (np.all(scale >= SMALLEST_SCALE) and np.all(scale <= 3 * LARGEST / self._levels)):
            raise CodecError("a scale is not a positive step of a float32 range")
        if not (np.all(zero_point >= 0) and np.all(zero_point <= self._levels)):
            raise CodecError(f"a zero point is not a code between 0 and {self._levels}")
        count = math.prod(shape)
        codes = data if self.bits == 8 else _unpack_pairs(data, count)
        values = codes.reshape(len(scale), -1).astype(np.float32)
        values -= zero_point[:, None]
        values *= scale[:, None]
        return values.reshape(shape).astype(dtype, copy=False)


def _tamed(rows: NDArray) -> NDArray:
    """The same values with NaN as 0 and everything else within the finite ones and ``LARGEST``."""
    finite = rows[np.isfinite(rows)]
    low = max(float(finite.min()), -LARGEST) if len(finite) else 0.0
    high = min(float(finite.max()), LARGEST) if len(finite) else 0.0
    return np.clip(np.where(np.isnan(rows), 0, rows), min(low, 0.0), max(high, 0.0))


def _pack_pairs(codes: Bytes) -> Bytes:
    """Two 4-bit codes per byte, the first in the low half; an odd last one is paired with 0."""
    packed = codes[::2].copy()
    packed[: len(codes) // 2] |= codes[1::2] << 4
    return packed


def _unpack_pairs(packed: Bytes, count: int) -> Bytes:
    codes = np.empty(2 * len(packed), np.uint8)
    np.bitwise_and(packed, 15, out=codes[::2])
    np.right_shift(packed, 4, out=codes[1::2])
    return codes[:count]
