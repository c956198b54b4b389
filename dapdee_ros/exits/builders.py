"""Backbones by name, so that ``model.json`` needs no pickled code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dapdee_ros.graph.torchvision_import import torchvision


class BuilderError(ValueError):
    """A network that cannot be built by that name or with those arguments."""


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class _Residual(nn.Module):
    """Two 3x3 convolutions with a skip connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv(channels, channels)
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.second(self.first(x)) + x)


class _Stage(nn.Module):
    """Expand, convolve, and project to a narrow neck: a cheap place to cut."""

    def __init__(self, inputs: int, width: int, blocks: int, neck: int, pool: bool) -> None:
        super().__init__()
        self.widen = _conv(inputs, width)
        self.blocks = nn.Sequential(*(_Residual(width) for _ in range(blocks)))
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()
        self.neck = _conv(width, neck, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.neck(self.pool(self.blocks(self.widen(x))))


class RoadSignNet(nn.Module):
    """A small residual network for 64x64 frames whose stages end in narrow necks.

    Input float32 ``(B, 3, H, W)``, H and W multiples of 32. At 64x64 the maps at the necks have
    sides 16, 8, 8 and 4: with the usual channels 16, 8, 4 and 2 kB in float32, against 12 kB for
    the uint8 frame, so there is something to gain from cutting late.

    Args:
        classes: number of classes.
        width: what every width is multiplied by.
        widths: channels of the stem and of the five stages.
        blocks: residual blocks in the first four stages.
        necks: channels of the four necks.
    """

    def __init__(
        self,
        classes: int,
        width: float = 1.0,
        widths: Sequence[int] = (32, 32, 64, 128, 128, 192),
        blocks: Sequence[int] = (1, 2, 2, 3),
        necks: Sequence[int] = (16, 32, 16, 32),
    ) -> None:
        super().__init__()
        stem, first, second, third, fourth, fifth = (max(8, int(w * width)) for w in widths)
        self.stem = _conv(3, stem, stride=2)
        self.stage1 = _Stage(stem, first, blocks[0], necks[0], pool=True)
        self.stage2 = _Stage(necks[0], second, blocks[1], necks[1], pool=True)
        self.stage3 = _Stage(necks[1], third, blocks[2], necks[2], pool=False)
        self.stage4 = _Stage(necks[2], fourth, blocks[3], necks[3], pool=True)
        self.stage5 = nn.Sequential(_conv(necks[3], fifth), _Residual(fifth))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Linear(fifth, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, classes)``."""
        x = self.stage4(self.stage3(self.stage2(self.stage1(self.stem(x)))))
        x = torch.flatten(self.pool(self.stage5(x)), 1)
        return self.classifier(self.dropout(x))


class VggCifar(nn.Module):
    """VGG16 with batch norm for 32x32 frames: its 13 convolutions and a linear classifier.

    After K. Simonyan and A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
    Recognition", 2015, configuration D. The three linear layers for 224x224 frames are one here, as
    is usual at 32x32, where the last map is a single pixel.
    """

    _WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))

    def __init__(self, classes: int, dropout: float = 0.3) -> None:
        super().__init__()
        inputs = 3
        blocks = []
        for widths in self._WIDTHS:
            layers = []
            for outputs in widths:
                layers.append(_conv(inputs, outputs))
                inputs = outputs
            # Rounded up, so that training may begin with smaller frames; at 32x32 nothing changes.
            blocks.append(nn.Sequential(*layers, nn.MaxPool2d(2, ceil_mode=True)))
        self.features = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(512, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, classes)``."""
        return self.classifier(self.dropout(torch.flatten(self.features(x), 1)))


class AlexNetCifar(nn.Module):
    """AlexNet's five convolutions and three linear layers, sized for 32x32 frames.

    After A. Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks",
    2012; strides and kernels of the first layers fit the smaller frame, and batch norm takes the
    place of local response normalisation.
    """

    def __init__(self, classes: int, dropout: float = 0.4) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Sequential(_conv(3, 64, kernel=5), nn.MaxPool2d(2)),
            nn.Sequential(_conv(64, 192, kernel=3), nn.MaxPool2d(2)),
            _conv(192, 384),
            _conv(384, 256),
            nn.Sequential(_conv(256, 256), nn.MaxPool2d(2)),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(256 * 4 * 4, 512),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(512, 512),
            nn.ReLU(inplace=True),
            nn.Linear(512, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, classes)``."""
        return self.classifier(torch.flatten(self.features(x), 1))


BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "roadsigns": RoadSignNet,
    "vgg16-cifar": VggCifar,
    "alexnet-cifar": AlexNetCifar,
}

# Default exit positions; other backbones get them by FLOPs.
DEFAULT_TAPS: dict[str, tuple[str, ...]] = {
    "roadsigns": ("stage1.neck.2", "stage2.neck.2", "stage3.neck.2", "stage4.neck.2"),
    "vgg16-cifar": ("features.1.2", "features.2.1.2", "features.2.3"),
    "alexnet-cifar": ("features.0.1", "features.1.1", "features.3.2"),
}


def build_backbone(builder: str, classes: int, **arguments: Any) -> nn.Module:
    """Build a network with fresh weights.

    Args:
        builder: a name of ``BUILDERS``, or of a torchvision classification model.
        classes: number of classes.
        arguments: passed to the builder.

    Raises:
        BuilderError: if there is no such builder, or it does not take these arguments.
    """
    try:
        if builder in BUILDERS:
            return BUILDERS[builder](classes, **arguments)
        if builder in torchvision.models.list_models(module=torchvision.models):
            if builder in ("googlenet", "inception_v3"):
                # Their auxiliary outputs would make the training graph differ from the other.
                arguments = {"aux_logits": False, "init_weights": True, **arguments}
            return torchvision.models.get_model(
                builder, weights=None, num_classes=classes, **arguments
            )
    except (TypeError, ValueError) as error:
        raise BuilderError(f"{builder} cannot be built with {arguments}: {error}") from error
    raise BuilderError(
        f"no network called {builder!r}: there are {', '.join(BUILDERS)} and torchvision's "
        "classification models (resnet18, mobilenet_v2, ...)"
    )
