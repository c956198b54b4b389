"""A boundary as it arrives on the other side of the link, for those who judge codecs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray

from dapdee_ros.codecs import decode, encode
from dapdee_ros.codecs.wire import NO_SETS, SetCodecs


class SentBoundary(NamedTuple):
    """A boundary that crossed the link.

    Attributes:
        tensors: as they arrive, by name.
        coded_bytes: what they took on the wire, scales and zero points included.
    """

    tensors: Mapping[str, NDArray[Any]]
    coded_bytes: int


def sent_boundary(
    tensors: Mapping[str, NDArray[Any]], codec: str, sets: SetCodecs = NO_SETS
) -> SentBoundary:
    """Encode the tensors of a boundary and decode them again.

    Args:
        tensors: arrays by node name.
        codec: one of ``CODEC_NAMES``, or of ``sets``.
        sets: the model's codecs of whole boundaries.

    Raises:
        CodecError: if there is no such codec, or it cannot code one of the tensors.

    >>> import numpy as np
    >>> sent = sent_boundary({"relu": np.linspace(-1, 1, 6, dtype=np.float32)}, "u8")
    >>> sent.tensors["relu"].shape, sent.coded_bytes
    ((6,), 14)
    """
    specs, data = encode(tensors, codec, sets)
    expected = {spec.name: (spec.shape, spec.dtype) for spec in specs}
    return SentBoundary(
        decode(specs, data, codec, expected, sets=sets),
        len(data) + sum(8 * len(spec.scale) for spec in specs),
    )
