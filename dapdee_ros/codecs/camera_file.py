"""The camera's own JPEG in place of the network's input: passed on as it came, decoded on the edge.

No tensor is coded by it: head and edge treat it apart (``runtime.head_machine``, ``runtime.tail``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.codecs.jpeg import frame_header
from dapdee_ros.codecs.picture_file import has_end
from dapdee_ros.codecs.table import CODEC_NAMES
from dapdee_ros.codecs.wire import MOST_DECODED_BYTES

CAMERA = "camera"
"""Name of this codec in plans and messages."""

INSTEAD = "jpeg"
"""What a frame under such a plan is coded by if its image came as anything else."""

WIRE_CODECS = (*CODEC_NAMES, CAMERA)
"""Every codec that a plan may name."""

_CHANNELS = (1, 3)


def camera_file_fault(data: NDArray[np.uint8]) -> str:
    """The reason, as text, why a file may not cross the link as it is; empty if it may.

    Only its headers are read. A progressive JPEG is refused since a short one can keep a decoder
    busy for minutes, and one with four channels since decoders disagree about its colours.

    Args:
        data: the file, uint8 ``(n,)``.
    """
    header = frame_header(data)
    if header is None:
        return "it is no JPEG"
    if not header.baseline or header.components not in _CHANNELS:
        return "it is no baseline JPEG of one or three channels"
    if not header.height or not header.width:
        return f"it declares {header.width}x{header.height} pixels"
    if 3 * header.height * header.width > MOST_DECODED_BYTES:
        return (
            f"it declares {header.width}x{header.height} pixels, expected at most "
            f"{MOST_DECODED_BYTES // 3}"
        )
    if not has_end(data):
        return "it is cut off: the marker that ends such a file is missing"
    return ""
