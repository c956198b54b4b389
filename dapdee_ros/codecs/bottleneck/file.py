"""A bottleneck's file: which boundary it codes, how, and what was measured of it.

It is an ONNX network with two parts, the encoder (tensors of the boundary to ``latent_out``) and
the decoder (``latent_in`` to the restored tensors), and a description in its metadata.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.codecs.bottleneck.metadata import NotOnnx, onnx_metadata
from dapdee_ros.codecs.bottleneck.range_coder import SymbolModel

FOLDER = "bottlenecks"
"""The folder of a model folder that holds the files."""

SUFFIX = ".onnx"
KEY = "dapdee_bottleneck"
"""The entry of the ONNX metadata that holds the description."""

FORMAT = 1
LATENT_IN, LATENT_OUT = "latent_in", "latent_out"
RESTORED = "restored."
"""Begins the names of the decoder's outputs; the tensor's name follows."""

LARGEST_SYMBOL = 127
ID_BYTES = 8
MOST_BYTES = 64 << 20
"""Larger files are not read."""

MOST_VALUES = 1 << 20
MOST_POINTS = 32
MOST_FILES = 16
MOST_CODECS = 200
"""Points that a model may have in all: a device profile holds the times of each."""

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,27}")
_AGAIN = "train it again, or copy the file again"


class BottleneckError(ValueError):
    """A bottleneck that cannot be used; the message names the file, what is wrong, what to do."""


@dataclass(frozen=True)
class Point:
    """One operating point: how many channels are sent, and how finely.

    Attributes:
        channels: the first so many of the latent's are sent, the others are 0 to the decoder.
        step: what a symbol is multiplied by.
        lowest: of each channel that is sent its lowest symbol, int64 ``(channels,)``.
        model: the frequencies of the channels' symbols.
    """

    channels: int
    step: float
    lowest: NDArray[np.int64]
    model: SymbolModel

    @cached_property
    def highest(self) -> NDArray[np.int64]:
        """Of each channel its highest symbol, int64 ``(channels,)``."""
        highest: NDArray[np.int64] = self.lowest + self.model.most_symbols - 1
        return highest


@dataclass(frozen=True)
class Bottleneck:
    """What a bottleneck's file says of it.

    Attributes:
        name: its name; ``NAME@P`` are the codecs that it makes, P the number of a point from 1.
        id: first 16 hexadecimal digits of SHA-256 over the file.
        path: the file.
        model_id: the model that it was trained for.
        boundary: the tensors that it codes, in the order of the model's DAG.
        latent_shape: ``(1, channels, height, width)``.
        points: the operating points, the one of the fewest bytes first.
        losses: what was measured of them, as the file holds it.
        provenance: how it was made.
    """

    name: str
    id: str
    path: Path
    model_id: str
    boundary: tuple[str, ...]
    latent_shape: tuple[int, int, int, int]
    points: tuple[Point, ...]
    losses: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def codecs(self) -> tuple[str, ...]:
        """Names of its codecs, the one of the fewest bytes first."""
        return tuple(point_name(self.name, number + 1) for number in range(len(self.points)))


def is_name(text: str) -> bool:
    """Whether a bottleneck may be called so.

    >>> is_name("stage2-2_add"), is_name("Stage2"), is_name("a" * 29)
    (True, False, False)
    """
    return _NAME.fullmatch(text) is not None


def point_name(name: str, number: int) -> str:
    """The codec that is a bottleneck's operating point.

    >>> point_name("eighth", 3)
    'eighth@3'
    """
    return f"{name}@{number}"


def is_point(codec: str) -> bool:
    """Whether a codec's name is that of a bottleneck's operating point."""
    return "@" in codec


def timed_as(codec: str, bottleneck_id: str) -> str:
    """The name under which a device profile holds what a point takes.

    The time belongs to one file: a machine with another of that name, or with none, has no such
    entry.
    """
    return f"{codec}#{bottleneck_id}"


def read_bottleneck(path: Path) -> Bottleneck:
    """Read a file and check its description; its network is checked when it is loaded to be run.

    Raises:
        BottleneckError: naming the file and what is wrong with it.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BottleneckError(f"{path}: larger than {MOST_BYTES} bytes: no bottleneck")
        content = path.read_bytes()
    except OSError as error:
        raise BottleneckError(f"{path} cannot be read: {error}") from error
    try:
        return parsed(content, path)
    except BottleneckError as error:
        raise BottleneckError(f"{path}: {error}") from error


def parsed(content: bytes, path: Path) -> Bottleneck:
    """What a file holds.

    Raises:
        BottleneckError: without the file's name.
    """
    try:
        text = onnx_metadata(content).get(KEY)
    except NotOnnx as error:
        raise BottleneckError(f"torn, or no ONNX file ({error}): {_AGAIN}") from error
    if text is None:
        raise BottleneckError(f"an ONNX file without {KEY} in its metadata is no bottleneck")
    try:
        values = json.loads(text, parse_constant=_refuse_constant)
        number = values["format"]
        if number != FORMAT:
            raise BottleneckError(
                f"format {number!r}, this version reads {FORMAT}: update, or {_AGAIN}"
            )
        bottleneck = Bottleneck(
            name=str(values["name"]),
            id=hashlib.sha256(content).hexdigest()[: 2 * ID_BYTES],
            path=path,
            model_id=str(values["model_id"]),
            boundary=tuple(str(name) for name in values["boundary"]),
            latent_shape=_shape(values["latent_shape"]),
            points=tuple(
                _point(number, point) for number, point in enumerate(values["points"], start=1)
            ),
            losses=dict(values["losses"]),
            provenance=dict(values["provenance"]),
        )
    except BottleneckError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise BottleneckError(
            f"an entry of its description is missing or of the wrong kind: "
            f"{type(error).__name__}: {error}: {_AGAIN}"
        ) from error
    _check(bottleneck, path)
    return bottleneck


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _shape(values: Sequence[Any]) -> tuple[int, int, int, int]:
    one, channels, height, width = (int(value) for value in values)
    if one != 1 or min(channels, height, width) < 1 or channels * height * width > MOST_VALUES:
        raise BottleneckError(
            f"the latent has shape {list(values)}, expected (1, channels, height, width) with at "
            f"most {MOST_VALUES} values"
        )
    return one, channels, height, width


def _point(number: int, values: Mapping[str, Any]) -> Point:
    step, channels, prior = float(values["step"]), int(values["channels"]), values["prior"]
    if not (math.isfinite(step) and step > 0):
        raise BottleneckError(f"point {number} has step {step}, expected a positive number")
    if len(prior) != channels or channels < 1:
        raise BottleneckError(f"point {number} has {len(prior)} priors for {channels} channels")
    if not all(len(row) > 1 and all(isinstance(value, int) for value in row) for row in prior):
        raise BottleneckError(
            f"point {number}: a channel's prior is its lowest symbol and frequencies, whole "
            f"numbers; {_AGAIN}"
        )
    lowest = [row[0] for row in prior]
    for channel, row in enumerate(prior):
        if not -LARGEST_SYMBOL <= row[0] <= row[0] + len(row) - 2 <= LARGEST_SYMBOL:
            raise BottleneckError(
                f"point {number}, channel {channel}: symbols {row[0]} to {row[0] + len(row) - 2}, "
                f"expected -{LARGEST_SYMBOL} to {LARGEST_SYMBOL}; {_AGAIN}"
            )
    try:
        model = SymbolModel([np.array(row[1:], np.int64) for row in prior])
    except (ValueError, OverflowError) as error:
        raise BottleneckError(f"point {number}: {error}; {_AGAIN}") from error
    return Point(channels, step, np.array(lowest, np.int64), model)


def _check(bottleneck: Bottleneck, path: Path) -> None:
    if not is_name(bottleneck.name) or bottleneck.name != path.stem:
        raise BottleneckError(
            f"its name is {bottleneck.name[:40]!r}, expected that of the file, of up to 28 "
            "lower-case letters, digits, - and _: rename the file back"
        )
    names = bottleneck.boundary
    if not names or len(set(names)) < len(names):
        raise BottleneckError(f"its boundary is {list(names)[:5]}, expected tensors, each once")
    if not 1 <= len(bottleneck.points) <= MOST_POINTS:
        raise BottleneckError(
            f"it has {len(bottleneck.points)} operating points, expected 1 to {MOST_POINTS}"
        )
    most = bottleneck.latent_shape[1]
    for number, point in enumerate(bottleneck.points, start=1):
        if point.channels > most:
            raise BottleneckError(
                f"point {number} sends {point.channels} channels of a latent of {most}; {_AGAIN}"
            )
