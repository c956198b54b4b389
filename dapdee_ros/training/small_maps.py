"""Faster training of convolutions on small maps, for CPUs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# Measured with oneDNN in bfloat16 on an x86-64 CPU with matrix units, batch 128, forward and
# backward: 512 channels on 2x2 maps take 4.6 times less as a matrix product, on 4x4 maps 2.2 times;
# 256 channels on 8x8 maps take 2.7 times more, because the gathered rows no longer fit its caches.
_LARGEST_MAP = 16
_FEWEST_CHANNELS = 256


class _MatrixProduct(torch.autograd.Function):
    """A 3x3 convolution with padding 1 of an NHWC map, as one matrix product per direction."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor) -> Tensor:
        """Rows of nine neighbours ``(B H W, 9 C)`` times ``(O, 9 C)`` transposed."""
        batch, height, width, channels = x.shape
        padded = functional.pad(x, (0, 0, 1, 1, 1, 1))
        seen = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
        rows = torch.cat(seen, -1).view(-1, 9 * channels)
        ctx.save_for_backward(rows, kernel)
        return functional.linear(rows, kernel).view(batch, height, width, -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of the map and of the kernel."""
        rows, kernel = ctx.saved_tensors
        batch, height, width, _ = gradients[0].shape
        gradient = gradients[0].reshape(len(rows), -1)
        parts = (gradient @ kernel).view(batch, height, width, 9, -1).unbind(3)
        padded = gradient.new_zeros(batch, height + 2, width + 2, parts[0].shape[-1])
        for place, part in enumerate(parts):
            i, j = divmod(place, 3)
            padded[:, i : i + height, j : j + width] += part
        return padded[:, 1:-1, 1:-1], gradient.t() @ rows


class SmallMapConv2d(nn.Conv2d):
    """A 3x3 convolution that is a matrix product while training on a small map.

    Same parameters and, but for rounding, same results as the convolution it stands for. Libraries
    choose kernels that split the work along the map, and a map of four pixels leaves them nothing
    to split: mostly the gradient of the weights is slow.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Convolve float ``(B, C, H, W)`` to ``(B, O, H, W)``."""
        if not self.training or x.is_cuda or x.shape[2] * x.shape[3] > _LARGEST_MAP:
            return super().forward(x)
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        # Nothing is copied here when the weights are stored channels last.
        kernel = self.weight.to(x.dtype).permute(0, 2, 3, 1).reshape(self.out_channels, -1)
        product: Tensor = _MatrixProduct.apply(x.permute(0, 2, 3, 1), kernel)
        return product.permute(0, 3, 1, 2)


def use_matrix_products(model: nn.Module) -> int:
    """Let every convolution of ``model`` that may gain from it be a ``SmallMapConv2d``.

    Returns:
        How many were changed.
    """
    changed = 0
    for module in model.modules():
        if (
            type(module) is nn.Conv2d
            and module.kernel_size == (3, 3)
            and module.stride == (1, 1)
            and module.padding == (1, 1)
            and module.dilation == (1, 1)
            and module.groups == 1
            and module.bias is None
            and module.padding_mode == "zeros"
            and module.in_channels >= _FEWEST_CHANNELS
        ):
            module.__class__ = SmallMapConv2d
            changed += 1
    return changed


def use_convolutions(model: nn.Module) -> None:
    """Undo ``use_matrix_products``: a traced model has plain convolutions."""
    for module in model.modules():
        if type(module) is SmallMapConv2d:
            module.__class__ = nn.Conv2d  # type: ignore[assignment]
