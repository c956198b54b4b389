"""Operating points: how many channels of a latent are sent, and how finely."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dapdee_ros.codecs.bottleneck.file import LARGEST_SYMBOL

LEAST_POINTS = 5
"""Of one bottleneck."""

FINEST, COARSEST = 2.0, 7.0
"""Usual steps, in units of the boundary's standard deviation at the start."""


class Point(NamedTuple):
    """One operating point of a bottleneck.

    Attributes:
        channels: the first so many channels of the latent are sent, the others are 0.
        step: of the quantiser; a symbol is the latent over it, rounded.
    """

    channels: int
    step: float


def usual_points(channels: int, count: int = 6, finest: float = FINEST) -> tuple[Point, ...]:
    """Points from the fewest bytes to the most: steps in equal ratios, fewer channels at first.

    A coarse step leaves the channels that say least at 0 anyhow; not sending them saves the time
    to code them, and gives the first channels the most important contents.

    >>> usual_points(32)[0], usual_points(32)[-1], len(usual_points(32))
    (Point(channels=16, step=7.0), Point(channels=32, step=2.0), 6)
    """
    ratio = (finest / COARSEST) ** (1 / max(1, count - 1))
    found = []
    for place in range(count):
        share = min(1.0, 0.5 + 0.5 * place / max(1, count // 3))
        found.append(Point(max(1, round(channels * share)), round(COARSEST * ratio**place, 4)))
    return tuple(found)


def rate_weights(points: Sequence[Point]) -> list[float]:
    """How much a bit weighs at each point, 1 at the finest.

    The error of a uniform quantiser grows with the square of its step while the rate falls with the
    logarithm, so at the best trade-off the weight of a bit grows with the square of the step (H.
    Gish and J. Pierce, "Asymptotically Efficient Quantizing", 1968). That holds for fine steps; for
    coarse ones an exponent of 1.5 is closer.
    """
    finest = min(point.step for point in points)
    return [(point.step / finest) ** 1.5 for point in points]


def quantised(latent: Tensor, channels: Tensor, step: Tensor) -> Tensor:
    """What a decoder gets, with the gradient of the identity ("straight-through").

    Args:
        latent: ``(B, C, h, w)``.
        channels: how many of them are sent for each frame, ``(B,)``.
        step: the quantiser's for each frame, ``(B,)``.
    """
    step = step.view(-1, 1, 1, 1)
    symbols = (latent / step).round().clamp(-LARGEST_SYMBOL, LARGEST_SYMBOL)
    passed = latent + (symbols * step - latent).detach()
    return passed * sent(latent, channels)


def sent(latent: Tensor, channels: Tensor) -> Tensor:
    """1 for the channels that are sent, 0 for the others: ``(B, C, 1, 1)``."""
    places = torch.arange(latent.shape[1], device=latent.device)
    return (places < channels.view(-1, 1)).to(latent.dtype)[:, :, None, None]
