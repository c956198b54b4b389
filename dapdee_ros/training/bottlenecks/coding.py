"""The network of a bottleneck: an encoder for the car, a decoder for the edge server."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import log2

import torch
from torch import Tensor, nn
from torch.nn import functional

from dapdee_ros.exits.card import ModelFolderError
from dapdee_ros.graph.flops import FlopCounter

MOST_SHARE = 0.1
"""Most that an encoder may take of the work of the head before it."""

_WIDTHS = (96, 80, 64, 48, 40, 32, 24, 16, 12, 8)
_LEAST_SIDE = 4
_STRIDE = 16
"""Pixels from one cell of the latent to the next, where the boundary is finer than that."""

_DECODER_WIDTH, _FINE_WIDTH = 96, 64
_LATENT_SCALE = 4.0
"""What a latent is multiplied by: with steps from 1 on it starts with a few symbols, not with 1."""


class BottleneckError(ModelFolderError):
    """A bottleneck that cannot be made for this boundary; the message says why."""


class Encoder(nn.Module):
    """Strided convolutions that bring a boundary to the latent's grid, then pointwise ones.

    Its input is scaled per channel by what was measured on the boundary, so that it needs no batch
    norms, whose statistics would move the latent under the quantiser.

    Args:
        shapes: of the boundary's tensors, ``(1, C, H, W)``.
        channels: of the latent.
        grid: height and width of the latent.
        width: channels before the latent.
        kernel: of the strided convolutions before the last.
    """

    def __init__(
        self,
        shapes: Sequence[tuple[int, ...]],
        channels: int,
        grid: tuple[int, int],
        width: int,
        kernel: int,
    ) -> None:
        super().__init__()
        self.folded = False
        self.branches = nn.ModuleList()
        for number, (_, inputs, height, _) in enumerate(shapes):
            halvings = round(log2(height / grid[0]))
            layers: list[nn.Module] = []
            for left in range(halvings, 0, -1):
                outputs = max(8, width >> (left - 1))
                size = 3 if left == 1 else kernel
                layers += [
                    nn.Conv2d(inputs, outputs, size, stride=2, padding=size // 3),
                    nn.ReLU(),
                ]
                inputs = outputs
            if not halvings:
                layers += [nn.Conv2d(inputs, width, 1), nn.ReLU()]
            self.branches.append(nn.Sequential(*layers))
            self.register_buffer(f"scale{number}", torch.ones(1, shapes[number][1], 1, 1))
        self.latent = nn.Conv2d(width * len(shapes), channels, 1)

    def forward(self, boundary: Sequence[Tensor]) -> Tensor:
        """The latent, float32 ``(B, C, h, w)``, not quantised."""
        maps = []
        for number, (branch, tensor) in enumerate(zip(self.branches, boundary, strict=True)):
            maps.append(branch(tensor if self.folded else tensor / getattr(self, f"scale{number}")))
        latent: Tensor = self.latent(torch.cat(maps, 1) if len(maps) > 1 else maps[0])
        return latent if self.folded else latent * _LATENT_SCALE

    def fold(self) -> None:
        """Put the scales into the convolutions: the same results with less work."""
        with torch.no_grad():
            for number, branch in enumerate(self.branches):
                _convolutions(branch)[0].weight /= getattr(self, f"scale{number}")
            self.latent.weight *= _LATENT_SCALE
            _bias(self.latent).mul_(_LATENT_SCALE)
        self.folded = True

    def unfold(self) -> None:
        """Undo ``fold``, with the scales as they are now."""
        with torch.no_grad():
            for number, branch in enumerate(self.branches):
                _convolutions(branch)[0].weight *= getattr(self, f"scale{number}")
            self.latent.weight /= _LATENT_SCALE
            _bias(self.latent).div_(_LATENT_SCALE)
        self.folded = False


class _Block(nn.Module):
    """A pointwise convolution to half the channels, a 3x3 back to all, and a skip connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, channels // 2, 1)
        self.expand = nn.Conv2d(channels // 2, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.expand(functional.relu(self.reduce(functional.relu(x))))


class Decoder(nn.Module):
    """Blocks on the latent's grid, then steps up to the boundary's.

    Args:
        shapes: of the boundary's tensors, ``(1, C, H, W)``.
        channels: of the latent.
        grid: height and width of the latent.
        blocks: on the latent's grid.
    """

    def __init__(
        self,
        shapes: Sequence[tuple[int, ...]],
        channels: int,
        grid: tuple[int, int],
        blocks: int = 3,
    ) -> None:
        super().__init__()
        self.folded = False
        self.trunk = nn.Sequential(
            nn.Conv2d(channels, _DECODER_WIDTH, 3, padding=1),
            *(_Block(_DECODER_WIDTH) for _ in range(blocks)),
        )
        self.branches = nn.ModuleList()
        for number, (_, outputs, height, _) in enumerate(shapes):
            inputs, layers = _DECODER_WIDTH, list[nn.Module]()
            for step in range(round(log2(height / grid[0]))):
                fine = max(32, _FINE_WIDTH >> step)
                layers += [
                    nn.ReLU(),
                    nn.Conv2d(inputs, 4 * fine, 1),
                    nn.PixelShuffle(2),
                    *(_Block(fine) for _ in range(2)),
                ]
                inputs = fine
            layers += [nn.ReLU(), nn.Conv2d(inputs, outputs, 1)]
            self.branches.append(nn.Sequential(*layers))
            self.register_buffer(f"scale{number}", torch.ones(1, outputs, 1, 1))
            self.register_buffer(f"offset{number}", torch.zeros(1, outputs, 1, 1))
            # Whether the boundary holds no negative values, as after a ReLU: 0 or -inf.
            self.register_buffer(f"least{number}", torch.tensor(float("-inf")))

    def forward(self, latent: Tensor) -> tuple[Tensor, ...]:
        """The boundary's tensors, restored, from a quantised latent ``(B, C, h, w)``."""
        trunk = self.trunk(latent if self.folded else latent / _LATENT_SCALE)
        restored = []
        for number, branch in enumerate(self.branches):
            tensor = branch(trunk)
            if not self.folded:
                tensor = tensor * getattr(self, f"scale{number}") + getattr(self, f"offset{number}")
            if getattr(self, f"least{number}") == 0:
                tensor = functional.relu(tensor)
            restored.append(tensor)
        return tuple(restored)

    def fold(self) -> None:
        """Put scales and offsets into the convolutions: the same results with less work."""
        with torch.no_grad():
            _convolutions(self.trunk)[0].weight /= _LATENT_SCALE
            for number, branch in enumerate(self.branches):
                last = _convolutions(branch)[-1]
                scale, offset = getattr(self, f"scale{number}"), getattr(self, f"offset{number}")
                last.weight *= scale.view(-1, 1, 1, 1)
                _bias(last).mul_(scale.flatten()).add_(offset.flatten())
        self.folded = True

    def unfold(self) -> None:
        """Undo ``fold``, with the scales and offsets as they are now."""
        with torch.no_grad():
            _convolutions(self.trunk)[0].weight *= _LATENT_SCALE
            for number, branch in enumerate(self.branches):
                last = _convolutions(branch)[-1]
                scale, offset = getattr(self, f"scale{number}"), getattr(self, f"offset{number}")
                last.weight /= scale.view(-1, 1, 1, 1)
                _bias(last).sub_(offset.flatten()).div_(scale.flatten())
        self.folded = False


def _convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [part for part in module.modules() if isinstance(part, nn.Conv2d)]


def _bias(convolution: nn.Conv2d) -> Tensor:
    if convolution.bias is None:
        raise TypeError("the convolutions of a bottleneck have a bias")
    return convolution.bias


def latent_grid(shapes: Sequence[tuple[int, ...]], frame: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the latent for a boundary.

    Cells of 16 pixels, as learned image codecs have them, unless the boundary's coarsest tensor is
    coarser already, or fewer than 4 cells would be left per side.

    Args:
        shapes: of the boundary's tensors, ``(1, C, H, W)``.
        frame: height and width of the network's input.

    Raises:
        BottleneckError: if a tensor is no map, or their sides are not powers of two apart.
    """
    for shape in shapes:
        if len(shape) != 4 or min(shape[2:]) < 2:
            raise BottleneckError(
                f"a tensor of shape {tuple(shape)} is no feature map (1, C, H, W): a bottleneck "
                "is for maps; choose a boundary before it"
            )
    height, width = min(shape[2] for shape in shapes), min(shape[3] for shape in shapes)
    while (
        height % 2 == 0
        and width % 2 == 0
        and min(height, width) >= 2 * _LEAST_SIDE
        and frame[0] / height < _STRIDE
    ):
        height, width = height // 2, width // 2
    for shape in shapes:
        times = shape[2] / height
        if times != shape[3] / width or times != 2 ** round(log2(times)):
            raise BottleneckError(
                f"the tensors {[tuple(s[2:]) for s in shapes]} of one boundary are not powers of "
                "two apart, so they have no common latent: choose another boundary"
            )
    return height, width


def flops_of(module: nn.Module, example: Sequence[Tensor] | Tensor) -> int:
    """Floating-point operations of one run; a multiply-add counts as two, as in the DAG."""
    with torch.no_grad(), FlopCounter() as counter:
        module(example)
    return counter.flops


def make_encoder(
    shapes: Sequence[tuple[int, ...]], channels: int, grid: tuple[int, int], head_flops: int
) -> Encoder:
    """The widest encoder that takes at most ``MOST_SHARE`` of the head's work.

    This is the one place that decides how much work an encoder may be.

    Args:
        shapes: of the boundary's tensors.
        channels: of the latent.
        grid: height and width of the latent.
        head_flops: floating-point operations of the head before the boundary.

    Raises:
        BottleneckError: if even the narrowest takes more; says how much.
    """
    example = [torch.zeros(shape) for shape in shapes]
    most = MOST_SHARE * head_flops
    needed = 0
    for width, kernel in product(_WIDTHS, (3, 2)):
        encoder = Encoder(shapes, channels, grid, width, kernel)
        needed = flops_of(encoder, example)
        if needed <= most:
            return encoder
    raise BottleneckError(
        f"the smallest encoder takes {needed / 1e6:.3g} million operations, the head before this "
        f"boundary {head_flops / 1e6:.3g}: more than {MOST_SHARE:.0%}. Choose a later boundary, or "
        f"fewer channels than {channels}"
    )
