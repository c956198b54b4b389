"""What codecs take on this machine, as lines over the size of a tensor."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.codecs import decode, encode
from dapdee_ros.codecs.table import codec_named
from dapdee_ros.estimation.cost_fit import fit, time_call
from dapdee_ros.planning.device_profile import CodecTime

BUDGET_S = 0.3
"""Seconds that all codecs together are timed, if that is more than a block for each."""

_IMAGES = ((1, 32, 32, 3), (1, 160, 160, 3))
_FEATURES = ((1, 16, 16, 16), (1, 16, 64, 64))
_NAME = "tensor"


def codec_times(names: Iterable[str], budget_s: float = BUDGET_S) -> dict[str, CodecTime]:
    """Time each codec on tensors of two sizes like those that it is for.

    Args:
        names: codecs; those for images get images, all others what a ReLU puts out.
        budget_s: how long to measure.

    Raises:
        CodecError: if a codec is unknown.
    """
    names = list(dict.fromkeys(names))
    share_s = budget_s / max(1, 4 * len(names))
    return {name: _time(name, share_s) for name in names}


def _time(name: str, share_s: float) -> CodecTime:
    takes_features = codec_named(name).accepts(_FEATURES[0], "float32")
    samples = [_features(s) for s in _FEATURES] if takes_features else [_image(s) for s in _IMAGES]
    encode_s, decode_s = [], []
    for sample in samples:
        tensors = {_NAME: sample}
        specs, data = encode(tensors, name)
        expected = {_NAME: (sample.shape, sample.dtype.name)}
        encode_s.append(time_call(lambda t=tensors: encode(t, name), share_s))  # type: ignore[misc]
        decode_s.append(
            time_call(lambda s=specs, d=data, e=expected: decode(s, d, name, e), share_s)  # type: ignore[misc]
        )
    sizes = [sample.nbytes for sample in samples]
    return CodecTime(*fit(sizes, encode_s), *fit(sizes, decode_s))


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
