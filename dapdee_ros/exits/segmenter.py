"""A mobile segmenter with exits: each names every place's class from what is computed."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from dapdee_ros.exits.mobile_blocks import BACKBONE_BLOCKS, BACKBONE_WIDTHS, Stage, conv

STRIDE = 4
"""Pixels from one place of the logits to the next, of every exit."""

SIDE_STEP = 32
"""The sides of frames are multiples of it, in pixels: the stride of the coarsest map."""

EXITS = 3


class _Context(nn.Module):
    """What the whole map shows, added to each of its places.

    The image-level part of L.-C. Chen et al., "Rethinking Atrous Convolution for Semantic Image
    Segmentation", arXiv 1706.05587, section 3.3.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.mix(functional.adaptive_avg_pool2d(x, 1)))


class _Classifier(nn.Module):
    """Logits at stride 4 from a map at stride 8 and details at stride 4.

    As L.-C. Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image
    Segmentation", ECCV 2018: few channels of details are enough.
    """

    def __init__(self, inputs: int, details: int, width: int, classes: int, kernel: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(inputs, width, 1)
        self.detail = nn.Conv2d(details, width, 1)
        self.smooth = conv(width, width, kernel)
        self.classify = nn.Conv2d(width, classes, 1)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        wide = functional.interpolate(self.narrow(coarse), scale_factor=2.0, mode="nearest")
        return self.classify(self.smooth(functional.relu(wide + self.detail(fine))))


EARLY_PARTS = ("context1", "exit1", "lateral2", "context2", "smooth2", "exit2")
"""The modules of ``MobileSegmenter`` that only the exits before the deepest use."""


class MobileSegmenter(nn.Module):
    """A small convolutional backbone with three classifiers of places.

    The first exit sees maps at strides 4 and 8, the second adds stride 16, the third stride 32 and
    a wider top-down path (T.-Y. Lin et al., "Feature Pyramid Networks for Object Detection", CVPR
    2017).

    Args:
        classes: number of classes.
        widths: channels of the stem and of the four stages.
        blocks: blocks of the four stages.
        neck: channels of the deepest exit's pyramid.
        heads: channels of the three classifiers.
    """

    def __init__(
        self,
        classes: int,
        widths: Sequence[int] = BACKBONE_WIDTHS,
        blocks: Sequence[int] = BACKBONE_BLOCKS,
        neck: int = 96,
        heads: Sequence[int] = (32, 40, 48),
    ) -> None:
        super().__init__()
        stem, first, second, third, fourth = widths
        self.stem = conv(3, stem, stride=2)
        self.stage1 = Stage(stem, first, blocks[0])
        self.stage2 = Stage(first, second, blocks[1])
        self.stage3 = Stage(second, third, blocks[2])
        self.stage4 = Stage(third, fourth, blocks[3])
        self.context1 = _Context(second)
        self.exit1 = _Classifier(second, first, heads[0], classes, kernel=1)
        self.lateral2 = conv(third, second, 1)
        self.context2 = _Context(second)
        self.smooth2 = conv(second, second)
        self.exit2 = _Classifier(second, first, heads[1], classes, kernel=1)
        self.lateral3 = nn.ModuleList(
            [conv(second, neck, 1), conv(third, neck, 1), conv(fourth, neck, 1)]
        )
        self.context3 = _Context(neck)
        self.smooth3 = nn.ModuleList([conv(neck, neck), conv(neck, neck)])
        self.exit3 = _Classifier(neck, first, heads[2], classes, kernel=3)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Logits ``(B, classes, H / 4, W / 4)`` of every exit, for float32 ``(B, 3, H, W)``.

        H and W are multiples of 32.
        """
        fourth = self.stage1(self.stem(pixels))
        eighth = self.stage2(fourth)
        first = self.exit1(self.context1(eighth), fourth)
        sixteenth = self.stage3(eighth)
        second = self.exit2(
            self.smooth2(eighth + _twice(self.context2(self.lateral2(sixteenth)))), fourth
        )
        deep = self.context3(self.lateral3[2](self.stage4(sixteenth)))
        middle = self.smooth3[1](self.lateral3[1](sixteenth) + _twice(deep))
        high = self.smooth3[0](self.lateral3[0](eighth) + _twice(middle))
        return first, second, self.exit3(high, fourth)


def _twice(coarse: Tensor) -> Tensor:
    return functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
