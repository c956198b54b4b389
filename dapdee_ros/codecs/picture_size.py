"""The size that an image file declares, read without decoding it.

A decoder allocates whatever the header asks for: a PNG of a hundred bytes may declare 60,000 by
60,000 pixels, 10 GB as rgb.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.codecs.jpeg import frame_header

MOST_PIXELS = 64_000_000
"""More than robots' cameras have; 192 MB as rgb."""

_PNG = b"\x89PNG\r\n\x1a\n"


def picture_size(data: NDArray[np.uint8]) -> tuple[int, int] | None:
    """Height and width that the header of a JPEG or PNG declares; None for anything else.

    Args:
        data: the file, uint8 ``(n,)``.
    """
    head = bytes(data[:24])
    if head.startswith(_PNG) and head[12:16] == b"IHDR" and len(head) == 24:
        return int.from_bytes(head[20:24], "big"), int.from_bytes(head[16:20], "big")
    header = frame_header(data)
    return None if header is None else (header.height, header.width)


def picture_fault(data: NDArray[np.uint8]) -> str:
    """The reason, as text, why a file is not decoded; empty if it may be."""
    size = picture_size(data)
    if size is None:
        return "it is neither a JPEG nor a PNG"
    if size[0] * size[1] > MOST_PIXELS:
        return f"it declares {size[1]}x{size[0]} pixels, expected at most {MOST_PIXELS}"
    return ""
