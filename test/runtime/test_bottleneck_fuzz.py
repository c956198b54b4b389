"""Mutated messages against a bottleneck's decoder: refused with a reason or harmless, and cheap.

Set DAPDEE_FUZZ to another number of messages; bench/fuzz.py spoils whole HeadTensors as well.
"""

from __future__ import annotations

import os
import random
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from support.bottleneck_maker import description, network, with_description

from dapdee_ros.codecs import CodecError, TensorSpec, decode, encode
from dapdee_ros.codecs.bottleneck.file import parsed
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.exits.runnable import load_runnable
from dapdee_ros.runtime.bottleneck_codec import BottleneckNetwork

MESSAGES = int(os.environ.get("DAPDEE_FUZZ", "12000"))
BOUNDARY = ("backbone.stage2.widen.2", "backbone.stage2.blocks.0.first.2")
NUMBERS = (0, 1, 2, 11, 12, 13, 255, 65536, 2**31 - 1, 2**32 - 1)


def test_spoiled_messages_are_refused_or_harmless_and_cheap(tmp_path: Path) -> None:
    model = load_runnable(find_model("roadsigns"))
    dag = model.card.dag
    shapes = {name: dag.by_name[name].shape for name in BOUNDARY}
    channels = sum(shape[1] for shape in shapes.values())
    rng = np.random.default_rng(0)
    axes = rng.normal(0, 0.1, (8, channels)).astype(np.float32)
    latents = rng.laplace(0, 1, (6, 8, 16, 16)).astype(np.float32)
    card = read_card(find_model("roadsigns"))
    values = description("pair", card.model_id, BOUNDARY, latents)
    content = with_description(network(shapes, np.zeros(channels, np.float32), axes), values)
    path = tmp_path / "pair.onnx"
    path.write_bytes(content)
    file = parsed(content, path)
    whole = BottleneckNetwork(file, dag, model.engine)
    sets = {c: whole.codec(p) for c, p in zip(file.codecs, file.points, strict=True)}
    expected = {name: (shape, "float32") for name, shape in shapes.items()}
    tensors = {n: rng.laplace(0, 1, shape).astype(np.float32) for n, shape in shapes.items()}
    real = [(codec, *encode(tensors, codec, sets)) for codec in sets]
    for codec, specs, data in real:
        decode(specs, data, codec, expected, sets=sets)
    decoded_bytes = sum(values.nbytes for values in tensors.values())
    dice = random.Random(0)
    refused = passed = worst = 0
    tracemalloc.start()
    try:
        for _ in range(MESSAGES):
            codec, specs, data = dice.choice(real)
            wire = bytearray(data)
            described: list[TensorSpec] = list(specs)
            for _ in range(dice.choice((1, 1, 2))):
                what = dice.randrange(7)
                if what < 2:
                    for _ in range(dice.randrange(1, 6)):
                        # The id is checked first: more of them past it.
                        first = 8 if len(wire) > 8 and dice.random() < 0.8 else 0
                        if wire:
                            wire[dice.randrange(first, len(wire))] ^= dice.randrange(1, 256)
                elif what == 2:
                    del wire[dice.randrange(len(wire) + 1) :]
                elif what == 3:
                    wire += dice.randbytes(dice.choice((1, 2, 100, 5000)))
                elif what == 4:
                    codec = dice.choice((*sets, "pair@6", "pair@", "@", "f32", "pair@1\0"))
                elif what == 5:
                    wire[8:] = dice.randbytes(max(0, len(wire) - 8))
                else:
                    at = dice.randrange(len(described))
                    changed = dice.choice(("offset", "length", "name", "shape"))
                    value: Any = {"name": "x", "shape": (1, 2**31)}.get(
                        changed, dice.choice(NUMBERS)
                    )
                    described[at] = replace(described[at], **{changed: value})
            if dice.random() < 0.7:
                # Make the lengths agree again, to get past the first checks.
                described[0] = replace(described[0], offset=0, length=len(wire))
                described[1] = replace(described[1], offset=len(wire), length=0)
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            try:
                found = decode(described, bytes(wire), codec, expected, sets=sets)
            except CodecError as error:
                refused += 1
                assert 10 < len(str(error)) < 2000
            else:
                passed += 1
                assert {n: (t.shape, t.dtype.name) for n, t in found.items()} == expected
                assert all(np.isfinite(values).all() for values in found.values())
            worst = max(worst, tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    print(f"{refused} refused, {passed} passed, at most {worst} bytes, decoded {decoded_bytes}")
    assert refused > 0.9 * MESSAGES
    assert worst < 4 * decoded_bytes
