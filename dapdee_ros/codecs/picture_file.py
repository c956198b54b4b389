"""Image files as cameras deliver them: JPEG and PNG, read with all checks before decoding.

A decoder allocates whatever the header asks for: a PNG of a hundred bytes may declare 60,000 by
60,000 pixels, 10 GB as rgb. And of a file that was cut off it returns what there is, the rest grey,
and says so only on the terminal.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.codecs.jpeg import frame_header

MOST_PIXELS = 64_000_000
"""More than robots' cameras have; 192 MB as rgb."""

_PNG = b"\x89PNG\r\n\x1a\n"
_PADDING_BYTES = 1024
_PNG_END, _JPEG_END = b"IEND", b"\xff\xd9"


class PictureFileError(ValueError):
    """An image file that cannot be decoded; the message says why."""


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


def has_end(data: NDArray[np.uint8]) -> bool:
    """Whether a JPEG or PNG holds the marker that ends it.

    Args:
        data: the file, uint8 ``(n,)``; cameras may have padded it.
    """
    is_png = bytes(data[: len(_PNG)]) == _PNG
    header = None if is_png else frame_header(data)
    if not is_png and header is None:
        return False
    # Before a JPEG's frame header there may be a thumbnail with an end of its own.
    rest = data[header.offset :] if header is not None else data
    end = _PNG_END if is_png else _JPEG_END
    # Usually it is the last there is: then the file need not be copied.
    return any(bytes(part).rfind(end) >= 0 for part in (rest[-_PADDING_BYTES:], rest))


def picture_fault(data: NDArray[np.uint8]) -> str:
    """The reason, as text, why a file is not decoded; empty if it may be."""
    size = picture_size(data)
    if size is None:
        return "it is neither a JPEG nor a PNG"
    if size[0] * size[1] > MOST_PIXELS:
        return f"it declares {size[1]}x{size[0]} pixels, expected at most {MOST_PIXELS}"
    if not has_end(data):
        return "it is cut off: the marker that ends such a file is missing"
    return ""


def read_picture(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The pixels of a JPEG or PNG as they are stored; EXIF's orientation is ignored.

    So a place in the image is the same to everybody who reads it, as with ROS's image transport.

    Args:
        data: the file, uint8 ``(n,)``.

    Returns:
        uint8 ``(H, W, 3)``, red, green, blue; of a grey image all three are the same.

    Raises:
        PictureFileError: if it cannot be decoded, or declares more than ``MOST_PIXELS``.
    """
    import cv2

    if fault := picture_fault(data):
        raise PictureFileError(fault)
    try:
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        bgr = None
    if bgr is None:
        raise PictureFileError("expected a whole JPEG or PNG")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
