"""The camera image as a WebP file: smaller than JPEG at the same quality, slower to encode."""

from __future__ import annotations

from dapdee_ros.codecs.image_file import ImageFile
from dapdee_ros.codecs.tensor_spec import Bytes

_HEADER_ROOM_BYTES = 2048


def webp_size(data: Bytes) -> tuple[int, int] | None:
    """Height and width that a simple WebP's header declares, without decoding it.

    Only a file whose single chunk is a lossy (``VP8``) or lossless (``VP8L``) image counts;
    ``encode`` never writes the extended format, which may contain animations and canvases of any
    size. Layout: RFC 9649 and RFC 6386, section 9.1. None if it is anything else.
    """
    head = data[:30].tobytes()
    if len(head) < 30 or head[:4] != b"RIFF" or head[8:12] != b"WEBP":
        return None
    if head[12:16] == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        width = int.from_bytes(head[26:28], "little") & 0x3FFF
        height = int.from_bytes(head[28:30], "little") & 0x3FFF
        return height, width
    if head[12:16] == b"VP8L" and head[20] == 0x2F:
        bits = int.from_bytes(head[21:25], "little")
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    return None


def _most_bytes(height: int, width: int) -> int:
    """Four times the pixels' size, plus headers."""
    return 4 * height * width * 3 + _HEADER_ROOM_BYTES


WEBP = ImageFile("webp", "IMWRITE_WEBP_QUALITY", 80, 16383, _most_bytes, webp_size)
