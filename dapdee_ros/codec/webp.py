"""The camera image as a WebP file: smaller than JPEG at the same quality, slower to make."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.codec.jpeg import is_rgb_image, opencv, opened
from dapdee_ros.codec.plain import NO_VALUES
from dapdee_ros.codec.tensor_spec import Bytes, CodecError, Coded

QUALITY = 80
_LONGEST_SIDE = 16383
_HEADER_ROOM_BYTES = 2048


class WebP:
    """``webp``: one rgb image, uint8 ``(1, H, W, 3)``, at quality 80. Needs OpenCV when used."""

    def accepts(self, shape: Sequence[int], dtype: str) -> bool:
        """True for one non-empty uint8 rgb image within the format's size."""
        return is_rgb_image(shape, dtype) and max(shape[1:3]) <= _LONGEST_SIDE

    def length_bounds(self, shape: Sequence[int], dtype: str) -> tuple[int, int]:
        """Anything up to four times the pixels' size, with room for headers."""
        return 1, 4 * shape[1] * shape[2] * 3 + _HEADER_ROOM_BYTES

    def scale_count(self, shape: Sequence[int], dtype: str) -> int:
        """None needed."""
        return 0

    def encode(self, values: NDArray) -> Coded:
        """Compress the image.

        Raises:
            CodecError: if OpenCV is not there or lacks WebP.
        """
        cv2 = opencv("webp")
        try:
            done, data = cv2.imencode(
                ".webp",
                cv2.cvtColor(values[0], cv2.COLOR_RGB2BGR),
                [cv2.IMWRITE_WEBP_QUALITY, QUALITY],
            )
        except cv2.error as error:
            raise CodecError(f"OpenCV cannot make a WebP: {error}") from error
        if not done:
            raise CodecError(f"OpenCV could not make a WebP of an image of {values.shape}")
        return Coded(data.reshape(-1).data, NO_VALUES, NO_VALUES)

    def decode(
        self,
        data: Bytes,
        scale: NDArray[np.float32],
        zero_point: NDArray[np.float32],
        shape: tuple[int, ...],
        dtype: str,
    ) -> NDArray:
        """Decompress the image once its header promises the expected size.

        Raises:
            CodecError: if it is no WebP of that size, or OpenCV is not there.
        """
        found = webp_size(data)
        if found != tuple(shape[1:3]):
            raise CodecError(f"expected a WebP of {shape[1:3]}, its header says {found}")
        return opened(data, shape, "webp")


def webp_size(data: Bytes) -> tuple[int, int] | None:
    """Height and width that a simple WebP's header declares, without decoding it.

    Only a file whose one chunk is a lossy (``VP8``) or lossless (``VP8L``) picture counts; the
    extended form, which may hold animations and canvases of any size, is not what ``encode``
    writes. Layout: RFC 9649 and RFC 6386, section 9.1. None if it is anything else.
    """
    head = data[:30].tobytes()
    if len(head) < 30 or head[:4] != b"RIFF" or head[8:12] != b"WEBP":
        return None
    if head[12:16] == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        width = int.from_bytes(head[26:28], "little") & 0x3FFF
        height = int.from_bytes(head[28:30], "little") & 0x3FFF
        return height, width
    if head[12:16] == b"VP8L" and head[20] == 0x2F:
        bits = int.from_bytes(head[21:25], "little")
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    return None
