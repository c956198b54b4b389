"""A latent as the bytes that cross the link: the bottleneck's id, then range-coded symbols.

Everything else (channels, step, shape, frequencies) is in both sides' own file, never in a message.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.codecs.bottleneck.file import ID_BYTES, Bottleneck, Point
from dapdee_ros.codecs.bottleneck.range_coder import STATE_BYTES, WORD_BYTES
from dapdee_ros.codecs.tensor_spec import Bytes, CodecError


def length_bounds(bottleneck: Bottleneck, point: Point) -> tuple[int, int]:
    """Fewest and most bytes of a latent: a channel with one symbol takes none, others a word."""
    per_channel = math.prod(bottleneck.latent_shape[2:])
    words = per_channel * int((point.model.most_symbols > 1).sum())
    fewest = ID_BYTES + STATE_BYTES
    return fewest, fewest + WORD_BYTES * words


def encode_latent(bottleneck: Bottleneck, point: Point, latent: NDArray[np.float32]) -> bytes:
    """Quantise a latent and code it.

    A value that is not a number counts as 0, one beyond the channel's symbols as the last of them.

    Args:
        bottleneck: whose latent it is.
        point: one of its operating points.
        latent: float32 of its ``latent_shape``.

    Raises:
        CodecError: if the shape is another.
    """
    if latent.shape != bottleneck.latent_shape:
        raise CodecError(
            f"the encoder of {bottleneck.name} put out shape {latent.shape}, expected "
            f"{bottleneck.latent_shape}"
        )
    sent = latent[0, : point.channels].reshape(point.channels, -1)
    with np.errstate(over="ignore", invalid="ignore"):
        steps = np.rint(sent / np.float32(point.step))
        np.copyto(steps, 0, where=np.isnan(steps))
    lowest = point.lowest[:, None].astype(np.float32)
    np.clip(steps, lowest, point.highest[:, None].astype(np.float32), out=steps)
    steps -= lowest
    return bytes.fromhex(bottleneck.id) + point.model.encode(steps.astype(np.uint8))


def decode_latent(bottleneck: Bottleneck, point: Point, data: Bytes) -> NDArray[np.float32]:
    """Undo ``encode_latent``.

    Args:
        bottleneck: of the receiver's own model folder.
        point: the operating point that the message names.
        data: uint8 ``(n,)``, from an untrusted peer.

    Returns:
        float32 of the latent's shape; channels that were not sent are 0.

    Raises:
        CodecError: if the data are too many or too few, another bottleneck's, or damaged.
    """
    fewest, most = length_bounds(bottleneck, point)
    if not fewest <= len(data) <= most:
        raise CodecError(
            f"{len(data)} bytes of bottleneck {bottleneck.name} came, expected {fewest} to {most}"
        )
    came = data[:ID_BYTES].tobytes().hex()
    if came != bottleneck.id:
        raise CodecError(
            f"the data are of bottleneck {came}, the {bottleneck.name} of this side's model folder "
            f"is {bottleneck.id}: copy {bottleneck.path.name} from the one machine to the other"
        )
    _, channels, height, width = bottleneck.latent_shape
    symbols = point.model.decode(data[ID_BYTES:], height * width)
    latent = np.zeros((channels, height * width), np.float32)
    sent = latent[: point.channels]
    np.add(symbols, point.lowest[:, None], out=sent, casting="unsafe")
    sent *= np.float32(point.step)
    return latent.reshape(bottleneck.latent_shape)
