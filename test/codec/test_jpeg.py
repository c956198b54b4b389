"""The image as a JPEG: small, close, and measured before it is decoded."""

import struct

import numpy as np
import pytest

from dapdee_ros.codec import CodecError, TensorSpec, decode, encode
from dapdee_ros.codec.jpeg import Jpeg, jpeg_size

pytest.importorskip("cv2", reason="the jpeg codec needs OpenCV, which is not installed")


def smooth_image(height: int = 48, width: int = 64) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    image = np.stack([rows * 4, columns * 3, 255 - rows - columns], axis=-1)
    return image.astype(np.uint8)[None]


def damaged(data: bytes | bytearray) -> list[TensorSpec]:
    return [TensorSpec("image", "uint8", (1, 48, 64, 3), (), (), 0, len(data))]


EXPECTED = {"image": ((1, 48, 64, 3), "uint8")}


def test_an_image_comes_back_small_and_close() -> None:
    image = smooth_image()
    specs, data = encode({"image": image}, "jpeg")
    assert len(data) < image.size / 4
    got = decode(specs, data, "jpeg", EXPECTED)["image"]
    assert got.shape == image.shape and got.dtype == np.uint8
    # Also tells rgb from bgr: the channels differ by much more than this.
    assert np.abs(got.astype(int) - image).mean() < 3


def test_noise_stays_within_its_bound() -> None:
    for height, width in ((1, 1), (7, 9), (64, 64)):
        rng = np.random.default_rng(0)
        image = rng.integers(0, 256, (1, height, width, 3), dtype=np.uint8)
        _, data = encode({"image": image}, "jpeg")
        assert len(data) < Jpeg().length_bounds(image.shape, "uint8")[1]


@pytest.mark.parametrize(
    "tensor", [np.zeros((1, 3, 8, 8), np.float32), np.zeros((1, 8, 8, 4), np.uint8), np.zeros(3)]
)
def test_only_images_become_images(tensor: np.ndarray) -> None:
    with pytest.raises(CodecError, match="cannot code"):
        encode({"x": tensor}, "jpeg")


def test_a_header_that_asks_for_gigabytes_is_refused_unread() -> None:
    data = bytearray(encode({"image": smooth_image()}, "jpeg")[1])
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 65535, 65535)
    with pytest.raises(CodecError, match="65535"):
        decode(damaged(data), data, "jpeg", EXPECTED)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n" * 9])
def test_no_jpeg_is_refused(data: bytes) -> None:
    with pytest.raises(CodecError, match="header says None"):
        decode(damaged(data), data, "jpeg", EXPECTED)


def test_too_long_a_file_is_refused() -> None:
    data = bytes(10**5)
    with pytest.raises(CodecError, match="100000 bytes"):
        decode(damaged(data), data, "jpeg", EXPECTED)


def test_flipped_bytes_never_get_past_as_another_shape() -> None:
    good = bytes(encode({"image": smooth_image()}, "jpeg")[1])
    rng = np.random.default_rng(3)
    for _ in range(400):
        data = bytearray(good)
        for at in rng.integers(0, len(data), rng.integers(1, 5)):
            data[at] ^= int(rng.integers(1, 256))
        data = data[: rng.integers(2, len(data) + 1)] if rng.random() < 0.3 else data
        try:
            got = decode(damaged(data), data, "jpeg", EXPECTED)["image"]
        except CodecError as error:
            assert str(error)
        else:
            assert got.shape == (1, 48, 64, 3) and got.dtype == np.uint8


def test_sizes_are_read_from_the_header() -> None:
    for shape in ((1, 1), (31, 500), (600, 20)):
        data = encode({"image": smooth_image(*shape)}, "jpeg")[1]
        assert jpeg_size(np.frombuffer(data, np.uint8)) == (*shape, 3)
