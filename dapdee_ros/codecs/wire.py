"""The entry points: encode all tensors of a boundary as bytes, and decode them with all checks."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.codecs.bottleneck.file import is_point
from dapdee_ros.codecs.plain import NO_VALUES
from dapdee_ros.codecs.table import codec_named
from dapdee_ros.codecs.tensor_spec import (
    Bytes,
    Codec,
    CodecError,
    SetCodec,
    TensorSpec,
    raw_bytes,
)

MOST_DECODED_BYTES = 64 << 20
"""Default bound on what one message may decode to."""

MOST_TENSORS = 256
"""Bound on the number of tensors in one message."""

SetCodecs = Mapping[str, SetCodec]
"""A model's codecs of whole boundaries (``codecs.bottleneck``), by name."""

NO_SETS: SetCodecs = {}


class _OfSet:
    """One tensor of a boundary that is coded as a whole: the first stands for all bytes."""

    def __init__(self, coder: SetCodec, names: Sequence[str], name: str) -> None:
        self._fits = sorted(names) == sorted(coder.boundary)
        self._bounds = coder.length_bounds() if name == coder.boundary[0] else (0, 0)

    def accepts(self, shape: Sequence[int], dtype: str) -> bool:
        """Whether the tensors are those of the boundary; shapes are those of the model."""
        return self._fits

    def length_bounds(self, shape: Sequence[int], dtype: str) -> tuple[int, int]:
        """All bytes of the boundary, or none."""
        return self._bounds

    def scale_count(self, shape: Sequence[int], dtype: str) -> int:
        """None needed."""
        return 0


def encode(
    tensors: Mapping[str, NDArray], codec: str, sets: SetCodecs = NO_SETS
) -> tuple[list[TensorSpec], array[int]]:
    """Encode the tensors of a boundary, back to back in the mapping's order.

    Args:
        tensors: arrays by node name; any strides and byte order.
        codec: one of ``CODEC_NAMES``, or of ``sets``.
        sets: the model's codecs of whole boundaries. The first tensor's spec holds all bytes.

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
    if is_point(codec):
        return _encode_set(tensors, codec, _set_codec(codec, sets))
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
    sets: SetCodecs = NO_SETS,
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
        sets: the receiver's own model's codecs of whole boundaries.

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
    whole: SetCodec | None = None
    coders: dict[str, Codec | _OfSet]
    if is_point(codec):
        whole = _set_codec(codec, sets)
        coders = {name: _OfSet(whole, [*expected], name) for name in expected}
    else:
        coders = dict.fromkeys(expected, codec_named(codec))
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
        coder = coders[name]
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
    if whole is not None:
        return _decode_set(raw, whole, expected)
    decoded: dict[str, NDArray] = {}
    for spec in specs:
        shape, dtype = tuple(expected[spec.name][0]), expected[spec.name][1]
        decoded[spec.name] = codec_named(codec).decode(
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


def _set_codec(name: str, sets: SetCodecs) -> SetCodec:
    """The codec of a whole boundary of that name.

    Raises:
        CodecError: if this side's model has none.
    """
    try:
        return sets[name]
    except KeyError:
        raise CodecError(
            f"codec {name[:40]!r} is a point of a bottleneck, and this side's model folder has "
            f"{sorted(sets) or 'none'}: copy the folder's bottlenecks/ from the other machine"
        ) from None


def _encode_set(
    tensors: Mapping[str, NDArray], codec: str, coder: SetCodec
) -> tuple[list[TensorSpec], array[int]]:
    if sorted(tensors) != sorted(coder.boundary):
        raise CodecError(
            f"the codec {codec} codes {list(coder.boundary)} together, not {sorted(tensors)}"
        )
    data = array("B", coder.encode(tensors))
    specs = []
    for place, name in enumerate(coder.boundary):
        values = tensors[name]
        offset, length = (0, len(data)) if not place else (len(data), 0)
        specs.append(
            TensorSpec(
                name, values.dtype.name, tuple(values.shape), NO_VALUES, NO_VALUES, offset, length
            )
        )
    return specs, data


def _decode_set(
    raw: Bytes, coder: SetCodec, expected: Mapping[str, tuple[Sequence[int], str]]
) -> dict[str, NDArray]:
    decoded = dict(coder.decode(raw))
    for name, (shape, dtype) in expected.items():
        values = decoded.get(name)
        if values is None or (values.shape, values.dtype.name) != (tuple(shape), dtype):
            raise CodecError(f"the decoder does not restore {name!r} as {dtype} of {tuple(shape)}")
    return decoded
