"""Count a trained bottleneck's priors, and measure what each of its points costs and loses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dapdee_ros.codecs.bottleneck.file import ID_BYTES, LARGEST_SYMBOL, point_name
from dapdee_ros.codecs.bottleneck.range_coder import STATE_BYTES, WORD_BYTES
from dapdee_ros.exits.bottlenecks import QUANTILES
from dapdee_ros.exits.codec_losses import Change, CodecLosses, CodedTensor
from dapdee_ros.training.bottlenecks.points import Point
from dapdee_ros.training.bottlenecks.prior import clipped, coded_bits, counted_prior
from dapdee_ros.training.bottlenecks.trainee import Trainee
from dapdee_ros.training.task import Frames

_AT_ONCE = 8
_TIMED_FRAMES = 20

Prior = list[int]


class Comparison(Protocol):
    """Compares what an exit computes from a boundary and from a restored one."""

    def add(self, frame: int, plain: Sequence[NDArray], coded: Sequence[NDArray]) -> None:
        """Compare the exit's outputs for a frame."""

    def change(self) -> Change:
        """What became of the exit's quality."""

    def qualities(self) -> tuple[float, float]:
        """The quality without and with the bottleneck, 0 to 1."""


@dataclass(frozen=True)
class MeasuredPoint:
    """What calibration found about a point.

    Attributes:
        mean_bytes: of a message.
        quantiles_bytes: at ``QUANTILES``.
        qualities: for each exit the quality without and with the bottleneck.
        changes: for each exit what became of its quality.
    """

    mean_bytes: float
    quantiles_bytes: tuple[int, ...]
    qualities: dict[int, tuple[float, float]]
    changes: dict[int, Change]


@dataclass(frozen=True)
class MeasuredTimes:
    """Seconds over those of the whole network, on the same machine and thread.

    Attributes:
        encode_share: of encoder and quantiser.
        decode_share: of the decoder.
    """

    encode_share: float
    decode_share: float


def symbols_at(latent: Tensor, point: Point) -> NDArray[np.int64]:
    """A latent's symbols at a point, int64 ``(B, k, h, w)``, before a prior clips them."""
    rounded = (
        (latent[:, : point.channels] / point.step).round().clamp(-LARGEST_SYMBOL, LARGEST_SYMBOL)
    )
    return rounded.numpy().astype(np.int64)


def count_priors(trainee: Trainee, frames: Frames, points: Sequence[Point]) -> list[list[Prior]]:
    """For each point the prior of each channel that it sends, counted on some frames."""
    latents = torch.cat([trainee.encoder(boundary) for boundary, _ in passes(trainee, frames)])
    return [
        [counted_prior(of_channel) for of_channel in symbols_at(latents, point).swapaxes(0, 1)]
        for point in points
    ]


def measure_points(
    trainee: Trainee,
    frames: Frames,
    points: Sequence[Point],
    priors: Sequence[Sequence[Prior]],
    compare: Callable[[int], Comparison],
    progress: Callable[[int], None] = lambda frames: None,
    *,
    with_changes: bool = True,
) -> list[MeasuredPoint]:
    """Run some frames through every point.

    Args:
        trainee: the bottleneck.
        frames: which it was not trained on, nor its priors counted on.
        points: to measure.
        priors: of each point.
        compare: makes a comparison for an exit, of that number.
        progress: called with how many frames are done.
        with_changes: False leaves the changes out, whose standard errors take their time.
    """
    exits = trainee.exits
    comparisons = [{number: compare(number) for number in exits} for _ in points]
    sizes: list[list[float]] = [[] for _ in points]
    done = 0
    for boundary, outputs in passes(trainee, frames):
        latent = trainee.encoder(boundary)
        for place, (point, prior) in enumerate(zip(points, priors, strict=True)):
            symbols = symbols_at(latent, point)
            bits = np.zeros(len(symbols))
            for channel, table in enumerate(prior):
                bits += coded_bits(table, symbols[:, channel]).sum((1, 2))
                symbols[:, channel] = clipped(table, symbols[:, channel])
            # The state holds the last bits that make no whole word.
            words = np.floor(bits / (8 * WORD_BYTES))
            sizes[place] += (ID_BYTES + STATE_BYTES + WORD_BYTES * words).tolist()
            got = torch.zeros_like(latent)
            got[:, : point.channels] = torch.from_numpy(symbols).float() * point.step
            found = trainee.answers(trainee.decoder(got))
            for number, plain, coded in zip(exits, outputs, found, strict=True):
                for frame in range(len(symbols)):
                    comparisons[place][number].add(
                        done + frame,
                        [plain[frame : frame + 1].numpy()],
                        [coded[frame : frame + 1].numpy()],
                    )
        done += len(latent)
        progress(len(latent))
    return [
        MeasuredPoint(
            round(float(np.mean(of_point)), 1),
            tuple(round(float(q)) for q in np.quantile(of_point, QUANTILES)),
            {number: one.qualities() for number, one in of_exit.items()},
            {number: one.change() for number, one in of_exit.items()} if with_changes else {},
        )
        for of_point, of_exit in zip(sizes, comparisons, strict=True)
    ]


def measure_times(trainee: Trainee, frames: Frames) -> MeasuredTimes:
    """Time encoder and decoder against the whole network, one thread, frame by frame."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds: list[tuple[float, float, float]] = []
    try:
        with torch.inference_mode():
            for place in range(min(_TIMED_FRAMES, len(frames))):
                image = torch.from_numpy(frames.pixels(np.array([place])))
                started = perf_counter()
                boundary, _ = trainee.teacher(image)
                ran = perf_counter()
                latent = (trainee.encoder(boundary)).round()
                encoded = perf_counter()
                trainee.decoder(latent)
                seconds.append((ran - started, encoded - ran, perf_counter() - encoded))
    finally:
        torch.set_num_threads(threads)
    whole, encoder, decoder = np.array(seconds).min(0)
    return MeasuredTimes(round(float(encoder / whole), 6), round(float(decoder / whole), 6))


def codec_losses(
    name: str,
    boundary: Sequence[str],
    frames: int,
    measured: Sequence[MeasuredPoint],
    times: MeasuredTimes,
) -> CodecLosses:
    """What was measured in the form that a calibration has it, points as codecs ``NAME@P``.

    A boundary of several tensors is one entry, their names joined by ``+``.
    """
    return CodecLosses(
        frames,
        {
            point_name(name, number): {
                "+".join(boundary): CodedTensor(
                    point.mean_bytes, times.encode_share, times.decode_share, point.changes
                )
            }
            for number, point in enumerate(measured, start=1)
        },
    )


def passes(trainee: Trainee, frames: Frames) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """The boundary and the exits' outputs of a few frames after the other."""
    with torch.inference_mode():
        for start in range(0, len(frames), _AT_ONCE):
            places = np.arange(start, min(start + _AT_ONCE, len(frames)))
            images = torch.from_numpy(np.ascontiguousarray(frames.pixels(places)))
            boundary, after = trainee.teacher(images)
            yield boundary, after[len(after) - len(trainee.exits) :]
