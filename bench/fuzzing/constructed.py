"""Messages that no serialiser produces: wrong lengths, in every length field."""

from __future__ import annotations

import random
from typing import Literal

LIES = (0, 1, 2, 255, 256, 257, 65_536, 10**6, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
EMPTY_SPEC = 9  # words of a serialised TensorSpec in which everything is empty
MOST_COPIES = 100_000


def constructed(data: bytes, dice: random.Random) -> bytes:
    """A real message with one length replaced by a lie, cut off, or blown up with copies of a part.

    Args:
        data: a serialised message.
        dice: which of its words is taken for a length, and what it says then.
    """
    order: Literal["little", "big"] = "little" if data[1] else "big"
    words = len(data) // 4
    # Most lengths stand before the data.
    at = 4 * dice.randrange(1, max(2, min(words, 150)))
    lie = dice.choice(LIES).to_bytes(4, order)
    what = dice.randrange(4)
    if what == 0:
        return data[:at] + lie + data[at + 4 :]
    if what == 1:
        return (data[:at] + lie).ljust(8, b"\0")
    if what == 2:
        # As many parts as it says, each of them empty.
        copies = dice.choice((300, 5000, MOST_COPIES))
        part = (b"\0" * 4) * dice.choice((1, EMPTY_SPEC))
        return data[:at] + copies.to_bytes(4, order) + part * copies + data[at + 4 :]
    other = bytes([0, 1 - data[1], *data[2:]])
    return dice.choice((other, b"\0\7" + data[2:], b"\1\1" + data[2:]))
