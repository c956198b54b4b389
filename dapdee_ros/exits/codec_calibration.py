"""Measures every codec on a model's boundaries: bytes, time, and changed answers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.codecs import codec_named, decode, encode, is_lossless
from dapdee_ros.codecs.measure import measure
from dapdee_ros.engines.engine import Engine
from dapdee_ros.exits.codec_losses import Change, CodecLosses, CodedTensor
from dapdee_ros.graph.cuts import head_of
from dapdee_ros.graph.dag import GraphError, ModelDag

CODECS = ("f32z", "f16", "u8", "u8z", "u4", "u4z", "jpeg", "webp")
"""Codecs measured by default; ``f32`` is lossless and need not be measured."""

IMAGE_CODECS = ("jpeg", "webp")

MOST_BOUNDARIES = 16
"""Most boundaries inside the network that are measured for one exit."""

SAMPLES = 100
"""Frames for sizes and times: their spread is small; only changed answers need many frames."""


def boundaries_to_measure(dag: ModelDag, most: int = MOST_BOUNDARIES) -> dict[str, tuple[int, ...]]:
    """Tensors that are, on their own, a boundary worth sending, each with the exits that can
    follow.

    For each exit, from the input on: tensors that at 4 bits per value are smaller than the input,
    and have no more values than any before them. Where the edge server is the faster machine, what
    is larger than something before it is never sent. What costs hardly more than its only input and
    has as many values (an activation) stands for both: it has the same size, and its many zeros
    make it the one that compresses. The normalised image is left out: image codecs are better at
    it.

    Args:
        dag: the network.
        most: how many for one exit, spread evenly if there are more; the input comes on top.

    Returns:
        Exit numbers by tensor name, in topological order, the input first.
    """
    chosen = {dag.input}
    for number in range(1, len(dag.exits) + 1):
        fewest = 2 * dag.nodes[0].output_bytes - 1
        found: list[str] = []
        part = dag.exit_part(number)
        for node in dag.nodes[1:]:
            values = math.prod(node.shape)
            if node.name not in part or node.name in dag.exit_outputs(number) or values > fewest:
                continue
            if node.inputs == (dag.input,) and values >= math.prod(dag.nodes[0].shape):
                continue
            if not _is_boundary(dag, number, node.name):
                continue
            if found and node.inputs == (found[-1],) and node.flops <= values == fewest:
                found.pop()
            found.append(node.name)
            fewest = values
        places = np.linspace(0, len(found) - 1, min(most, len(found)))
        chosen.update(found[round(place)] for place in places)
    numbers = range(1, len(dag.exits) + 1)
    return {
        node.name: tuple(n for n in numbers if _is_boundary(dag, n, node.name))
        for node in dag.nodes
        if node.name in chosen
    }


def _is_boundary(dag: ModelDag, exit_number: int, name: str) -> bool:
    """Whether this tensor alone is the boundary of a cut of this exit."""
    try:
        outputs = dag.exit_outputs(exit_number)
        return name not in outputs and bool(head_of(dag, exit_number, (name,)))
    except GraphError:
        return False


class Comparison(Protocol):
    """Compares what an exit computes with and without a codec."""

    def add(self, frame: int, plain: Sequence[NDArray[Any]], coded: Sequence[NDArray[Any]]) -> None:
        """Compare the exit's outputs for a frame."""

    def change(self) -> Change:
        """What became of the exit's quality."""


def measure_codecs(
    engine: Engine,
    images: NDArray[np.uint8],
    compare: Callable[[int], Comparison],
    *,
    codecs: Sequence[str] = CODECS,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[int], None] = lambda frames: None,
) -> CodecLosses:
    """Run every boundary worth sending through every codec, frame by frame.

    Each frame runs once without a codec, and from there once for each boundary and lossy codec,
    to all exits together.

    Args:
        engine: computes the model.
        images: uint8 ``(N, H, W, 3)``.
        compare: makes a comparison for an exit, of that number.
        codecs: names; image codecs take only the input, the others all but the input.
        clock: seconds.
        progress: called with 1 after each frame.

    Raises:
        CodecError: if there is no such codec, or what it needs is not installed.
    """
    dag = engine.dag
    exits = boundaries_to_measure(dag)
    coded_by = {codec: _tensors_for(codec, dag, tuple(exits)) for codec in codecs}
    lossy = dict.fromkeys(_without_compression(codec) for codec in codecs if not is_lossless(codec))
    expected = {name: (dag.by_name[name].shape, dag.by_name[name].dtype) for name in exits}
    tallies = {
        (codec, name): {number: compare(number) for number in exits[name]}
        for codec in lossy
        for name in _tensors_for(codec, dag, tuple(exits))
    }
    kept = {int(k) for k in np.linspace(0, len(images) - 1, min(SAMPLES, len(images)))}
    samples: dict[str, list[NDArray]] = {name: [] for name in exits}
    network_s: list[float] = []
    for frame in range(len(images)):
        given = {dag.input: images[frame : frame + 1]}
        plain = engine.run(given, list(dict.fromkeys([*exits, *dag.outputs])))
        if frame in kept:
            for name in exits:
                samples[name].append(plain[name])
            network_s.append(_fastest(engine, given, dag.outputs, clock))
        for (codec, name), tally in tallies.items():
            specs, data = encode({name: plain[name]}, codec)
            back = decode(specs, data, codec, {name: expected[name]})
            sinks = [sink for number in tally for sink in dag.exit_outputs(number)]
            coded = engine.run(back, list(dict.fromkeys(sinks)))
            for number, comparison in tally.items():
                outputs = dag.exit_outputs(number)
                comparison.add(frame, [plain[o] for o in outputs], [coded[o] for o in outputs])
        progress(1)
    whole_s = median(network_s)

    def coded_tensor(codec: str, name: str) -> CodedTensor:
        found = measure(codec, samples[name], clock)
        tally = tallies.get((_without_compression(codec), name), {})
        return CodedTensor(
            round(found.mean_bytes, 1),
            round(found.encode_s / whole_s, 6),
            round(found.decode_s / whole_s, 6),
            {number: comparison.change() for number, comparison in tally.items()}
            or dict.fromkeys(exits[name], Change(0.0, 0.0)),
        )

    return CodecLosses(
        len(images),
        {codec: {n: coded_tensor(codec, n) for n in names} for codec, names in coded_by.items()},
    )


def _tensors_for(codec: str, dag: ModelDag, names: Sequence[str]) -> tuple[str, ...]:
    """The tensors that this codec may be useful for."""
    coder = codec_named(codec)
    images = codec in IMAGE_CODECS
    return tuple(
        name
        for name in names
        if (name == dag.input) == images
        and coder.accepts(dag.by_name[name].shape, dag.by_name[name].dtype)
    )


def _without_compression(codec: str) -> str:
    """The codec that determines the loss: the compression after it is lossless."""
    return codec.removesuffix("z")


def _fastest(
    engine: Engine,
    given: Mapping[str, NDArray[Any]],
    sinks: Sequence[str],
    clock: Callable[[], float],
) -> float:
    """Shortest of three full runs, as the codecs are timed."""
    times = []
    for _ in range(3):
        started = clock()
        engine.run(given, sinks)
        times.append(clock() - started)
    return min(times)
