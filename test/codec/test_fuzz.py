"""Many spoiled messages against the decoder: refused with a reason or harmless, and cheap.

Set DAPDEE_FUZZ to another number of messages; 100,000 take about half a minute.
"""

from __future__ import annotations

import os
import random
import tracemalloc
from array import array
from dataclasses import replace
from typing import Any

import numpy as np

from dapdee_ros.codecs import CODEC_NAMES, CodecError, TensorSpec, decode, encode

MESSAGES = int(os.environ.get("DAPDEE_FUZZ", "12000"))
ALLOWED_BYTES = 200_000
"""Decoded tensors here take 34 kB; a decoder may hold some copies of that, but no more."""

Message = tuple[list[TensorSpec], bytearray, str]

NUMBERS = (0, 1, 2, 3, 4, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 3.4e38, float("nan"), float("inf"), float("-inf"), 255.0)
NAMES = ("", "x", "stage1.relu", "image", "stage1.relu\0", "\ud800", "x" * 5000)
DTYPES = ("float32", "float64", "uint8", "object", "O", "", "<f4", "complex128", "float32\0")


def real_messages() -> list[tuple[Message, dict[str, Any]]]:
    rng = np.random.default_rng(0)
    relu = np.maximum(rng.normal(size=(1, 8, 16, 16)), 0).astype(np.float32)
    image = np.add.outer(np.arange(32) * 3, np.arange(32) * 4).astype(np.uint8)
    boundaries: list[dict[str, Any]] = [
        {"image": np.repeat(image[None, :, :, None], 3, axis=3)},
        {"stage1.relu": relu, "stage1.pool": relu[:, :, ::2, ::2], "flags": np.arange(5) > 2},
    ]
    messages = []
    for tensors in boundaries:
        for codec in CODEC_NAMES:
            try:
                specs, data = encode(tensors, codec)
            except CodecError:
                continue
            expected = {name: (t.shape, t.dtype.name) for name, t in tensors.items()}
            messages.append(((specs, bytearray(data), codec), expected))
    return messages


def spoil(message: Message, dice: random.Random) -> Message:
    specs, data, codec = list(message[0]), bytearray(message[1]), message[2]
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        what = dice.randrange(10)
        at = dice.randrange(len(specs)) if specs else 0
        if what < 3 and data:
            for _ in range(dice.randrange(1, 6)):
                data[dice.randrange(len(data))] ^= dice.randrange(1, 256)
        elif what == 3:
            del data[dice.randrange(len(data) + 1) :]
        elif what == 4:
            data += dice.randbytes(dice.choice((1, 2, 100, 5000)))
        elif what == 5 and specs:
            specs[at] = specs[dice.randrange(len(specs))]
        elif what == 6 and specs:
            del specs[at]
        elif what == 7:
            codec = dice.choice((*CODEC_NAMES, "", "U8", "pickle"))
        elif specs:
            specs[at] = replace(specs[at], **spoiled_fields(specs[at], dice))
    if dice.random() < 0.3 and specs:
        # Make the lengths agree again, to get past the first checks.
        specs[-1] = replace(specs[-1], length=max(0, len(data) - specs[-1].offset))
    return specs, data, codec


def spoiled_fields(spec: TensorSpec, dice: random.Random) -> dict[str, Any]:
    shape = [dice.choice((*NUMBERS, *spec.shape)) for _ in range(dice.choice((0, 1, 3, 4, 4, 50)))]
    some = array("f", [dice.choice(FLOATS) for _ in range(dice.choice((0, 1, 1, 2, 8)))])
    return dice.choice(
        (
            {"name": dice.choice(NAMES)},
            {"dtype": dice.choice(DTYPES)},
            {"shape": tuple(shape)},
            {"scale": some},
            {"zero_point": some},
            {"scale": some, "zero_point": some},
            {"offset": dice.choice(NUMBERS)},
            {"length": dice.choice(NUMBERS)},
        )
    )


def test_spoiled_messages_are_refused_or_harmless_and_cheap() -> None:
    dice = random.Random(0)
    messages = real_messages()
    for (specs, data, codec), expected in messages:
        decode(specs, data, codec, expected)
    refused = passed = 0
    worst = 0
    tracemalloc.start()
    try:
        for _ in range(MESSAGES):
            message, expected = dice.choice(messages)
            specs, data, codec = spoil(message, dice)
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            try:
                decoded = decode(specs, data, codec, expected)
            except CodecError as error:
                refused += 1
                assert 10 < len(str(error)) < 2000
            else:
                passed += 1
                assert {n: (t.shape, t.dtype.name) for n, t in decoded.items()} == expected
            worst = max(worst, tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    # Flipped bits in plain numbers are other numbers: some have to pass.
    assert refused > MESSAGES / 2 and passed > MESSAGES / 50
    assert worst < ALLOWED_BYTES
