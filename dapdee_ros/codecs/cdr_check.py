"""Checks a serialised message against its type's bounds before anything is built from it.

A middleware builds whatever a message claims to contain. 100,000 empty tensor specs are 4 MB on the
wire, but building their objects takes 59 MB and more than a second; a string or a sequence may
claim to be longer than the whole message. So the bytes are walked first, using the fields' types
and the bounds from ``msg/``, without allocating anything: a few microseconds for a tensor, however
large.

The encoding is OMG's plain CDR, version 1, as ROS 2's middlewares send it: a header of four bytes
(two for the encoding and the byte order), then the fields in order, each number aligned to its own
size, counted from the end of that header.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

MOST_TEXT_BYTES = 1024
"""For a string without a bound in its type, such as a header's ``frame_id``."""

_SIZES = {
    "boolean": 1, "octet": 1, "char": 1, "byte": 1, "int8": 1, "uint8": 1,
    "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "float": 4,
    "int64": 8, "uint64": 8, "double": 8,
}  # fmt: skip
_SEQUENCE = re.compile(r"sequence<(?P<of>[^,]+(?:<\d+>)?)(?:, (?P<most>\d+))?>")
_ARRAY = re.compile(r"(?P<of>.+)\[(?P<count>\d+)\]")
_TEXT = re.compile(r"string(?:<(?P<most>\d+)>)?")
_MOST_COUNT = 2**32
_UTF8 = 4  # most bytes per character
_PADDING = 16
"""Most trailing bytes: Fast DDS pads to a word, and adds alignment for every empty sequence."""


class CdrError(ValueError):
    """Bytes that are not a message of their type within its bounds; the message says why."""


class _Walk:
    """Position of the check."""

    def __init__(self, data: bytes) -> None:
        if len(data) < 4:
            raise CdrError(f"{len(data)} bytes, expected a header of 4 first")
        if data[0] != 0 or data[1] not in (0, 1):
            raise CdrError(
                f"encoding {data[0]:#04x} {data[1]:#04x}, expected plain CDR: 0x00 0x00 or 1"
            )
        self.data, self.at = data, 4
        self.order: Literal["little", "big"] = "little" if data[1] else "big"

    def skip(self, size: int, count: int, name: str) -> None:
        """Skip ``count`` numbers of ``size`` bytes each."""
        if not count:
            return
        at = self.at + (4 - self.at) % size + size * count
        if at > len(self.data):
            raise CdrError(f"{name} ends at byte {at} of {len(self.data)}")
        self.at = at

    def count(self, most: int, name: str) -> int:
        """Read a length, and check it."""
        start = self.at + -self.at % 4
        self.at = start + 4
        if self.at > len(self.data):
            raise CdrError(f"{name} begins at byte {start} of {len(self.data)}")
        count = int.from_bytes(self.data[start : self.at], self.order)
        if count > most:
            raise CdrError(f"{name} has a length of {count}, expected at most {most}")
        return count


@dataclass(frozen=True)
class _Numbers:
    """Numbers of one kind: a single one, a fixed array, or a sequence of at most ``most``."""

    name: str
    size: int
    count: int
    most: int | None

    def walk(self, walk: _Walk) -> None:
        count = self.count if self.most is None else walk.count(self.most, self.name)
        walk.skip(self.size, count, self.name)


@dataclass(frozen=True)
class _Text:
    """A string of at most ``most`` bytes, its terminating zero included."""

    name: str
    most: int

    def walk(self, walk: _Walk) -> None:
        walk.skip(1, walk.count(self.most, self.name), self.name)


@dataclass(frozen=True)
class _Several:
    """A fixed array, or a sequence of at most ``most``, of strings or messages."""

    name: str
    of: _Field
    count: int
    most: int | None

    def walk(self, walk: _Walk) -> None:
        count = self.count if self.most is None else walk.count(self.most, self.name)
        # Each takes at least four bytes, so an impossible length is refused at once.
        if 4 * (count - 1) > len(walk.data) - walk.at:
            raise CdrError(f"{self.name} has a length of {count} in {len(walk.data)} bytes")
        for _ in range(count):
            self.of.walk(walk)


@dataclass(frozen=True)
class _Message:
    """The fields of a message, in order."""

    fields: tuple[_Field, ...]

    def walk(self, walk: _Walk) -> None:
        for field in self.fields:
            field.walk(walk)


_Field = _Numbers | _Text | _Several | _Message


class MessageLayout:
    """The fields of one message type, ready to walk."""

    def __init__(self, kind: str, fields_of: Callable[[str], Mapping[str, str]]) -> None:
        """Derive the walk from the type.

        Args:
            kind: the type, as ``package/Name``.
            fields_of: returns the fields of a type, name to type, as rosidl's Python messages list
                them: ``uint32``, ``string<64>``, ``sequence<package/Name, 16>``.

        Raises:
            ValueError: for a type that is not supported (wide strings).
        """
        self.kind = kind
        self._fields_of = fields_of
        self._message = self._of(kind, kind)

    def check(self, data: bytes) -> None:
        """Check the bytes of one message, header included.

        Raises:
            CdrError: if they are truncated or too many, or a length exceeds its bound.
        """
        walk = _Walk(data)
        self._message.walk(walk)
        left = len(data) - walk.at
        if left > _PADDING:
            raise CdrError(f"{left} bytes are left over")

    def _of(self, kind: str, name: str) -> _Field:
        if kind in _SIZES:
            return _Numbers(name, _SIZES[kind], 1, None)
        if match := _TEXT.fullmatch(kind):
            most = int(match["most"] or 0)
            return _Text(name, _UTF8 * most + 1 if most else MOST_TEXT_BYTES)
        if match := _SEQUENCE.fullmatch(kind):
            return self._several(match["of"], name, 0, int(match["most"] or _MOST_COUNT))
        if match := _ARRAY.fullmatch(kind):
            return self._several(match["of"], name, int(match["count"]), None)
        if "/" not in kind:
            raise ValueError(f"{name} is a {kind}, which is not supported")
        fields = self._fields_of(kind).items()
        return _Message(tuple(self._of(of, field) for field, of in fields))

    def _several(self, of: str, name: str, count: int, most: int | None) -> _Field:
        if of in _SIZES:
            return _Numbers(name, _SIZES[of], count, most)
        return _Several(name, self._of(of, name), count, most)
