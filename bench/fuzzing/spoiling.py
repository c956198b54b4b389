"""Real messages spoiled by dice: in their bytes, or field by field."""

from __future__ import annotations

import math
import random
from array import array
from typing import Any

NUMBERS = (0, 1, 2, 5, 6, 127, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63, -1, -(2**31))
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 3.4e38, 1e300, math.nan, math.inf, -math.inf, 0.5)
TEXTS = (
    "",
    "x",
    "image",
    "f32",
    "u8",
    "no such",
    "image\0",
    "\N{REPLACEMENT CHARACTER}",
    "x" * 9000,
)


def spoiled_bytes(data: bytes, dice: random.Random) -> bytes:
    """A serialised message with some bytes other than they were."""
    spoiled = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        what, at = dice.randrange(8), dice.randrange(len(spoiled))
        if what < 4:
            # Most fields stand before the data, so that is where it hurts.
            at = dice.randrange(min(len(spoiled), 600)) if what < 3 else at
            spoiled[at] ^= dice.randrange(1, 256)
        elif what == 4:
            spoiled[at : at + 4] = dice.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x40"))
        elif what == 5:
            del spoiled[max(4, at) :]
        elif what == 6:
            spoiled += dice.randbytes(dice.choice((1, 3, 100, 5000)))
        else:
            del spoiled[at : at + dice.choice((1, 4, 8))]
        if len(spoiled) < 5:
            # Nothing but a header: Fast DDS itself holds such a message up.
            return bytes(spoiled) + b"\0" * 5
    return bytes(spoiled)


def spoil_fields(message: Any, dice: random.Random) -> None:
    """Set fields of a message to what they should never be, as far as their types allow."""
    kinds = message.get_fields_and_field_types()
    for _ in range(dice.choice((1, 1, 2, 3))):
        name = dice.choice(list(kinds))
        old = getattr(message, name)
        try:
            setattr(message, name, _spoiled_value(old, kinds[name], dice))
        except AssertionError:
            continue  # cannot even be said in this message


def _spoiled_value(old: Any, kind: str, dice: random.Random) -> Any:
    if isinstance(old, bool):
        return not old
    if isinstance(old, int):
        # Not all setters look at the range, and conversion to C then leaves broken objects behind.
        bits = int(kind.removeprefix("u").removeprefix("int"))
        least, most = (
            (0, 2**bits) if kind.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1))
        )
        return dice.choice([n for n in NUMBERS if least <= n < most])
    if isinstance(old, float):
        return dice.choice([f for f in FLOATS if kind == "double" or not 1e38 < abs(f) < math.inf])
    if isinstance(old, str):
        return dice.choice((*TEXTS, old + "x", old[:-1]))
    if isinstance(old, array):
        pool = (
            FLOATS[:6] + FLOATS[8:]
            if old.typecode in "fd"
            else [n for n in NUMBERS if 0 <= n < 256]
        )
        some = array(old.typecode, [dice.choice(pool) for _ in range(dice.choice((0, 1, 5, 70)))])
        return dice.choice((some, old[: len(old) // 2], old + old[:3], old[:0]))
    if isinstance(old, list):
        if old and dice.random() < 0.7:
            at = dice.randrange(len(old))
            changed = list(old)
            if isinstance(old[at], str):
                changed[at] = dice.choice((*TEXTS, old[0]))
            else:
                spoil_fields(changed[at], dice)
            return changed
        return dice.choice(([], old + old, old[1:], (old * 400)[:400]))
    if hasattr(old, "get_fields_and_field_types"):
        spoil_fields(old, dice)
    return old
