"""The vocabulary of the codecs: a tensor's layout in the data, and the codec interface."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

_DTYPE_NAMES = "float32 float16 float64 uint8 int8 int16 int32 int64 bool"
WIRE_DTYPES: dict[str, np.dtype] = {
    name: np.dtype(name).newbyteorder("<") for name in _DTYPE_NAMES.split()
}
"""Dtypes that may cross the link, by NumPy name; little-endian on the wire."""


class CodecError(ValueError):
    """Tensors that cannot be encoded, or data that does not match its description; says why."""


@dataclass(frozen=True)
class TensorSpec:
    """The layout of one tensor in the encoded data; the same fields as the message of that name.

    Attributes:
        name: the model node that produced the tensor.
        dtype: NumPy name of its dtype before coding.
        shape: its shape before coding.
        scale: quantisation step, one value per tensor or per channel; empty if the codec does not
            quantise. The values are exact in float32.
        zero_point: the code that stands for 0, as many as ``scale``.
        offset: start of its encoded bytes.
        length: number of its encoded bytes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: Sequence[float]
    zero_point: Sequence[float]
    offset: int
    length: int


class Coded(NamedTuple):
    """One tensor's bytes and what is needed to decode them."""

    data: memoryview
    scale: array[float]
    zero_point: array[float]


class Codec(Protocol):
    """Turns one tensor into bytes and back."""

    def accepts(self, shape: Sequence[int], dtype: str) -> bool:
        """Whether this codec can code such a tensor at all."""

    def length_bounds(self, shape: Sequence[int], dtype: str) -> tuple[int, int]:
        """Fewest and most encoded bytes of such a tensor; equal if the content doesn't matter."""

    def scale_count(self, shape: Sequence[int], dtype: str) -> int:
        """How many scales and zero points belong to such a tensor."""

    def encode(self, values: NDArray) -> Coded:
        """Code a contiguous array.

        Raises:
            CodecError: if these values cannot be coded.
        """

    def decode(
        self,
        data: Bytes,
        scale: NDArray[np.float32],
        zero_point: NDArray[np.float32],
        shape: tuple[int, ...],
        dtype: str,
    ) -> NDArray:
        """Undo ``encode``; lengths, counts and shape have been checked already.

        Raises:
            CodecError: if the content is not what this codec writes.
        """


class SetCodec(Protocol):
    """Turns all tensors of one boundary into bytes together, and back."""

    @property
    def boundary(self) -> Sequence[str]:
        """The tensors that it codes, of the network's names and shapes."""

    def length_bounds(self) -> tuple[int, int]:
        """Fewest and most encoded bytes."""

    def encode(self, tensors: Mapping[str, NDArray]) -> bytes:
        """Code the tensors of the boundary, by name.

        Raises:
            CodecError: if they cannot be coded.
        """

    def decode(self, data: Bytes) -> Mapping[str, NDArray]:
        """Undo ``encode``; the length has been checked already.

        Raises:
            CodecError: if the content is not what this codec writes.
        """


def raw_bytes(shape: Sequence[int], dtype: str) -> int:
    """Size of a tensor before coding.

    Raises:
        CodecError: if tensors of this dtype do not cross the link.
    """
    if dtype not in WIRE_DTYPES:
        raise CodecError(f"dtype {dtype!r} does not cross the link; known: {sorted(WIRE_DTYPES)}")
    return math.prod(shape) * WIRE_DTYPES[dtype].itemsize
