"""What codecs take on this machine, as lines over the size of a tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.codecs import decode, encode
from dapdee_ros.codecs.table import codec_named
from dapdee_ros.estimation.cost_fit import fit
from dapdee_ros.planning.device_profile import CodecTime
from dapdee_ros.runtime.cold_calls import cold_times

BUDGET_S = 0.3
"""Seconds that all codecs together are timed, if that is more than the rounds take."""

_IMAGES = ((1, 32, 32, 3), (1, 160, 160, 3))
_FEATURES = ((1, 16, 16, 16), (1, 16, 64, 64))
# How often the small and the large ones are timed: what takes longer scatters less.
_LEAST_ROUNDS = (25, 7)
_NAME = "tensor"


def codec_times(names: Iterable[str], budget_s: float = BUDGET_S) -> dict[str, CodecTime]:
    """Time each codec on tensors of two sizes like those that it is for, as frames find it.

    Args:
        names: codecs; those for images get images, all others what a ReLU puts out.
        budget_s: how long to measure.

    Raises:
        CodecError: if a codec is unknown.
    """
    names = list(dict.fromkeys(names))
    tensors = {name: _tensors(name) for name in names}
    encode_s: dict[str, list[float]] = {name: [] for name in names}
    decode_s: dict[str, list[float]] = {name: [] for name in names}
    for at, least_rounds in enumerate(_LEAST_ROUNDS):
        encoding = [partial(encode, {_NAME: tensors[name][at]}, name) for name in names]
        decoding = [_decoding(tensors[name][at], name) for name in names]
        seconds = cold_times([*encoding, *decoding], budget_s / len(_LEAST_ROUNDS), least_rounds)
        for name, encoded_s, decoded_s in zip(
            names, seconds[: len(names)], seconds[len(names) :], strict=True
        ):
            encode_s[name].append(encoded_s)
            decode_s[name].append(decoded_s)
    times = {}
    for name in names:
        sizes = [tensor.nbytes for tensor in tensors[name]]
        times[name] = CodecTime(*fit(sizes, encode_s[name]), *fit(sizes, decode_s[name]))
    return times


def _tensors(name: str) -> list[NDArray[Any]]:
    if codec_named(name).accepts(_FEATURES[0], "float32"):
        return [_features(shape) for shape in _FEATURES]
    return [_image(shape) for shape in _IMAGES]


def _decoding(tensor: NDArray[Any], name: str) -> Callable[[], object]:
    specs, data = encode({_NAME: tensor}, name)
    expected = {_NAME: (tensor.shape, tensor.dtype.name)}
    return partial(decode, specs, data, name, expected)


def _features(shape: tuple[int, ...]) -> NDArray[np.float32]:
    drawn = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return np.maximum(drawn, 0, out=drawn)


def _image(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Smooth with some grain, as a camera's: noise alone would be the slowest there is."""
    _, height, width, channels = shape
    rows, columns = np.mgrid[:height, :width]
    smooth = 128 + 60 * np.sin(rows / 9) * np.cos(columns / 13)
    grain = np.random.default_rng(0).normal(0, 4, (height, width, channels))
    return np.clip(smooth[..., None] + grain, 0, 255).astype(np.uint8)[None]
