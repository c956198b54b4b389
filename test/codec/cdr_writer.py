"""Writes plain CDR by hand, lies included: a slow, independent reference for what reads it."""

from __future__ import annotations

import struct


class Writer:
    """Appends fields in order, each number aligned to its own size after the header."""

    def __init__(self, *, little: bool = True, form: int = 0) -> None:
        self._order = "<" if little else ">"
        self.data = bytearray([form, int(little), 0, 0])

    def number(self, code: str, *values: float) -> Writer:
        """Numbers of one kind, by ``struct``'s letter for it."""
        for value in values:
            size = struct.calcsize(code)
            self.data += b"\0" * (-(len(self.data) - 4) % size)
            self.data += struct.pack(self._order + code, value)
        return self

    def text(self, text: str, claimed: int | None = None) -> Writer:
        """A text, which may claim another length in bytes than it has."""
        coded = text.encode() + b"\0"
        self.number("I", len(coded) if claimed is None else claimed)
        self.data += coded
        return self

    def numbers(self, code: str, values: list, claimed: int | None = None) -> Writer:
        """A sequence of numbers, which may claim another length than it has."""
        return self.number("I", len(values) if claimed is None else claimed).number(code, *values)

    def done(self) -> bytes:
        """The message, filled up to a word as DDS does."""
        return bytes(self.data) + b"\0" * (-len(self.data) % 4)
