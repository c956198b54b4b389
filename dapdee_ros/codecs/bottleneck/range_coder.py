"""Entropy coding of symbols by static integer models, the same bytes on every machine.

J. Duda, "Asymmetric numeral systems: entropy coding combining speed of Huffman coding with
compression rate of arithmetic coding", arXiv:1311.2540, the range variant (rANS), with a state of
32 bits and words of 16. The first word of the state is fixed, so what is decoded is checked by it.

The loops are in ``src/range_coder.cpp``, which the ROS package builds. Without it (``pip install``
alone) they run in Python, with the same result.
"""

from __future__ import annotations

import ctypes
import functools
import os
from bisect import bisect_right
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.codecs.tensor_spec import Bytes, CodecError

TOTAL = 1 << 16
"""What the frequencies of a channel's symbols add up to."""

STATE_BYTES = 4
WORD_BYTES = 2

_BITS = 16
_LEAST = 1 << _BITS
_LIBRARY = "libdapdee_ros__range_coder.so"


class SymbolModel:
    """The frequencies of every channel's symbols, which are numbers from 0 on.

    Attributes:
        channels: number of channels.
        most_symbols: of each channel the number of its symbols, ``(channels,)``.
    """

    def __init__(self, frequencies: list[NDArray[np.int64]]) -> None:
        """Lay out the tables.

        Args:
            frequencies: of each channel those of its symbols, each at least 1, in all ``TOTAL``.

        Raises:
            ValueError: if they are not.
        """
        for of in frequencies:
            if not 1 <= len(of) <= 256 or of.min() < 1 or of.sum() != TOTAL:
                raise ValueError(
                    f"{len(of)} frequencies that add up to {of.sum()}, expected 1 to 256, each at "
                    f"least 1, that add up to {TOTAL}"
                )
        self.channels = len(frequencies)
        self.most_symbols = np.array([len(of) for of in frequencies], np.int64)
        tables = [np.concatenate([[0], np.cumsum(of)]) for of in frequencies]
        self._lists = [table.tolist() for table in tables]
        self._starts = np.concatenate(tables).astype(np.uint32)
        ends = np.cumsum([len(table) for table in tables])
        self._first = (ends - [len(table) for table in tables]).astype(np.int32)

    def encode(self, symbols: Bytes) -> bytes:
        """Code symbols.

        Args:
            symbols: uint8 ``(channels, n)``, each less than its channel's ``most_symbols``.
        """
        rows = np.ascontiguousarray(symbols)
        words = np.empty(rows.size, np.uint16)
        library = _library()
        if library is None:
            state, count = self._encode_here(rows, words)
        else:
            left = ctypes.c_uint32()
            count = library.dapdee_range_encode(
                rows.ctypes.data, self._starts.ctypes.data, self._first.ctypes.data,
                rows.shape[0], rows.shape[1], words.ctypes.data, ctypes.byref(left),
            )  # fmt: skip
            state = left.value
        coded = words[:count][::-1].astype("<u2").tobytes()
        return state.to_bytes(STATE_BYTES, "little") + coded

    def decode(self, data: Bytes, per_channel: int) -> Bytes:
        """Undo ``encode``.

        Args:
            data: uint8 ``(n,)``, from an untrusted peer.
            per_channel: symbols of each channel.

        Returns:
            uint8 ``(channels, per_channel)``; nothing else is allocated.

        Raises:
            CodecError: if this is not what ``encode`` writes.
        """
        state = int.from_bytes(data[:STATE_BYTES].tobytes(), "little")
        if len(data) < STATE_BYTES or (len(data) - STATE_BYTES) % WORD_BYTES or state < _LEAST:
            raise CodecError(f"{len(data)} bytes are no state and whole words")
        words = np.frombuffer(data[STATE_BYTES:].tobytes(), "<u2").astype(np.uint16, copy=False)
        symbols = np.empty((self.channels, per_channel), np.uint8)
        library = _library()
        if library is None:
            state, read = self._decode_here(words, state, symbols)
        else:
            left = ctypes.c_uint32(state)
            read = library.dapdee_range_decode(
                words.ctypes.data, len(words), ctypes.byref(left), self._starts.ctypes.data,
                self._first.ctypes.data, self.channels, per_channel, symbols.ctypes.data,
            )  # fmt: skip
            state = left.value
        if read != len(words) or state != _LEAST:
            raise CodecError("the range-coded data are damaged: they do not end where they should")
        return symbols

    def _encode_here(self, rows: Bytes, words: NDArray[np.uint16]) -> tuple[int, int]:
        state, count = _LEAST, 0
        for table, row in zip(reversed(self._lists), rows[::-1].tolist(), strict=True):
            for symbol in reversed(row):
                start = table[symbol]
                frequency = table[symbol + 1] - start
                if state >= frequency << _BITS:
                    words[count] = state & (_LEAST - 1)
                    count += 1
                    state >>= _BITS
                state = (state // frequency << _BITS) + state % frequency + start
        return state, count

    def _decode_here(
        self, words: NDArray[np.uint16], state: int, symbols: Bytes
    ) -> tuple[int, int]:
        coded, read = words.tolist(), 0
        for table, row in zip(self._lists, symbols, strict=True):
            for place in range(len(row)):
                slot = state & (_LEAST - 1)
                symbol = bisect_right(table, slot) - 1
                row[place] = symbol
                state = (table[symbol + 1] - table[symbol]) * (state >> _BITS)
                state += slot - table[symbol]
                if state < _LEAST:
                    if read == len(coded):
                        return state, -1
                    state = state << _BITS | coded[read]
                    read += 1
        return state, read


@functools.cache
def _library() -> ctypes.CDLL | None:
    """The loops as the ROS package built them; None if it is not there."""
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        path = Path(prefix) / "lib" / _LIBRARY
        if not prefix or not path.is_file():
            continue
        try:
            library = ctypes.CDLL(str(path))
        except OSError:
            continue
        address, number = ctypes.c_void_p, ctypes.c_int64
        library.dapdee_range_encode.argtypes = [
            address, address, address, number, number, address, ctypes.POINTER(ctypes.c_uint32),
        ]  # fmt: skip
        library.dapdee_range_decode.argtypes = [
            address, number, ctypes.POINTER(ctypes.c_uint32), address, address, number, number,
            address,
        ]  # fmt: skip
        library.dapdee_range_encode.restype = library.dapdee_range_decode.restype = number
        return library
    return None


def is_compiled() -> bool:
    """Whether the loops are the compiled ones."""
    return _library() is not None
