"""Images that declare more pixels than they have bytes for."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest

from dapdee_ros.codecs.picture_file import (
    PictureFileError,
    picture_fault,
    picture_size,
    read_picture,
)


def png(width: int, height: int) -> np.ndarray:
    """The head of a PNG that declares a size, and hardly anything behind it."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return np.frombuffer(data + b"\0\0\0\0IDAT", np.uint8)


def jpeg(width: int, height: int, marker: int = 0xC2) -> np.ndarray:
    head = b"\xff\xd8\xff" + bytes([marker]) + struct.pack(">HBHHB", 17, 8, height, width, 3)
    return np.frombuffer(head + b"\1\x11\0" * 3, np.uint8)


@pytest.mark.parametrize("data", [png(60_000, 60_000), png(30_000, 30_000), jpeg(65_000, 65_000)])
def test_what_declares_too_much_is_named_and_not_decoded(data: np.ndarray) -> None:
    assert "pixels, expected at most 64000000" in picture_fault(data)


def test_real_pictures_pass() -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    for suffix in (".png", ".jpg"):
        for given in (picture, picture[..., 0]):
            data = cv2.imencode(suffix, given)[1]
            assert picture_size(data) == (48, 64)
            assert picture_fault(data) == ""
    progressive = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1]
    assert picture_fault(progressive) == ""


def test_other_files_are_named() -> None:
    for data in (cv2.imencode(".bmp", np.zeros((4, 4, 3), np.uint8))[1], np.zeros(0, np.uint8)):
        assert picture_fault(data) == "it is neither a JPEG nor a PNG"


def noise(height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_file_that_was_cut_off_is_named(suffix: str, share: float) -> None:
    whole = cv2.imencode(suffix, noise())[1].reshape(-1)
    cut_off = whole[: int(share * len(whole))]
    assert "cut off" in picture_fault(cut_off)
    with pytest.raises(PictureFileError, match="cut off"):
        read_picture(cut_off)
    # Cameras pad their files.
    assert picture_fault(np.append(whole, np.zeros(100, np.uint8))) == ""


def test_a_thumbnail_s_end_marker_is_not_the_file_s() -> None:
    thumbnail = b"\xff\xd8\xff\xd9"
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(thumbnail)) + thumbnail
    whole = cv2.imencode(".jpg", noise())[1].tobytes()
    data = np.frombuffer(whole[:2] + segment + whole[2:], np.uint8)
    assert picture_fault(data) == ""
    assert "cut off" in picture_fault(data[: len(data) // 2])


def test_pixels_are_as_stored_whatever_exif_says_of_their_orientation() -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    whole = cv2.imencode(".jpg", noise())[1].tobytes()
    data = whole[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif + whole[2:]
    turned = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert turned is not None and turned.shape == (64, 48, 3)
    found = read_picture(np.frombuffer(data, np.uint8))
    assert found.shape[:2] == picture_size(np.frombuffer(data, np.uint8)) == (48, 64)


def test_grey_and_tiny_pictures_become_colour() -> None:
    for shape in ((1, 1), (1, 1, 3), (5, 7)):
        for suffix in (".png", ".jpg"):
            data = cv2.imencode(suffix, np.full(shape, 90, np.uint8))[1]
            assert read_picture(data.reshape(-1)).tolist() == np.full((*shape[:2], 3), 90).tolist()
