"""Every encoding to red, green, blue: exactly as the live nodes do it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bags.made_bags import compressed, header, road_signs

from dapdee_ros.bags.message_types import COMPRESSED_IMAGE, IMAGE, new_message
from dapdee_ros.bags.pictures import ENCODINGS, PictureError, picture

BYTES = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono16": 2, "yuyv": 2, "uyvy": 2}
BYTES |= {"yuv422": 2, "yuv422_yuy2": 2, "8UC3": 3, "8UC4": 4}


def raw(encoding: str, padding: int = 0, bigendian: bool = False, width: int = 24) -> Any:
    height = 16
    step = width * BYTES.get(encoding, 1) + padding
    rows = height * 3 // 2 if encoding.startswith("nv") else height
    data = np.random.default_rng(3).integers(0, 256, rows * step, dtype=np.uint8)
    return new_message(
        IMAGE, header=header(0), height=height, width=width, encoding=encoding,
        is_bigendian=int(bigendian), step=step, data=data,
    )  # fmt: skip


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("padding", [0, 5])
def test_as_the_nodes_do_it(encoding: str, padding: int) -> None:
    pytest.importorskip("rclpy", reason="no ROS 2 here to compare with")
    from dapdee_ros.nodes.images import _ENCODINGS, image_to_rgb

    assert set(_ENCODINGS) == set(ENCODINGS)
    for bigendian in (False, True):
        message = raw(encoding, padding, bigendian)
        found = picture(message)
        assert found.shape == (16, 24, 3)
        difference = np.abs(found.astype(int) - image_to_rgb(message).astype(int))
        # cv_bridge, where that is what the nodes have, rounds 16 bit to 8 another way.
        assert difference.max() <= (1 if encoding == "mono16" else 0)


def test_known_pixels() -> None:
    message = raw("bgra8")
    blue, green, red, _ = message.data[:4]
    assert list(picture(message)[0, 0]) == [red, green, blue]


def test_compressed_without_loss_comes_back() -> None:
    ((rgb, _),) = road_signs(1)
    assert np.array_equal(picture(compressed(rgb, 0)), rgb)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (raw("32FC1"), "encoding '32FC1', supported are rgb8, .*choose another"),
        (raw("yuyv", width=23), "width must be even"),
        (raw("nv12", width=23), "width and height must be even"),
        (raw("mono8", padding=-3), "a row has 24 bytes"),
    ],
    ids=["encoding", "odd", "odd nv12", "step"],
)
def test_what_is_wrong_is_said(message: Any, why: str) -> None:
    with pytest.raises(PictureError, match=why):
        picture(message)


def test_too_little_data() -> None:
    message = raw("rgb8")
    message.data = message.data[:-1]
    with pytest.raises(PictureError, match="1151 bytes of data, expected 1152"):
        picture(message)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff\xe0 half a JPEG"])
def test_torn_compressed_images(data: bytes) -> None:
    message = new_message(
        COMPRESSED_IMAGE,
        header=header(0),
        format="jpeg",
        data=np.frombuffer(data, np.uint8),
    )
    with pytest.raises(PictureError, match=f"{len(data)} bytes: cannot be decoded"):
        picture(message)


def test_a_few_bytes_cannot_claim_a_picture_of_gigabytes() -> None:
    ((rgb, _),) = road_signs(1)
    message = compressed(rgb, 0)
    data = np.array(message.data, np.uint8)
    assert bytes(data[12:16]) == b"IHDR"
    data[16:24] = np.frombuffer((60_000).to_bytes(4, "big") * 2, np.uint8)
    message.data = data
    with pytest.raises(PictureError, match="60000x60000 pixels, expected at most"):
        picture(message)
