"""Principal components of a boundary's patches: what a bottleneck begins with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

_LEAST_METRIC = 0.5
"""What a direction counts that does not matter for the outputs, of the mean."""


def patches_of(tensors: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
    """What lies in each cell of the latent, as rows ``(cells, D)``.

    Args:
        tensors: of a boundary, ``(B, C, H, W)``.
        grid: height and width of the latent.
    """
    found = []
    for tensor in tensors:
        side = tensor.shape[2] // grid[0]
        unfolded = functional.unfold(tensor.float(), side, stride=side)
        found.append(unfolded.transpose(1, 2).flatten(0, 1))
    return torch.cat(found, 1)


class Components(NamedTuple):
    """A linear map to a latent and back.

    Attributes:
        encode: ``(channels, D)``.
        bias: ``(channels,)``; takes the mean out.
        decode: ``(channels, D)``; its rows, times the latent, restore what is left of the mean.
    """

    encode: Tensor
    bias: Tensor
    decode: Tensor


def principal_components(
    rows: Tensor, channels: int, gradients: Tensor | None = None
) -> Components:
    """The directions of a boundary's patches that matter most.

    Those of most variance lose least when they are quantised, among linear maps (the Karhunen-Loeve
    transform), and the first of them say most, as nested channels should. What is lost should be
    measured where it matters, at the outputs: near a boundary x their error is a quadratic form,
    d' H d, whose gradient at x + d is H d, so that gradients at points moved by white noise have
    the second moment H H. With its root as the metric, the components are those of H^(1/2) x.

    Args:
        rows: patches, ``(n, D)``; see ``patches_of``.
        channels: how many directions; if there are fewer, the last are 0.
        gradients: of the outputs' error, moved by noise, likewise; None: all directions matter
            alike.
    """
    mean = rows.mean(0)
    centred = (rows - mean).double()
    covariance = centred.t() @ centred / len(rows)
    size = rows.shape[1]
    root = inverse = torch.eye(size, dtype=torch.float64)
    if gradients is not None:
        seen = gradients.double()
        values, vectors = torch.linalg.eigh(seen.t() @ seen / len(seen))
        metric = values.clamp_min(0).sqrt()
        # Something of every direction is wanted: the form holds near the boundary only.
        metric = metric / metric.mean().clamp_min(1e-30) + _LEAST_METRIC
        metric = metric / metric.mean()
        root = (vectors * metric.sqrt()) @ vectors.t()
        inverse = (vectors / metric.sqrt()) @ vectors.t()
    _, directions = torch.linalg.eigh(root @ covariance @ root)
    chosen = directions.flip(1)[:, :channels].t()
    encode, decode = rows.new_zeros(channels, size), rows.new_zeros(channels, size)
    encode[: len(chosen)] = (chosen @ root).float()
    decode[: len(chosen)] = (chosen @ inverse).float()
    return Components(encode, -(encode @ mean), decode)
