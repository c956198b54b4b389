"""The camera image as a JPEG file."""

from __future__ import annotations

import io
from dataclasses import dataclass

from numpy.typing import NDArray

from dapdee_ros.codecs.image_file import ImageFile
from dapdee_ros.codecs.tensor_spec import Bytes, CodecError

_BASELINE = 0xC0
# Markers of frame headers (SOF0 to SOF15), without DHT, JPG and DAC in between.
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_HEADER_ROOM_BYTES = 2048


@dataclass(frozen=True)
class FrameHeader:
    """What a JPEG's frame header declares.

    Attributes:
        baseline: whether it is sequential, with Huffman codes and 8 bits.
        height: in pixels.
        width: in pixels.
        components: 1 for grey, 3 for colour.
        offset: where it lies in the file, in bytes.
    """

    baseline: bool
    height: int
    width: int
    components: int
    offset: int


def jpeg_size(data: Bytes) -> tuple[int, int] | None:
    """Height and width that a JPEG's frame header declares, without decoding it.

    Read before the decoder gets the data, since the decoder allocates whatever the header asks for.
    None if there is no frame header, or it is not baseline with three components: ``encode`` writes
    no other, and a short progressive file can keep a decoder busy for minutes.
    """
    header = frame_header(data)
    if header is None or not header.baseline or header.components != 3:
        return None
    return header.height, header.width


def frame_header(data: Bytes) -> FrameHeader | None:
    """The frame header of a JPEG, None if there is none. Layout: ITU-T T.81, annex B."""
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
            if length < 8 or at + 10 > len(view):
                return None
            height = view[at + 5] << 8 | view[at + 6]
            width = view[at + 7] << 8 | view[at + 8]
            return FrameHeader(marker == _BASELINE, height, width, view[at + 9], at)
        at += 2 + length
    return None


def _most_bytes(height: int, width: int) -> int:
    """The size of noise at full quality, plus headers."""
    blocks = ((height + 15) // 16) * ((width + 15) // 16) * 256
    return 6 * blocks + _HEADER_ROOM_BYTES


def _by_pillow(values: NDArray, quality: int) -> bytes:
    """A JPEG whose colours are as fine as its brightness; needs Pillow."""
    try:
        from PIL import Image
    except ImportError as error:
        raise CodecError(
            "the jpeg codec needs OpenCV 4.7 or newer, or Pillow (python3-pil), which is not "
            "installed"
        ) from error
    file = io.BytesIO()
    Image.fromarray(values).save(file, "JPEG", quality=quality, subsampling="4:4:4")
    return file.getvalue()


# Halved colours, the usual 4:2:0, can cost a network more than coarse steps: on rendered scenes a
# detector lost 0.010 mAP by them at quality 90, and loses 0.004 without. On photographs that were
# JPEGs before it is the steps: YOLOX-nano loses 0.005 at quality 90 and 0.009 at 80.
JPEG = ImageFile(
    "jpeg",
    "IMWRITE_JPEG_QUALITY",
    90,
    65535,
    _most_bytes,
    jpeg_size,
    (("IMWRITE_JPEG_SAMPLING_FACTOR", "IMWRITE_JPEG_SAMPLING_FACTOR_444"),),
    _by_pillow,
)
