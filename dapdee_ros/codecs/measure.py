"""Measures a codec on real tensors: sizes and times, for plans and benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.codecs.tensor_spec import CodecError
from dapdee_ros.codecs.wire import decode, encode


@dataclass(frozen=True)
class CodecMeasurement:
    """One codec on samples of one tensor.

    Attributes:
        mean_bytes: mean size of a sample on the wire, scales and zero points included.
        most_bytes: size of the largest sample.
        encode_s: median of the seconds to encode a sample.
        decode_s: median of the seconds to decode it.
    """

    mean_bytes: float
    most_bytes: int
    encode_s: float
    decode_s: float


def measure(
    codec: str, samples: Sequence[NDArray], clock: Callable[[], float], repeats: int = 3
) -> CodecMeasurement:
    """Encode and decode samples of a tensor.

    Args:
        codec: the codec's name.
        samples: arrays of one shape and dtype, as on different frames.
        clock: seconds, such as ``time.perf_counter``.
        repeats: how often each sample is timed; its shortest time counts, since other load on the
            machine only adds to it.

    Raises:
        CodecError: if there are no samples, or the codec cannot code them.
    """
    if not samples or repeats < 1:
        raise CodecError("measuring a codec takes at least one sample and one repeat")
    sizes, encode_s, decode_s = [], [], []
    for sample in samples:
        expected = {"x": (sample.shape, np.asarray(sample).dtype.name)}
        encoding, decoding = [], []
        for _ in range(repeats):
            started = clock()
            specs, data = encode({"x": sample}, codec)
            coded = clock()
            decode(specs, data, codec, expected)
            decoding.append(clock() - coded)
            encoding.append(coded - started)
        sizes.append(len(data) + 8 * len(specs[0].scale))
        encode_s.append(min(encoding))
        decode_s.append(min(decoding))
    return CodecMeasurement(fmean(sizes), max(sizes), median(encode_s), median(decode_s))
