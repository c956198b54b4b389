"""Codecs that keep every element: as it is, or as a half-precision float."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.codecs.tensor_spec import WIRE_DTYPES, Bytes, Coded, raw_bytes

CODED_DTYPES = ("float32", "float64")
"""Dtypes that the lossy numeric codecs change; they send all others unchanged."""

NO_VALUES = array("f")


class Identity:
    """``f32``: the bytes themselves, whatever the dtype."""

    def accepts(self, shape: Sequence[int], dtype: str) -> bool:
        """True for every dtype of the wire."""
        return dtype in WIRE_DTYPES

    def length_bounds(self, shape: Sequence[int], dtype: str) -> tuple[int, int]:
        """The tensor's own size, twice."""
        size = raw_bytes(shape, dtype)
        return size, size

    def scale_count(self, shape: Sequence[int], dtype: str) -> int:
        """None needed."""
        return 0

    def encode(self, values: NDArray) -> Coded:
        """View the array's memory; nothing is copied on a little-endian machine."""
        little = values.astype(values.dtype.newbyteorder("<"), copy=False)
        return Coded(little.reshape(-1).view(np.uint8).data, NO_VALUES, NO_VALUES)

    def decode(
        self,
        data: Bytes,
        scale: NDArray[np.float32],
        zero_point: NDArray[np.float32],
        shape: tuple[int, ...],
        dtype: str,
    ) -> NDArray:
        """View the data as the tensor; copied only if it is misaligned or read-only.

        Torch warns about read-only arrays, and reads misaligned ones slowly or, on some processors,
        not at all.
        """
        if dtype == "bool":
            return (data != 0).reshape(shape)
        values = data.view(WIRE_DTYPES[dtype]) if len(data) else np.empty(0, WIRE_DTYPES[dtype])
        native = values.astype(np.dtype(dtype), copy=False)
        return np.require(native, requirements=["A", "W"]).reshape(shape)


class Half:
    """``f16``: IEEE half precision; dtypes other than float32 and float64 unchanged.

    NaN and infinities survive; finite values beyond 65,504 become ±65,504, so that a large
    activation does not turn into an infinity that corrupts everything after it.
    """

    _identity = Identity()

    def accepts(self, shape: Sequence[int], dtype: str) -> bool:
        """True for every dtype of the wire."""
        return dtype in WIRE_DTYPES

    def length_bounds(self, shape: Sequence[int], dtype: str) -> tuple[int, int]:
        """Two bytes per element."""
        size = raw_bytes(shape, "float16" if dtype in CODED_DTYPES else dtype)
        return size, size

    def scale_count(self, shape: Sequence[int], dtype: str) -> int:
        """None needed."""
        return 0

    def encode(self, values: NDArray) -> Coded:
        """Round every value to half precision."""
        if values.dtype.name not in CODED_DTYPES:
            return self._identity.encode(values)
        with np.errstate(over="ignore", invalid="ignore"):
            half = values.astype(np.float16)
        overflown = np.isinf(half)
        if overflown.any():
            overflown &= np.isfinite(values)
            half[overflown] = np.copysign(np.float16(65504), half[overflown])
        return self._identity.encode(half)

    def decode(
        self,
        data: Bytes,
        scale: NDArray[np.float32],
        zero_point: NDArray[np.float32],
        shape: tuple[int, ...],
        dtype: str,
    ) -> NDArray:
        """Widen every value again."""
        if dtype not in CODED_DTYPES:
            return self._identity.decode(data, scale, zero_point, shape, dtype)
        half = self._identity.decode(data, scale, zero_point, shape, "float16")
        return half.astype(dtype)
