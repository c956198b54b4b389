"""The image as a file: small, close, and measured before it is decoded."""

import struct

import numpy as np
import pytest

from dapdee_ros.codecs import CodecError, TensorSpec, codec_named, decode, encode
from dapdee_ros.codecs.jpeg import jpeg_size
from dapdee_ros.codecs.webp import webp_size

pytest.importorskip("cv2", reason="the image codecs need OpenCV, which is not installed")

SHAPE = (1, 48, 64, 3)
EXPECTED = {"image": (SHAPE, "uint8")}


def smooth_image(height: int = 48, width: int = 64) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    image = np.stack([rows * 4, columns * 3, 255 - rows - columns], axis=-1)
    return image.astype(np.uint8)[None]


def described(data: bytes | bytearray) -> list[TensorSpec]:
    return [TensorSpec("image", "uint8", SHAPE, (), (), 0, len(data))]


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
def test_an_image_comes_back_small_and_close(codec: str) -> None:
    image = smooth_image()
    specs, data = encode({"image": image}, codec)
    assert len(data) < image.size / 4
    got = decode(specs, data, codec, EXPECTED)["image"]
    assert got.shape == image.shape and got.dtype == np.uint8
    # Also tells rgb from bgr: the channels differ by much more than this.
    assert np.abs(got.astype(int) - image).mean() < 3


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
def test_noise_stays_within_its_bound(codec: str) -> None:
    for height, width in ((1, 1), (7, 9), (64, 64)):
        rng = np.random.default_rng(0)
        image = rng.integers(0, 256, (1, height, width, 3), dtype=np.uint8)
        specs, data = encode({"image": image}, codec)
        assert len(data) < codec_named(codec).length_bounds(image.shape, "uint8")[1]
        decode(specs, data, codec, {"image": (image.shape, "uint8")})


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
@pytest.mark.parametrize(
    "tensor", [np.zeros((1, 3, 8, 8), np.float32), np.zeros((1, 8, 8, 4), np.uint8), np.zeros(3)]
)
def test_only_images_become_images(codec: str, tensor: np.ndarray) -> None:
    with pytest.raises(CodecError, match="cannot code"):
        encode({"x": tensor}, codec)


def test_a_jpeg_header_that_asks_for_gigabytes_is_refused_unread() -> None:
    data = bytearray(encode({"image": smooth_image()}, "jpeg")[1])
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 65535, 65535)
    with pytest.raises(CodecError, match="65535"):
        decode(described(data), data, "jpeg", EXPECTED)


def test_a_progressive_jpeg_is_refused() -> None:
    import cv2

    done, data = cv2.imencode(".jpg", smooth_image()[0], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    assert done
    with pytest.raises(CodecError, match="header says None"):
        decode(described(data.tobytes()), data.tobytes(), "jpeg", EXPECTED)


def test_a_webp_header_that_asks_for_gigabytes_is_refused_unread() -> None:
    data = bytearray(encode({"image": smooth_image()}, "webp")[1])
    data[26:30] = struct.pack("<HH", 16383, 16383)
    with pytest.raises(CodecError, match="16383"):
        decode(described(data), data, "webp", EXPECTED)
    extended = bytearray(data)
    extended[12:16] = b"VP8X"
    extended[20] = 0x2F
    with pytest.raises(CodecError, match="header says None"):
        decode(described(extended), extended, "webp", EXPECTED)


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
@pytest.mark.parametrize("data", [b"\xff\xd8", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n" * 9])
def test_other_files_are_refused(codec: str, data: bytes) -> None:
    with pytest.raises(CodecError, match="header says None"):
        decode(described(data), data, codec, EXPECTED)


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
def test_too_long_and_empty_files_are_refused(codec: str) -> None:
    for data in (bytes(10**5), b""):
        with pytest.raises(CodecError, match=f"{len(data)} bytes"):
            decode(described(data), data, codec, EXPECTED)


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
def test_flipped_bytes_never_get_past_as_another_shape(codec: str) -> None:
    good = bytes(encode({"image": smooth_image()}, codec)[1])
    rng = np.random.default_rng(3)
    refused = 0
    for _ in range(400):
        data = bytearray(good)
        for at in rng.integers(0, len(data), rng.integers(1, 5)):
            data[at] ^= int(rng.integers(1, 256))
        data = data[: rng.integers(2, len(data) + 1)] if rng.random() < 0.3 else data
        try:
            got = decode(described(data), data, codec, EXPECTED)["image"]
        except CodecError as error:
            refused += 1
            assert str(error)
        else:
            assert got.shape == SHAPE and got.dtype == np.uint8
    assert refused


def test_a_jpeg_s_colours_are_as_fine_as_its_brightness(monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    # Red and green columns of equal brightness: with halved colours both would turn brown.
    image = np.zeros(SHAPE, np.uint8)
    image[..., ::2, 0], image[..., 1::2, 1] = 200, 102
    found = []
    for newer in (True, False):
        if not newer:
            # As in OpenCV before 4.7.
            monkeypatch.delattr(cv2, "IMWRITE_JPEG_SAMPLING_FACTOR")
        specs, data = encode({"image": image}, "jpeg")
        got = decode(specs, data, "jpeg", EXPECTED)["image"].astype(int)
        assert np.abs(got - image).mean() < 8
        found.append(len(data))
    assert found[0] == pytest.approx(found[1], rel=0.2)


def test_sizes_are_read_from_the_header() -> None:
    for shape in ((1, 1), (31, 500), (600, 20)):
        data = encode({"image": smooth_image(*shape)}, "jpeg")[1]
        assert jpeg_size(np.frombuffer(data, np.uint8)) == shape
        data = encode({"image": smooth_image(*shape)}, "webp")[1]
        assert webp_size(np.frombuffer(data, np.uint8)) == shape
