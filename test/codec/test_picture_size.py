"""Images that declare more pixels than they have bytes for."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest

from dapdee_ros.codecs.picture_size import picture_fault, picture_size


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
