"""How alike two images are: PSNR and SSIM."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_SIDE, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2

MOST_PSNR_DB = 99.0
"""That of equal images, whose ratio is infinite."""


def psnr_db(image: Tensor, other: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of pairs of images, ``(B,)``.

    Args:
        image: float32 ``(B, C, H, W)``, 0 to 1.
        other: the same.
    """
    error = (image - other).square().mean((1, 2, 3))
    return (-10 * torch.log10(error.clamp_min(1e-12))).clamp_max(MOST_PSNR_DB)


def ssim(image: Tensor, other: Tensor) -> Tensor:
    """Structural similarity of pairs of images, ``(B,)``, -1 to 1.

    The mean over places and channels with a Gaussian window of 11 by 11 pixels (Z. Wang et al.,
    "Image quality assessment: from error visibility to structural similarity", IEEE Transactions on
    Image Processing 13(4), 2004); a smaller one where an image has fewer pixels.

    Args:
        image: float32 ``(B, C, H, W)``, 0 to 1.
        other: the same.
    """
    channels = image.shape[1]
    window = [_window(side, image.device) for side in image.shape[2:]]

    def mean(values: Tensor) -> Tensor:
        down = window[0].view(1, 1, -1, 1).expand(channels, 1, -1, 1)
        along = window[1].view(1, 1, 1, -1).expand(channels, 1, 1, -1)
        return functional.conv2d(
            functional.conv2d(values, down, groups=channels), along, groups=channels
        )

    a, b = mean(image), mean(other)
    aa, bb, ab = (
        mean(image * image) - a * a,
        mean(other * other) - b * b,
        mean(image * other) - a * b,
    )
    alike = (2 * a * b + _C1) * (2 * ab + _C2) / ((a * a + b * b + _C1) * (aa + bb + _C2))
    return alike.mean((1, 2, 3))


def _window(pixels: int, device: torch.device) -> Tensor:
    side = min(_SIDE, pixels)
    away = torch.arange(side, dtype=torch.float32, device=device) - (side - 1) / 2
    weights = torch.exp(-away.square() / (2 * _SIGMA**2))
    return weights / weights.sum()
