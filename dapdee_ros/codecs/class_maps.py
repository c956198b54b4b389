"""Class maps to bytes and back, for messages: deflated rows.

A map is large regions of few values. Of rendered road scenes at 320x320 deflation makes 1.2 kB in a
millisecond, as PNG with its own prediction does in more time; the receiver can bound what it
inflates, and there is no image decoder that would have to be trusted.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

MOST_CELLS = 1 << 20
"""Of a map that crosses the link; deflated it always fits ``MOST_BYTES``, whatever it holds."""

MOST_BYTES = MOST_CELLS + 1024


class ClassMapError(ValueError):
    """Bytes that are not a class map of the expected size; the message says why."""


def deflated_map(class_map: NDArray[np.uint8], level: int = 6) -> bytes:
    """A class map as bytes, in the zlib format (RFC 1950).

    Args:
        class_map: uint8 ``(H, W)``.
        level: 1 is fastest, 9 smallest.
    """
    return zlib.compress(np.ascontiguousarray(class_map).data, level)


def inflated_map(data: bytes | bytearray | memoryview, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A class map from bytes that may be anything; no more than the map is ever allocated.

    Args:
        data: what ``deflated_map`` made.
        size: its height and width.

    Returns:
        uint8 ``(H, W)``, read-only.

    Raises:
        ClassMapError: if they are damaged, incomplete, or hold more or less.

    >>> inflated_map(deflated_map(np.full((2, 3), 7, np.uint8)), (2, 3)).tolist()
    [[7, 7, 7], [7, 7, 7]]
    """
    cells = size[0] * size[1]
    inflate = zlib.decompressobj()
    try:
        rows = inflate.decompress(data, cells + 1)
    except zlib.error as error:
        raise ClassMapError(f"{len(data)} bytes are no deflated class map: {error}") from error
    if len(rows) != cells or not inflate.eof or inflate.unused_data:
        raise ClassMapError(
            f"{len(data)} bytes do not hold exactly {size[0]}x{size[1]} cells, deflated"
        )
    return np.frombuffer(rows, np.uint8).reshape(size)
