"""Converts image messages to arrays, without ROS; ``nodes.images`` does so with cv_bridge."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.bags.errors import BagError
from dapdee_ros.codecs.picture_file import MOST_PIXELS, PictureFileError, read_picture

# Bytes per pixel, and OpenCV's conversion to red, green, blue if it is more than reordering.
# OpenCV names a Bayer pattern by the middle of its second row, ROS by its first pixels.
_ENCODINGS: dict[str, tuple[int, str]] = {
    "rgb8": (3, ""),
    "bgr8": (3, "COLOR_BGR2RGB"),
    "rgba8": (4, "COLOR_RGBA2RGB"),
    "bgra8": (4, "COLOR_BGRA2RGB"),
    "mono8": (1, "COLOR_GRAY2RGB"),
    "8UC1": (1, "COLOR_GRAY2RGB"),
    "8UC3": (3, "COLOR_BGR2RGB"),  # OpenCV's own order, which drivers pass through
    "8UC4": (4, "COLOR_BGRA2RGB"),
    "mono16": (2, "COLOR_GRAY2RGB"),
    "yuyv": (2, "COLOR_YUV2RGB_YUYV"),
    "yuv422_yuy2": (2, "COLOR_YUV2RGB_YUYV"),
    "uyvy": (2, "COLOR_YUV2RGB_UYVY"),
    "yuv422": (2, "COLOR_YUV2RGB_UYVY"),
    "nv12": (1, "COLOR_YUV2RGB_NV12"),
    "nv21": (1, "COLOR_YUV2RGB_NV21"),
    "bayer_rggb8": (1, "COLOR_BAYER_BG2RGB"),
    "bayer_bggr8": (1, "COLOR_BAYER_RG2RGB"),
    "bayer_gbrg8": (1, "COLOR_BAYER_GR2RGB"),
    "bayer_grbg8": (1, "COLOR_BAYER_GB2RGB"),
}
_HALF_CHROMA = ("nv12", "nv21")
ENCODINGS = tuple(_ENCODINGS)
"""Encodings of sensor_msgs/Image that can be read."""


class PictureError(BagError):
    """An image message that cannot be decoded; the message says why."""


def picture(message: Any) -> NDArray[np.uint8]:
    """The pixels of an Image or CompressedImage message from a bag.

    Returns:
        uint8 ``(H, W, 3)``, red, green, blue.

    Raises:
        PictureError: if the encoding is unknown or the data does not match its description.
    """
    return _decompressed(message) if hasattr(message, "format") else _raw(message)


def _decompressed(message: Any) -> NDArray[np.uint8]:
    data = np.asarray(message.data, np.uint8)
    try:
        return read_picture(data)
    except PictureFileError as error:
        raise PictureError(
            f"compressed image of format {message.format!r}, {data.size} bytes: cannot be "
            f"decoded, {error}"
        ) from error


def _raw(message: Any) -> NDArray[np.uint8]:
    import cv2

    encoding, height, width, step = message.encoding, message.height, message.width, message.step
    if encoding not in _ENCODINGS:
        raise PictureError(
            f"image of encoding {encoding!r}, supported are {', '.join(ENCODINGS)}: convert the "
            "topic (image_proc, depth images have no class anyway) or choose another"
        )
    pixel_bytes, conversion = _ENCODINGS[encoding]
    what = f"image of {width}x{height} pixels, encoding {encoding}, step {step}"
    row_bytes = width * pixel_bytes
    if height * width > MOST_PIXELS:
        raise PictureError(f"{what}: expected at most {MOST_PIXELS} pixels")
    if not height or not width or step < row_bytes:
        raise PictureError(f"{what}: a row has {row_bytes} bytes, and neither side may be 0")
    data = np.asarray(message.data, np.uint8)
    if encoding in _HALF_CHROMA:
        if width % 2 or height % 2:
            raise PictureError(f"{what}: width and height must be even, four pixels share a colour")
        height = height * 3 // 2  # below the luma rows, half as many chroma rows
    wanted = step * (height - 1) + row_bytes  # the last row's padding may be missing
    if data.size < wanted:
        raise PictureError(f"{what}: {data.size} bytes of data, expected {wanted}")
    if "YUV" in conversion and width % 2:
        raise PictureError(f"{what}: the width must be even, two pixels share their colour")
    rows = np.lib.stride_tricks.as_strided(data, (height, row_bytes), (step, 1))
    pixels = np.ascontiguousarray(rows)
    if encoding == "mono16":
        wide = pixels.view(">u2" if message.is_bigendian else "<u2")
        pixels = (wide * (255.0 / 65535.0)).astype(np.uint8)
        pixel_bytes = 1
    if pixel_bytes > 1:
        pixels = pixels.reshape(height, width, pixel_bytes)
    if not conversion:
        return pixels
    return np.asarray(cv2.cvtColor(pixels, getattr(cv2, conversion)), np.uint8)
