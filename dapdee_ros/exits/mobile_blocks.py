"""Convolutional parts that detectors and segmenters share."""

from __future__ import annotations

from torch import Tensor, nn

BACKBONE_WIDTHS = (24, 40, 80, 144, 224)
"""Channels of the stem and of the four stages, the same in the networks of every task, so that the
training of one can start with the backbone of another."""

BACKBONE_BLOCKS = (1, 2, 3, 2)
"""Blocks of the four stages."""


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution that keeps the map's size, or halves it; batch norm; ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Block(nn.Module):
    """A 1x1 convolution to half the channels, a 3x3 back to all, and a skip connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = conv(channels, channels // 2, kernel=1)
        self.expand = conv(channels // 2, channels)

    def forward(self, x: Tensor) -> Tensor:
        """A map of the same shape."""
        return x + self.expand(self.reduce(x))


class Stage(nn.Sequential):
    """Halve the map, then some blocks."""

    def __init__(self, inputs: int, outputs: int, blocks: int) -> None:
        super().__init__(conv(inputs, outputs, stride=2), *(Block(outputs) for _ in range(blocks)))
