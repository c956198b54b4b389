"""Reads and writes the serialised bytes of the message ``Sealed``.

Unauthenticated bytes never reach the middleware's deserialisers: the layout is fixed (CDR,
little-endian), and a few comparisons check all of it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_ENCAPSULATION = b"\x00\x01\x00\x00"  # plain CDR, little-endian
_HEADER = struct.Struct("<4sQQQQI")
_MOST_PADDING = 3
BROADCAST = 0
"""Receiver id of a broadcast."""


class EnvelopeError(ValueError):
    """Bytes that are not a ``Sealed``."""


@dataclass(frozen=True)
class Envelope:
    """A sealed message.

    Attributes:
        key_id: the long-term key it was made with.
        sender: id of the end that made it.
        receiver: id of the end that it is for; ``BROADCAST`` for everyone.
        counter: of its session and direction, from 1; 0 in the handshake.
        data: the sealed content.
    """

    key_id: int
    sender: int
    receiver: int
    counter: int
    data: bytes | memoryview

    def to_bytes(self) -> bytes:
        """The serialised message."""
        return b"".join(
            (
                _HEADER.pack(
                    _ENCAPSULATION,
                    self.key_id,
                    self.sender,
                    self.receiver,
                    self.counter,
                    len(self.data),
                ),
                self.data,
            )
        )


def read_envelope(raw: bytes) -> Envelope:
    """The message in serialised bytes; its data is a view of them.

    Raises:
        EnvelopeError: if they are not exactly one complete message.
    """
    if len(raw) < _HEADER.size:
        raise EnvelopeError(f"{len(raw)} bytes, expected at least {_HEADER.size}")
    encapsulation, key_id, sender, receiver, counter, length = _HEADER.unpack_from(raw)
    # The last two bytes are options, in which some middlewares record their padding.
    if encapsulation[:2] != _ENCAPSULATION[:2]:
        raise EnvelopeError("not little-endian CDR")
    left = len(raw) - _HEADER.size - length
    if not 0 <= left <= _MOST_PADDING:
        raise EnvelopeError(f"{length} bytes announced, {len(raw) - _HEADER.size} received")
    start = _HEADER.size
    return Envelope(key_id, sender, receiver, counter, memoryview(raw)[start : start + length])
