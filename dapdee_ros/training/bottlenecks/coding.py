"""The network of a bottleneck: an encoder for the car, a decoder for the edge server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import log2, prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from dapdee_ros.codecs.bottleneck.file import BottleneckError
from dapdee_ros.graph.flops import FlopCounter

MOST_SHARE = 0.1
"""Most that an encoder may take of the work of the head before it."""

_WIDTHS = (96, 80, 64, 48, 40, 32, 24, 16, 12, 8)
_LEAST_SIDE = 4
_STRIDE = 16
"""Pixels from one cell of the latent to the next, where the boundary is finer than that."""

_DECODER_WIDTHS = 24, 96
"""A decoder is as wide as the latent, between these, and two thirds of it on finer grids."""

_ANY_VALUE = torch.finfo(torch.float32).min
"""The least value of a tensor of which nothing is known."""

_MOST_LINEAR = 0.7
"""Most of an encoder's work that its shortcut may take; else there is none."""


class Encoder(nn.Module):
    """Strided convolutions that bring a boundary to the latent's grid, beside a linear shortcut.

    The shortcut, one strided convolution per tensor, is begun with the principal components of the
    boundary (``start_linear``); what the rest adds is learned. The input is scaled per channel by
    what was measured on the boundary, so that no batch norms are needed, whose statistics would
    move the latent under the quantiser.

    Args:
        shapes: of the boundary's tensors, ``(1, C, H, W)``.
        channels: of the latent.
        grid: height and width of the latent.
        width: channels before the latent.
        kernel: of the strided convolutions before the last.
        linear: whether there is a shortcut.
    """

    def __init__(
        self,
        shapes: Sequence[tuple[int, ...]],
        channels: int,
        grid: tuple[int, int],
        width: int,
        kernel: int,
        linear: bool = True,
    ) -> None:
        super().__init__()
        self.folded = False
        self.branches, self.linear = nn.ModuleList(), nn.ModuleList()
        for number, (_, inputs, height, _) in enumerate(shapes):
            halvings = round(log2(height / grid[0]))
            if linear:
                side = 2**halvings
                self.linear.append(nn.Conv2d(inputs, channels, side, stride=side))
            self.register_buffer(f"scale{number}", torch.ones(1, inputs, 1, 1))
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
        self.latent = nn.Conv2d(width * len(shapes), channels, 1)

    def forward(self, boundary: Sequence[Tensor]) -> Tensor:
        """The latent, float32 ``(B, C, h, w)``, not quantised."""
        scaled = [
            tensor if self.folded else tensor / getattr(self, f"scale{number}")
            for number, tensor in enumerate(boundary)
        ]
        maps = [branch(tensor) for branch, tensor in zip(self.branches, scaled, strict=True)]
        latent: Tensor = self.latent(torch.cat(maps, 1) if len(maps) > 1 else maps[0])
        for shortcut, tensor in zip(self.linear, scaled, strict=False):
            latent = latent + shortcut(tensor)
        return latent

    def start_linear(self, components: Tensor, bias: Tensor) -> None:
        """Begin with a linear map of patches alone.

        Args:
            components: of the patches, ``(C, D)``; see ``components.principal_components``.
            bias: ``(C,)``.
        """
        with torch.no_grad():
            self.latent.weight.zero_()
            _bias(self.latent).zero_()
            start = 0
            for shortcut in map(_convolution, self.linear):
                size = shortcut.weight[0].numel()
                part = components[:, start : start + size]
                shortcut.weight.copy_(part.view_as(shortcut.weight))
                _bias(shortcut).copy_(bias / len(self.linear))
                start += size

    def fold(self) -> None:
        """Put the scales into the convolutions: the same results with less work."""
        self._scale_by(lambda scale: 1 / scale)
        self.folded = True

    def unfold(self) -> None:
        """Undo ``fold``, with the scales as they are now."""
        self._scale_by(lambda scale: scale)
        self.folded = False

    def _scale_by(self, factor: Callable[[Tensor], Tensor]) -> None:
        with torch.no_grad():
            for number, branch in enumerate(self.branches):
                readers = [_convolutions(branch)[0], *map(_convolution, self.linear[number:][:1])]
                for reader in readers:
                    reader.weight.mul_(factor(getattr(self, f"scale{number}")))


class _Block(nn.Module):
    """A pointwise convolution to half the channels, a 3x3 back to all, and a skip connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, channels // 2, 1)
        self.expand = nn.Conv2d(channels // 2, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.expand(functional.relu(self.reduce(functional.relu(x))))


class Decoder(nn.Module):
    """Blocks on the latent's grid, then steps up to the boundary's, beside a linear shortcut.

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
        least, most = _DECODER_WIDTHS
        width = max(least, min(channels, most) // 6 * 6)
        self.trunk = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), *(_Block(width) for _ in range(blocks))
        )
        self.branches, self.linear = nn.ModuleList(), nn.ModuleList()
        for number, (_, outputs, height, _) in enumerate(shapes):
            doublings = round(log2(height / grid[0]))
            inputs, layers = width, list[nn.Module]()
            for step in range(doublings):
                fine = max(32, (2 * width // 3) >> step)
                layers += [
                    nn.ReLU(),
                    nn.Conv2d(inputs, 4 * fine, 1),
                    nn.PixelShuffle(2),
                    *(_Block(fine) for _ in range(2)),
                ]
                inputs = fine
            layers += [nn.ReLU(), nn.Conv2d(inputs, outputs, 1)]
            self.branches.append(nn.Sequential(*layers))
            side = 2**doublings
            self.linear.append(
                nn.Sequential(nn.Conv2d(channels, outputs * side**2, 1), nn.PixelShuffle(side))
            )
            self.register_buffer(f"scale{number}", torch.ones(1, outputs, 1, 1))
            self.register_buffer(f"offset{number}", torch.zeros(1, outputs, 1, 1))
            # 0 where the boundary holds no negative values, as after a ReLU. Finite, as all that a
            # checkpoint holds.
            self.register_buffer(f"least{number}", torch.tensor(_ANY_VALUE))

    def forward(self, latent: Tensor) -> tuple[Tensor, ...]:
        """The boundary's tensors, restored, from a quantised latent ``(B, C, h, w)``."""
        trunk = self.trunk(latent)
        restored = []
        for number, (branch, shortcut) in enumerate(zip(self.branches, self.linear, strict=True)):
            tensor = branch(trunk) + shortcut(latent)
            if not self.folded:
                tensor = tensor * getattr(self, f"scale{number}") + getattr(self, f"offset{number}")
            if getattr(self, f"least{number}") == 0:
                tensor = functional.relu(tensor)
            restored.append(tensor)
        return tuple(restored)

    def start_linear(self, components: Tensor) -> None:
        """Begin with the sums of the components alone; see ``Encoder.start_linear``."""
        with torch.no_grad():
            start = 0
            for branch, shortcut in zip(self.branches, self.linear, strict=True):
                last, linear = _convolutions(branch)[-1], _convolutions(shortcut)[0]
                last.weight.zero_()
                _bias(last).zero_()
                part = components[:, start : start + linear.out_channels]
                linear.weight.copy_(part.t()[:, :, None, None])
                _bias(linear).zero_()
                start += linear.out_channels

    def fold(self) -> None:
        """Put scales and offsets into the convolutions: the same results with less work."""
        with torch.no_grad():
            for number, branch in enumerate(self.branches):
                scale, offset = self._of(number)
                for last, each in self._last(number, scale):
                    last.weight *= each[:, None, None, None]
                    _bias(last).mul_(each)
                _bias(_convolutions(branch)[-1]).add_(offset)
        self.folded = True

    def unfold(self) -> None:
        """Undo ``fold``, with the scales and offsets as they are now."""
        with torch.no_grad():
            for number, branch in enumerate(self.branches):
                scale, offset = self._of(number)
                _bias(_convolutions(branch)[-1]).sub_(offset)
                for last, each in self._last(number, scale):
                    last.weight /= each[:, None, None, None]
                    _bias(last).div_(each)
        self.folded = False

    def _of(self, number: int) -> tuple[Tensor, Tensor]:
        scale, offset = getattr(self, f"scale{number}"), getattr(self, f"offset{number}")
        return scale.flatten(), offset.flatten()

    def _last(self, number: int, scale: Tensor) -> list[tuple[nn.Conv2d, Tensor]]:
        """The convolutions that a tensor comes from, with a scale for each of their outputs."""
        linear = _convolutions(self.linear[number])[0]
        spread = scale.repeat_interleave(linear.out_channels // len(scale))
        return [(_convolutions(self.branches[number])[-1], scale), (linear, spread)]


def _convolution(module: nn.Module) -> nn.Conv2d:
    return _convolutions(module)[0]


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
    values = sum(prod(shape) for shape in shapes)
    linear = 2 * values * channels <= _MOST_LINEAR * most
    needed = 0
    for width, kernel in product(_WIDTHS, (3, 2)):
        encoder = Encoder(shapes, channels, grid, width, kernel, linear)
        needed = flops_of(encoder, example)
        if needed <= most:
            return encoder
    raise BottleneckError(
        f"the smallest encoder takes {needed / 1e6:.3g} million operations, the head before this "
        f"boundary {head_flops / 1e6:.3g}: more than {MOST_SHARE:.0%}. Choose a later boundary, or "
        f"fewer channels than {channels}"
    )
