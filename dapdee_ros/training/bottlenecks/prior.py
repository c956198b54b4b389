"""How often symbols occur: a learned density in training, counted frequencies in the file."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from dapdee_ros.codecs.bottleneck.file import LARGEST_SYMBOL
from dapdee_ros.codecs.bottleneck.range_coder import TOTAL

_PARTS = 3
_LEAST_SHARE = 1e-7
_UNSEEN = 0.5
"""Times that a symbol that never occurred counts as having occurred (Krichevsky and Trofimov)."""


class LearnedPrior(nn.Module):
    """A density per channel: a mixture of logistic ones, the same for every step.

    The probability of a symbol is the density's integral over its cell, evaluated at the latent
    with uniform noise in place of rounding, so that there are gradients (J. Balle et al.,
    "Variational Image Compression with a Scale Hyperprior", ICLR 2018; the factorised prior there,
    as a mixture here).

    Args:
        channels: of the latent.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shares = nn.Parameter(torch.zeros(channels, _PARTS))
        self.means = nn.Parameter(torch.linspace(-1.0, 1.0, _PARTS).repeat(channels, 1))
        self.widths = nn.Parameter(torch.linspace(0.0, 1.5, _PARTS).repeat(channels, 1))

    def start(self, means: Tensor, spreads: Tensor) -> None:
        """Begin with densities of these means and standard deviations, ``(channels,)`` each."""
        # Of a logistic density the deviation is pi / sqrt(3) of its scale.
        scales = spreads.clamp_min(0.05)[:, None] * torch.tensor([0.2, 0.5, 1.0])
        with torch.no_grad():
            self.widths.copy_(torch.log(torch.expm1(scales)))
            self.means.copy_(means[:, None])

    def bits(self, latent: Tensor, step: Tensor) -> Tensor:
        """Bits that each value takes.

        Args:
            latent: float32 ``(B, C, h, w)``, not rounded.
            step: of the quantiser, for each frame, ``(B,)``.

        Returns:
            float32 ``(B, C, h, w)``.
        """
        noise = (torch.rand_like(latent) - 0.5) * step.view(-1, 1, 1, 1)
        return -torch.log2(self.probability(latent + noise, step).clamp_min(_LEAST_SHARE))

    def probability(self, values: Tensor, step: Tensor) -> Tensor:
        """The density's integral over the cell around each value, in the same form."""
        batch, channels = values.shape[:2]
        half = (step / 2).view(batch, 1, 1, 1)
        centres = values.flatten(2).unsqueeze(-1)
        means = self.means.view(1, channels, 1, _PARTS)
        scale = functional.softplus(self.widths).view(1, channels, 1, _PARTS) + 0.02
        upper, lower = (centres + half - means) / scale, (centres - half - means) / scale
        # On the side where both are small: there the difference of two sigmoids near 1 would be 0.
        sign = torch.where(upper + lower > 0, -1.0, 1.0)
        cells = (torch.sigmoid(sign * upper) - torch.sigmoid(sign * lower)).abs()
        shares = self.shares.softmax(1).view(1, channels, 1, _PARTS)
        return (cells * shares).sum(-1).view_as(values)


def counted_prior(symbols: NDArray[np.integer]) -> list[int]:
    """The prior of one channel as a file holds it.

    Each symbol between the lowest and the highest that occurred gets its share of ``TOTAL``, as if
    it had occurred half a time more, so that what never occurred can be sent too. One more symbol
    is allowed for on each side.

    Args:
        symbols: of the channel on held-out frames, any shape, -127 to 127.

    Returns:
        The lowest symbol, then the frequencies of it and those after it, each at least 1, together
        ``TOTAL``.
    """
    flat = np.asarray(symbols, np.int64).ravel()
    lowest, highest = (
        max(-LARGEST_SYMBOL, int(flat.min()) - 1),
        min(LARGEST_SYMBOL, int(flat.max()) + 1),
    )
    counts = np.bincount(flat - lowest, minlength=highest - lowest + 1).astype(np.float64)
    smooth = counts + _UNSEEN
    exact = smooth / smooth.sum() * (TOTAL - len(smooth))
    whole = np.floor(exact).astype(np.int64)
    # The largest remainders get what rounding down left over.
    left = TOTAL - len(smooth) - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:left]] += 1
    return [lowest, *(1 + whole).tolist()]


def coded_bits(prior: list[int], symbols: NDArray[np.integer]) -> NDArray[np.float64]:
    """Bits that an ideal coder with a file's prior takes for each of a channel's symbols."""
    lowest, frequencies = prior[0], np.asarray(prior[1:], np.float64)
    cost: NDArray[np.float64] = math.log2(TOTAL) - np.log2(frequencies)
    return cost[clipped(prior, symbols) - lowest]


def clipped(prior: list[int], symbols: NDArray[np.integer]) -> NDArray[np.int64]:
    """A channel's symbols as they are sent: within the range that its prior knows."""
    lowest = prior[0]
    return np.clip(np.asarray(symbols, np.int64), lowest, lowest + len(prior) - 2)
