"""The camera image as a JPEG file: the only lossy codec for the raw input."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.codec.plain import NO_VALUES
from dapdee_ros.codec.tensor_spec import Bytes, CodecError, Coded

QUALITY = 90

_BASELINE = 0xC0
# Markers of frame headers (SOF0 to SOF15), without DHT, JPG and DAC that lie between them.
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_HEADER_ROOM_BYTES = 2048


class Jpeg:
    """``jpeg``: one rgb image, uint8 ``(1, H, W, 3)``, at quality 90. Needs OpenCV when used."""

    def accepts(self, shape: Sequence[int], dtype: str) -> bool:
        """True for one non-empty uint8 rgb image."""
        return is_rgb_image(shape, dtype)

    def length_bounds(self, shape: Sequence[int], dtype: str) -> tuple[int, int]:
        """Anything up to what noise at full quality can take, with room for headers."""
        _, height, width, _ = shape
        blocks = ((height + 15) // 16) * ((width + 15) // 16) * 256
        return 1, 6 * blocks + _HEADER_ROOM_BYTES

    def scale_count(self, shape: Sequence[int], dtype: str) -> int:
        """None needed."""
        return 0

    def encode(self, values: NDArray) -> Coded:
        """Compress the image.

        Raises:
            CodecError: if OpenCV is not there.
        """
        cv2 = opencv("jpeg")
        done, data = cv2.imencode(
            ".jpg", cv2.cvtColor(values[0], cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
        )
        if not done:
            raise CodecError(f"OpenCV could not make a JPEG of an image of {values.shape}")
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
            CodecError: if it is no JPEG of that size, or OpenCV is not there.
        """
        found = jpeg_size(data)
        if found != (shape[1], shape[2], 3):
            raise CodecError(f"expected a JPEG of {shape[1:]}, its header says {found}")
        return opened(data, shape, "jpeg")


def is_rgb_image(shape: Sequence[int], dtype: str) -> bool:
    """Whether a tensor is one non-empty uint8 rgb image, ``(1, H, W, 3)``."""
    return (
        dtype == "uint8"
        and len(shape) == 4
        and shape[0] == 1
        and shape[3] == 3
        and 0 < shape[1] < 65536
        and 0 < shape[2] < 65536
    )


def jpeg_size(data: Bytes) -> tuple[int, int, int] | None:
    """Height, width and components that a JPEG's frame header declares, without decoding it.

    Read before the decoder sees the data, since the decoder allocates whatever the header asks
    for. Layout: ITU-T T.81, annex B. None if there is no frame header, or not a baseline one:
    ``encode`` writes no other, and a short progressive file can keep a decoder busy for minutes.
    """
    view = data.data
    if bytes(view[:2]) != b"\xff\xd8":
        return None
    at = 2
    while at + 4 <= len(view):
        if view[at] != 0xFF:
            return None
        marker = view[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in (0x01, 0xD8, 0xD9, 0xDA) or 0xD0 <= marker <= 0xD7:
            return None
        length = view[at + 2] << 8 | view[at + 3]
        if marker in _FRAME_MARKERS:
            if marker != _BASELINE:
                return None
            if length < 8 or at + 10 > len(view):
                return None
            height = view[at + 5] << 8 | view[at + 6]
            width = view[at + 7] << 8 | view[at + 8]
            return height, width, view[at + 9]
        at += 2 + length
    return None


def opened(data: Bytes, shape: Sequence[int], codec: str) -> NDArray:
    """An image file whose declared size has been checked, as a uint8 rgb tensor.

    Raises:
        CodecError: if OpenCV refuses it or finds another size.
    """
    cv2 = opencv(codec)
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise CodecError(f"OpenCV refuses the {codec}: {error}") from error
    if image is None or image.shape != tuple(shape[1:]):
        raise CodecError(f"the {codec} is damaged")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)[None]


def opencv(codec: str) -> ModuleType:
    """OpenCV, imported when an image codec is first used.

    Raises:
        CodecError: if it is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise CodecError(
            f"the {codec} codec needs OpenCV (python3-opencv or opencv-python-headless), which is "
            "not installed"
        ) from error
    return cv2
