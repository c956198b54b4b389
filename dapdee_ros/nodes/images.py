"""Converts image messages to arrays and back.

Conversions go through ``cv_bridge`` where it is installed, else through rosbags-image. Both get a
validated message without row padding: rosbags-image ignores ``step``, and neither explains what is
wrong with a message.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from dapdee_ros.codecs.camera_file import camera_file_fault
from dapdee_ros.codecs.jpeg import JPEG
from dapdee_ros.codecs.picture_file import picture_size
from dapdee_ros.datasets.frame_source import SourceFrame

Converter = Callable[[Any], NDArray[Any]]

# Bytes per pixel, and the encoding's name in both converters.
_ENCODINGS: dict[str, tuple[int, str]] = {
    "rgb8": (3, "rgb8"),
    "bgr8": (3, "bgr8"),
    "rgba8": (4, "rgba8"),
    "bgra8": (4, "bgra8"),
    "mono8": (1, "mono8"),
    "8UC1": (1, "mono8"),
    "8UC3": (3, "bgr8"),  # OpenCV's own order, which drivers pass through
    "8UC4": (4, "bgra8"),
    "mono16": (2, "mono16"),
    "yuyv": (2, "yuv422_yuy2"),
    "yuv422_yuy2": (2, "yuv422_yuy2"),
    "uyvy": (2, "yuv422"),
    "yuv422": (2, "yuv422"),
    "nv12": (1, "nv12"),
    "nv21": (1, "nv21"),
    "bayer_rggb8": (1, "bayer_rggb8"),
    "bayer_bggr8": (1, "bayer_bggr8"),
    "bayer_gbrg8": (1, "bayer_gbrg8"),
    "bayer_grbg8": (1, "bayer_grbg8"),
}
_HALF_CHROMA = ("nv12", "nv21")
"""Read as in bags: at most one of the converters supports them."""

_CHROMA_PAIRS = ("yuv422_yuy2", "yuv422")


class ImageError(ValueError):
    """An image message that cannot be decoded; the message says why."""


def image_to_rgb(msg: Image) -> NDArray[np.uint8]:
    """The pixels of an image message.

    Args:
        msg: image in one of the supported encodings, with or without row padding.

    Returns:
        uint8 ``(H, W, 3)``, red, green, blue, contiguous. It may share its memory with the
        message: do not write to it.

    Raises:
        ImageError: if the encoding is not supported or the sizes do not fit the data.
    """
    try:
        pixel_bytes, name = _ENCODINGS[msg.encoding]
    except KeyError:
        raise ImageError(
            f"image of encoding {msg.encoding!r}, supported are {', '.join(_ENCODINGS)}: "
            "set the camera driver to one of them"
        ) from None
    if name in _HALF_CHROMA:
        return _as_in_bags(msg)
    height, width, step = msg.height, msg.width, msg.step
    what = f"image of {width}x{height} pixels, encoding {msg.encoding}"
    if height == 0 or width == 0:
        raise ImageError(f"{what}: width and height must be at least 1")
    row_bytes = width * pixel_bytes
    if step < row_bytes:
        raise ImageError(f"{what}: step is {step}, a row has at least {row_bytes} bytes")
    wanted = step * (height - 1) + row_bytes  # the last row's padding may be missing
    if len(msg.data) < wanted:
        raise ImageError(f"{what}, step {step}: {len(msg.data)} bytes of data, expected {wanted}")
    if name in _CHROMA_PAIRS and width % 2:
        raise ImageError(f"{what}: the width must be even, two pixels share their colour")
    rows = np.lib.stride_tricks.as_strided(
        np.frombuffer(msg.data, np.uint8), (height, row_bytes), (step, 1)
    )
    pixels = np.ascontiguousarray(rows)
    if name == "rgb8":
        return pixels.reshape(height, width, 3)
    if name == "mono16" and msg.is_bigendian:
        pixels = pixels.view(np.uint16).byteswap().view(np.uint8)
    plain = SimpleNamespace(
        height=height,
        width=width,
        step=row_bytes,
        encoding=name,
        is_bigendian=0,
        data=pixels.reshape(-1),
    )
    try:
        rgb = _converter()(plain)
    except Exception as error:  # each library has errors of its own
        raise ImageError(f"{what} could not be converted to rgb8: {error}") from error
    return np.ascontiguousarray(rgb, np.uint8)


def compressed_to_rgb(msg: CompressedImage) -> NDArray[np.uint8]:
    """The pixels of a compressed image message, a JPEG or PNG.

    Returns:
        uint8 ``(H, W, 3)``, red, green, blue.

    Raises:
        ImageError: if it cannot be decoded, or declares more pixels than any camera has.
    """
    return _as_in_bags(msg)


def camera_file(msg: Image | CompressedImage) -> array[int] | None:
    """The file of a compressed image that may cross the link as it is, not copied; else None."""
    if not isinstance(msg, CompressedImage):
        return None
    return None if camera_file_fault(np.frombuffer(msg.data, np.uint8)) else msg.data


def source_size(msg: Image | CompressedImage) -> tuple[int, int]:
    """Height and width of an image that has been converted; (1, 1) if it does not say."""
    if isinstance(msg, CompressedImage):
        return picture_size(np.frombuffer(msg.data, np.uint8)) or (1, 1)
    return msg.height, msg.width


def _as_in_bags(msg: Image | CompressedImage) -> NDArray[np.uint8]:
    # Here, not above: it imports OpenCV with the first such message.
    from dapdee_ros.bags.pictures import PictureError, picture

    try:
        return picture(msg)
    except PictureError as error:
        raise ImageError(str(error)) from error


def rgb_to_image(rgb: NDArray[np.uint8], stamp: Time, frame_id: str) -> Image:
    """An ``rgb8`` image message.

    Args:
        rgb: uint8 ``(H, W, 3)``, red, green, blue.
        stamp: when it was taken.
        frame_id: name of the camera's coordinate frame.

    Raises:
        ImageError: if the array has another shape or dtype.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise ImageError(f"expected a uint8 array (H, W, 3), got {rgb.dtype} {rgb.shape}")
    msg = Image(height=rgb.shape[0], width=rgb.shape[1], encoding="rgb8", step=rgb.shape[1] * 3)
    msg.header.stamp = stamp
    msg.header.frame_id = frame_id
    # An array.array is used directly; any other sequence would be checked byte by byte.
    data = array("B")
    data.frombytes(np.ascontiguousarray(rgb).data.cast("B"))
    msg.data = data
    return msg


def class_map_to_image(class_map: NDArray[np.uint8], header: Header) -> Image:
    """A ``mono8`` image message of a class map.

    Args:
        class_map: uint8 ``(H, W)``, the index of each pixel's class.
        header: of the image that it is about.
    """
    height, width = class_map.shape
    msg = Image(header=header, height=height, width=width, encoding="mono8", step=width)
    msg.data = array("B", np.ascontiguousarray(class_map).tobytes())
    return msg


def frame_to_image(frame: SourceFrame, stamp: Time, frame_id: str) -> Image:
    """A camera's frame as pixels; see ``rgb_to_image``."""
    return rgb_to_image(frame.image, stamp, frame_id)


def frame_to_compressed(frame: SourceFrame, stamp: Time, frame_id: str) -> CompressedImage:
    """A camera's frame as a JPEG: its own if it has one, else encoded.

    Args:
        frame: what the source delivered.
        stamp: when it was taken.
        frame_id: name of the camera's coordinate frame.

    Raises:
        CodecError: if OpenCV is missing or cannot encode it.
    """
    file = frame.file or JPEG.encode(np.ascontiguousarray(frame.image)[None]).data
    msg = CompressedImage(format="rgb8; jpeg compressed bgr8")
    msg.header.stamp = stamp
    msg.header.frame_id = frame_id
    data = array("B")
    data.frombytes(file)
    msg.data = data
    return msg


@lru_cache(maxsize=1)
def _converter() -> Converter:
    """Converts a validated message to rgb; imported when first needed, since it imports OpenCV."""
    try:
        from cv_bridge import CvBridge

        # Compiled against one NumPy; with another one this import fails.
        import cv_bridge.boost.cv_bridge_boost  # isort: skip # noqa: F401
    except (ImportError, AttributeError):
        return _rosbags_converter()
    bridge = CvBridge()
    return lambda plain: bridge.imgmsg_to_cv2(plain, "rgb8")


def _rosbags_converter() -> Converter:
    try:
        from rosbags.image import image_to_cvimage
    except ImportError as error:
        raise ImageError(
            "neither cv_bridge nor rosbags-image is installed: install ros-jazzy-cv-bridge "
            "(apt) or rosbags-image (pip)"
        ) from error
    return lambda plain: image_to_cvimage(plain, "rgb8")
