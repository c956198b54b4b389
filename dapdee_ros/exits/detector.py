"""A mobile detector with exits: each finds objects at three scales from what is computed so far."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dapdee_ros.exits.mobile_blocks import BACKBONE_BLOCKS, BACKBONE_WIDTHS, Stage, conv

STRIDES = (8, 16, 32)
"""Pixels from one cell to the next, of the three grids that every exit predicts on."""

EXITS = 3


class _Head(nn.Module):
    """Rows of x, y, log w, log h, objectness and class scores from the map of one scale."""

    def __init__(self, inputs: int, width: int, classes: int) -> None:
        super().__init__()
        self.stem = conv(inputs, width, kernel=1)
        self.tower = conv(width, width)
        self.place = nn.Conv2d(width, 5, 1)
        self.classify = nn.Conv2d(width, classes, 1)
        # At first nearly every cell is background: without this the loss begins far off
        # (T.-Y. Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, section 4.1).
        nn.init.constant_(self.place.bias[4:], -4.6)  # type: ignore[index]
        nn.init.constant_(self.classify.bias, -4.6)  # type: ignore[arg-type]

    def forward(self, level: Tensor) -> Tensor:
        x = self.tower(self.stem(level))
        place, classes = self.place(x), self.classify(x)
        if not self.training:
            place = torch.cat([place[:, :4], place[:, 4:].sigmoid()], 1)
            classes = classes.sigmoid()
        return torch.cat([place, classes], 1).flatten(2)


class Predictor(nn.Module):
    """From three maps of one width to rows of x, y, log w, log h, objectness and class scores.

    The layout of YOLOX (Z. Ge et al., "YOLOX: Exceeding YOLO Series in 2021", arXiv 2107.08430).
    Every scale has layers of its own: batch norms that several scales share would be trained with
    the statistics of one scale at a time and used with a mixture of all.
    """

    def __init__(self, inputs: int, width: int, classes: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(_Head(inputs, width, classes) for _ in STRIDES)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """``(B, cells, 5 + classes)``; scores as logits in training, else as probabilities."""
        rows = [head(level) for head, level in zip(self.heads, maps, strict=True)]
        return torch.cat(rows, 2).transpose(1, 2)


EARLY_PARTS = ("exit1", "lateral2", "exit2")
"""The modules of ``MobileDetector`` that only the exits before the deepest use."""


class MobileDetector(nn.Module):
    """A small convolutional backbone with three predictors, the deepest on a feature pyramid.

    The first exit predicts from the map at stride 8 alone, the second adds stride 16, the third
    stride 32 and a wider top-down path (T.-Y. Lin et al., "Feature Pyramid Networks for Object
    Detection", CVPR 2017).

    Args:
        classes: number of classes.
        widths: channels of the stem and of the four stages.
        blocks: blocks of the four stages.
        neck: channels of the deepest exit's pyramid.
        predictor: channels of the earlier exits' pyramids and predictors.
    """

    def __init__(
        self,
        classes: int,
        widths: Sequence[int] = BACKBONE_WIDTHS,
        blocks: Sequence[int] = BACKBONE_BLOCKS,
        neck: int = 96,
        predictor: int = 40,
    ) -> None:
        super().__init__()
        stem, first, second, third, fourth = widths
        self.stem = conv(3, stem, stride=2)
        self.stage1 = Stage(stem, first, blocks[0])
        self.stage2 = Stage(first, second, blocks[1])
        self.stage3 = Stage(second, third, blocks[2])
        self.stage4 = Stage(third, fourth, blocks[3])
        self.exit1 = Predictor(second, predictor, classes)
        self.lateral2 = nn.ModuleList([conv(second, predictor, 1), conv(third, predictor, 1)])
        self.exit2 = Predictor(predictor, predictor, classes)
        self.lateral3 = nn.ModuleList(
            [conv(second, neck, 1), conv(third, neck, 1), conv(fourth, neck, 1)]
        )
        self.smooth3 = nn.ModuleList([conv(neck, neck), conv(neck, neck)])
        self.exit3 = Predictor(neck, neck, classes)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Rows ``(B, cells, 5 + classes)`` of every exit, for float32 ``(B, 3, H, W)``."""
        eighth = self.stage2(self.stage1(self.stem(pixels)))
        half = functional.max_pool2d(eighth, 2)
        first = self.exit1([eighth, half, functional.max_pool2d(half, 2)])
        sixteenth = self.stage3(eighth)
        fine, coarse = self.lateral2[0](eighth), self.lateral2[1](sixteenth)
        fine = fine + functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
        second = self.exit2([fine, coarse, functional.max_pool2d(coarse, 2)])
        deep = self.lateral3[2](self.stage4(sixteenth))
        middle = self.lateral3[1](sixteenth)
        middle = middle + functional.interpolate(deep, scale_factor=2.0, mode="nearest")
        middle = self.smooth3[1](middle)
        high = self.lateral3[0](eighth)
        high = high + functional.interpolate(middle, scale_factor=2.0, mode="nearest")
        third = self.exit3([self.smooth3[0](high), middle, deep])
        return first, second, third
