"""The entry points: encode all tensors of a boundary as bytes, and decode them with all checks."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.codecs.table import codec_named
from dapdee_ros.codecs.tensor_spec import CodecError, TensorSpec, raw_bytes

MOST_DECODED_BYTES = 64 << 20
"""Default bound on what one message may decode to."""

MOST_TENSORS = 256
"""Bound on the number of tensors in one message."""


def encode(tensors: Mapping[str, NDArray], codec: str) -> tuple[list[TensorSpec], array[int]]:
    """Encode the tensors of a boundary, back to back in the mapping's order.

    Args:
        tensors: arrays by node name; any strides and byte order.
        codec: one of ``CODEC_NAMES``.

    Returns:
        The specs in the order of their offsets, and the bytes as ``array('B')``, which is what a
        message's ``uint8[]`` field takes without another copy.

    Raises:
        CodecError: if there is no such codec, or it cannot code one of the tensors.

    >>> features = np.linspace(-1, 1, 6, dtype=np.float32).reshape(1, 2, 3)
    >>> specs, data = encode({"relu": features}, "u8")
    >>> specs[0].shape, specs[0].dtype, len(data)
    ((1, 2, 3), 'float32', 6)
    """
    coder = codec_named(codec)
    specs: list[TensorSpec] = []
    data = array("B")
    for name, given in tensors.items():
        values = np.asarray(given)
        shape, dtype = tuple(values.shape), values.dtype.name
        if not coder.accepts(shape, dtype):
            raise CodecError(f"the codec {codec} cannot code {name!r}, {dtype} of shape {shape}")
        coded = coder.encode(np.ascontiguousarray(values).reshape(shape))
        offset = len(data)
        data.frombytes(coded.data)
        specs.append(
            TensorSpec(
                name, dtype, shape, coded.scale, coded.zero_point, offset, len(data) - offset
            )
        )
    return specs, data


def decode(
    specs: Sequence[TensorSpec],
    data: bytes | bytearray | memoryview | array[int] | NDArray[np.uint8],
    codec: str,
    expected: Mapping[str, tuple[Sequence[int], str]],
    *,
    most_bytes: int = MOST_DECODED_BYTES,
) -> dict[str, NDArray]:
    """Decode data from an untrusted peer.

    Everything is checked before anything is allocated: the codec, that exactly the expected tensors
    are present with the expected shapes and dtypes, that their bytes are back to back and fill the
    data, and that the decoded tensors stay within ``most_bytes``.

    Args:
        specs: as returned by ``encode``; message objects with the same fields work too.
        data: the encoded bytes. Plain tensors are returned as views of them if they are writable,
            so do not modify the buffer afterwards.
        codec: the name received with them.
        expected: shape and dtype by name, from the receiver's own model.
        most_bytes: bound on the sum of the decoded tensors.

    Returns:
        Native-endian, aligned, writable arrays by name, in the order of the specs.

    Raises:
        CodecError: with the reason, if anything does not match.

    >>> features = np.linspace(-1, 1, 6, dtype=np.float32).reshape(1, 2, 3)
    >>> specs, data = encode({"relu": features}, "u8")
    >>> came = decode(specs, data, "u8", {"relu": ((1, 2, 3), "float32")})["relu"]
    >>> bool(np.abs(came - features).max() < 2 / 255)
    True
    >>> decode(specs, data, "u8", {"relu": ((1, 2, 4), "float32")})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    dapdee_ros.codecs.tensor_spec.CodecError: ...
    """
    coder = codec_named(codec)
    if len(specs) != len(expected) or len(specs) > MOST_TENSORS:
        raise CodecError(
            f"{len(specs)} tensors came, expected {len(expected)} (at most {MOST_TENSORS})"
        )
    seen: set[str] = set()
    end = total = 0
    for spec in specs:
        name = spec.name
        if name not in expected:
            raise CodecError(f"tensor {name[:80]!r} came, expected {sorted(expected)}")
        if name in seen:
            raise CodecError(f"tensor {name!r} came twice")
        seen.add(name)
        shape, dtype = tuple(expected[name][0]), expected[name][1]
        # Counted before compared: an untrusted shape may have any number of dimensions.
        if spec.dtype != dtype or len(spec.shape) != len(shape) or tuple(spec.shape) != shape:
            raise CodecError(
                f"tensor {name!r} came as {spec.dtype[:20]} of shape "
                f"{tuple(spec.shape[:8])}, expected {dtype} of {shape}"
            )
        if not coder.accepts(shape, dtype):
            raise CodecError(f"the codec {codec} never codes {dtype} of shape {shape} ({name!r})")
        total += raw_bytes(shape, dtype)
        fewest, most = coder.length_bounds(shape, dtype)
        if spec.offset != end or not fewest <= spec.length <= most:
            raise CodecError(
                f"tensor {name!r} lies at {spec.offset} with {spec.length} bytes, expected at "
                f"{end} with {fewest if fewest == most else f'{fewest} to {most}'}"
            )
        end += spec.length
        scales = coder.scale_count(shape, dtype)
        if len(spec.scale) != scales or len(spec.zero_point) != scales:
            raise CodecError(
                f"tensor {name!r} has {len(spec.scale)} scales and {len(spec.zero_point)} zero "
                f"points, expected {scales} each"
            )
    if end != len(data):
        raise CodecError(f"the tensors take {end} bytes of the data, {len(data)} came")
    if total > most_bytes:
        raise CodecError(f"the tensors would take {total} bytes, at most {most_bytes} allowed")
    raw: NDArray[np.uint8] = np.frombuffer(data, np.uint8)
    decoded: dict[str, NDArray] = {}
    for spec in specs:
        shape, dtype = tuple(expected[spec.name][0]), expected[spec.name][1]
        decoded[spec.name] = coder.decode(
            raw[spec.offset : spec.offset + spec.length],
            np.asarray(spec.scale, np.float32),
            np.asarray(spec.zero_point, np.float32),
            shape,
            dtype,
        )
    return decoded


def encoded_bytes(codec: str, shape: Sequence[int], dtype: str) -> int:
    """Size of one tensor on the wire: its encoded bytes, scales and zero points.

    Raises:
        CodecError: if there is no such codec, it cannot code such a tensor, or its size depends on
            the content and has to be measured.
    """
    coder = codec_named(codec)
    if not coder.accepts(shape, dtype):
        raise CodecError(f"the codec {codec} cannot code {dtype} of shape {tuple(shape)}")
    fewest, most = coder.length_bounds(shape, dtype)
    if fewest != most:
        raise CodecError(f"the size of {codec} depends on the content; measure it on real frames")
    return most + 8 * coder.scale_count(shape, dtype)
