"""Arrays to image messages and back."""

from __future__ import annotations

from array import array

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from dapdee_ros.nodes.images import ImageError, compressed_to_rgb, image_to_rgb, rgb_to_image

RNG = np.random.default_rng(3)
PICTURE = RNG.integers(0, 256, (7, 10, 3), np.uint8)
# Colours that YUV with shared chroma keeps: each pair of pixels alike.
PAIRED = np.repeat(RNG.integers(60, 200, (6, 5, 3), np.uint8), 2, axis=1)


def message(pixels: NDArray[np.generic], encoding: str, padding: int = 0) -> Image:
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(pixels.shape[0], -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    msg = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    msg.step = padded.shape[1]
    msg.data = array("B", padded.tobytes())
    return msg


@pytest.mark.parametrize("padding", [0, 1, 22])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8", "mono8", "8UC1", "mono16"])
def test_exact_encodings_come_back_as_the_same_picture(encoding: str, padding: int) -> None:
    grey = PICTURE[..., 0]
    alpha = np.full((*PICTURE.shape[:2], 1), 9, np.uint8)
    expected = np.repeat(grey[..., None], 3, axis=2)
    pixels: NDArray[np.generic] = grey
    if encoding == "mono16":
        pixels = grey.astype("<u2") * 257
    elif "mono" not in encoding and encoding != "8UC1":
        expected = PICTURE
        pixels = PICTURE if encoding.startswith("rgb") else PICTURE[..., ::-1]
        if "a" in encoding:
            pixels = np.concatenate([pixels, alpha], axis=2)
    rgb = image_to_rgb(message(pixels, encoding, padding))
    assert rgb.dtype == np.uint8 and rgb.flags.c_contiguous
    np.testing.assert_array_equal(rgb, expected)


def test_big_endian_mono16() -> None:
    msg = message(PICTURE[..., 0].astype(">u2") * 257, "mono16")
    msg.is_bigendian = 1
    np.testing.assert_array_equal(image_to_rgb(msg)[..., 1], PICTURE[..., 0])


def yuv422(rgb: NDArray[np.uint8], luma_first: bool) -> NDArray[np.uint8]:
    """By the definition of BT.601 in the video range, pixel for pixel."""
    red, green, blue = (rgb[..., channel].astype(float) for channel in range(3))
    luma = 16 + 0.257 * red + 0.504 * green + 0.098 * blue
    cb = 128 - 0.148 * red - 0.291 * green + 0.439 * blue
    cr = 128 + 0.439 * red - 0.368 * green - 0.071 * blue
    chroma = cb.copy()
    chroma[:, 1::2] = cr[:, 1::2]
    pair = (luma, chroma) if luma_first else (chroma, luma)
    return np.rint(np.stack(pair, axis=2)).astype(np.uint8)


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("encoding", ["yuyv", "yuv422_yuy2", "uyvy", "yuv422"])
def test_yuv_comes_back_within_rounding(encoding: str, padding: int) -> None:
    pixels = yuv422(PAIRED, luma_first="yuy" in encoding)
    rgb = image_to_rgb(message(pixels, encoding, padding))
    assert np.abs(rgb.astype(int) - PAIRED).max() <= 4


@pytest.mark.parametrize("encoding", ["bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8"])
def test_bayer_patterns_give_the_right_colours(encoding: str) -> None:
    colour = {"r": 200, "g": 120, "b": 40}
    pattern = np.array([colour[letter] for letter in encoding[6:10]], np.uint8).reshape(2, 2)
    rgb = image_to_rgb(message(np.tile(pattern, (4, 4)), encoding))
    np.testing.assert_array_equal(rgb[3, 3], [200, 120, 40])


def test_there_and_back_keeps_picture_stamp_and_frame() -> None:
    msg = rgb_to_image(PICTURE[:, ::-1], Time(sec=5, nanosec=7), "front")
    assert (msg.header.stamp.sec, msg.header.stamp.nanosec, msg.header.frame_id) == (5, 7, "front")
    assert (msg.height, msg.width, msg.step, msg.encoding) == (7, 10, 30, "rgb8")
    np.testing.assert_array_equal(image_to_rgb(msg), PICTURE[:, ::-1])


def test_last_row_may_lack_its_padding() -> None:
    msg = message(PICTURE, "rgb8", padding=5)
    msg.data = msg.data[:-5]
    np.testing.assert_array_equal(image_to_rgb(msg), PICTURE)


def spoiled(**changes: object) -> Image:
    msg = message(PICTURE, "rgb8")
    for name, value in changes.items():
        setattr(msg, name, value)
    return msg


@pytest.mark.parametrize(
    ("msg", "says"),
    [
        (spoiled(encoding="rgb9"), r"'rgb9', supported are rgb8, bgr8"),
        (spoiled(encoding=""), "encoding ''"),
        (spoiled(height=0), "at least 1"),
        (spoiled(width=0, step=0), "at least 1"),
        (spoiled(step=29), "step is 29, a row has at least 30 bytes"),
        (spoiled(data=b"abc"), "3 bytes of data, expected 210"),
        (spoiled(height=4_000_000_000), "210 bytes of data, expected 120000000000"),
        (spoiled(data=array("B")), "0 bytes of data"),
        (message(np.zeros((4, 5, 2), np.uint8), "yuyv"), "width must be even"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(msg: Image, says: str) -> None:
    with pytest.raises(ImageError, match=says):
        image_to_rgb(msg)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4), (0, 4, 3)])
def test_only_rgb_arrays_become_messages(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=r"\(H, W, 3\)"):
        rgb_to_image(np.zeros(shape, np.uint8), Time(), "")


def test_compressed_pictures() -> None:
    ok, png = cv2.imencode(".png", PICTURE[..., ::-1])
    assert ok
    msg = CompressedImage(format="png", data=array("B", png.tobytes()))
    np.testing.assert_array_equal(compressed_to_rgb(msg), PICTURE)
    for data in (b"", b"no picture"):
        with pytest.raises(ImageError, match="cannot be decoded"):
            compressed_to_rgb(CompressedImage(format="jpeg", data=data))


@pytest.mark.parametrize("encoding", ["8UC3", "8UC4"])
@pytest.mark.parametrize("padding", [0, 5])
def test_what_opencv_passes_through_is_blue_first(encoding: str, padding: int) -> None:
    pixels = PICTURE[..., ::-1]
    if encoding == "8UC4":
        pixels = np.concatenate([pixels, np.full((*pixels.shape[:2], 1), 9, np.uint8)], axis=2)
    np.testing.assert_array_equal(image_to_rgb(message(pixels, encoding, padding)), PICTURE)


@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
@pytest.mark.parametrize("padding", [0, 6])
def test_half_as_many_rows_of_colours(encoding: str, padding: int) -> None:
    # Four pixels alike, so that sharing a colour loses nothing.
    rgb = np.repeat(np.repeat(RNG.integers(60, 200, (3, 5, 3), np.uint8), 2, 0), 2, 1)
    packed = yuv422(rgb, luma_first=True)
    luma = packed[..., 0].reshape(6, 10)
    chroma = packed[::2, :, 1].reshape(3, 10)
    if encoding == "nv21":
        chroma = chroma.reshape(3, 5, 2)[..., ::-1].reshape(3, 10)
    msg = message(np.concatenate([luma, chroma]), encoding, padding)
    msg.height = 6
    assert np.abs(image_to_rgb(msg).astype(int) - rgb).max() <= 4
    for change, words in (
        ({"height": 5}, "must be even"),
        ({"width": 9}, "must be even"),
        ({"height": 8}, "bytes of data"),
        ({"step": 9}, "a row has 10 bytes"),
    ):
        broken = message(np.concatenate([luma, chroma]), encoding, padding)
        broken.height = 6
        for name, value in change.items():
            setattr(broken, name, value)
        with pytest.raises(ImageError, match=words):
            image_to_rgb(broken)
