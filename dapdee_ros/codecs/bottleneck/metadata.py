"""What an ONNX file says of itself, read without ``onnx``: the manager needs no more of it."""

from __future__ import annotations

from collections.abc import Iterator

_METADATA = 14
"""Number of ``metadata_props`` in ``ModelProto`` (onnx.proto3)."""

_KEY, _VALUE = 1, 2
_VARINT, _BYTES = 0, 2
_LENGTHS = {1: 8, 5: 4}
_LONGEST_VARINT = 10


class NotOnnx(ValueError):
    """Bytes that are no protocol-buffer message of whole fields; the message says where."""


def onnx_metadata(content: bytes) -> dict[str, str]:
    """The entries of ``metadata_props``.

    Only the fields' lengths are read of everything else, so it is quick however large the network.

    Args:
        content: an ONNX file.

    Raises:
        NotOnnx: if the file is torn, or none.
    """
    found = {}
    for number, place in _fields(content):
        if number == _METADATA:
            text = content[place]
            entry = {key: text[inner] for key, inner in _fields(text)}
            try:
                found[entry.get(_KEY, b"").decode()] = entry.get(_VALUE, b"").decode()
            except UnicodeDecodeError as error:
                raise NotOnnx(f"an entry of its metadata is no text: {error}") from error
    return found


def _fields(content: bytes) -> Iterator[tuple[int, slice]]:
    """Number and place of each field of a message, lengths checked."""
    at = 0
    while at < len(content):
        tag, at = _varint(content, at)
        number, kind = tag >> 3, tag & 7
        length = _LENGTHS.get(kind, 0)
        if kind == _VARINT:
            _, end = _varint(content, at)
        elif kind == _BYTES:
            length, at = _varint(content, at)
            end = at + length
        elif length:
            end = at + length
        else:
            raise NotOnnx(f"byte {at} begins no field")
        if end > len(content):
            raise NotOnnx(f"{length} bytes should follow byte {at}, {len(content) - at} do")
        yield number, slice(at, end)
        at = end


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(_LONGEST_VARINT):
        if at + place >= len(content):
            raise NotOnnx("it ends within a number")
        byte = content[at + place]
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise NotOnnx(f"byte {at} begins a number without an end")
