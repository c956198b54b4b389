"""Any fixed-size codec followed by entropy coding: the names that end in ``z``."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.codecs.tensor_spec import Bytes, Codec, CodecError, Coded


class Deflated:
    """Raw deflate (RFC 1951) with Huffman codes only, with Python's own zlib.

    Quantised activations hardly contain repetitions, but small codes are far more frequent than
    large ones; so searching for repetitions costs time and gains nothing, and a Huffman code gets
    nearly all of the possible gain. ``bench/compressors.py`` compares it on real activations with
    zlib's other strategies, and with zstd, lz4 and blosc2 where they are installed.

    Data that would not become smaller is sent as the inner codec wrote it; a coded length equal to
    the inner codec's indicates that.
    """

    def __init__(self, inner: Codec) -> None:
        self._inner = inner

    def accepts(self, shape: Sequence[int], dtype: str) -> bool:
        """What the inner codec accepts."""
        return self._inner.accepts(shape, dtype)

    def length_bounds(self, shape: Sequence[int], dtype: str) -> tuple[int, int]:
        """Anything up to the inner codec's size; empty stays empty."""
        size = self._inner.length_bounds(shape, dtype)[1]
        return min(1, size), size

    def scale_count(self, shape: Sequence[int], dtype: str) -> int:
        """As many as the inner codec's."""
        return self._inner.scale_count(shape, dtype)

    def encode(self, values: NDArray) -> Coded:
        """Code by the inner codec, then compress."""
        plain = self._inner.encode(values)
        press = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS, 9, zlib.Z_HUFFMAN_ONLY)
        pressed = press.compress(plain.data) + press.flush()
        if len(pressed) >= plain.data.nbytes:
            return plain
        return plain._replace(data=memoryview(pressed))

    def decode(
        self,
        data: Bytes,
        scale: NDArray[np.float32],
        zero_point: NDArray[np.float32],
        shape: tuple[int, ...],
        dtype: str,
    ) -> NDArray:
        """Decompress into exactly the inner codec's size, then undo the inner codec.

        Raises:
            CodecError: if the data is damaged, or would give more or less than that size.
        """
        size = self._inner.length_bounds(shape, dtype)[1]
        if len(data) < size:
            expand = zlib.decompressobj(-zlib.MAX_WBITS)
            try:
                # Room for one byte more than expected, to detect excess data.
                plain = expand.decompress(data.data, size + 1)
            except zlib.error as error:
                raise CodecError(f"the compressed data is damaged: {error}") from error
            if len(plain) != size or not expand.eof or expand.unused_data:
                raise CodecError(f"the compressed data does not give exactly {size} bytes")
            data = np.frombuffer(plain, np.uint8)
        return self._inner.decode(data, scale, zero_point, shape, dtype)
