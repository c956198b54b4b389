"""Trainable networks by the description that a model's card holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dapdee_ros.exits import detector, segmenter
from dapdee_ros.exits.builders import BuilderError
from dapdee_ros.exits.multi_exit import ImageInput, MultiExit


class _Kind(NamedTuple):
    """A network with exits of its own.

    Attributes:
        make: builds it.
        exits: how many it has.
        side_step: what its frames' sides are multiples of, in pixels.
        early_parts: its modules that only the exits before the deepest use.
    """

    make: Callable[..., nn.Module]
    exits: int
    side_step: int
    early_parts: tuple[str, ...]


DETECTORS: Mapping[str, _Kind] = {
    "mobile-detector": _Kind(
        detector.MobileDetector, detector.EXITS, detector.STRIDES[-1], detector.EARLY_PARTS
    )
}
"""Detectors with exits of their own, by name; all have the layout of YOLOX and ``STRIDES``."""

SEGMENTERS: Mapping[str, _Kind] = {
    "mobile-segmenter": _Kind(
        segmenter.MobileSegmenter, segmenter.EXITS, segmenter.SIDE_STEP, segmenter.EARLY_PARTS
    )
}
"""Segmenters with exits of their own, by name; all put out logits."""

EXIT_NETWORKS: Mapping[str, _Kind] = {**DETECTORS, **SEGMENTERS}
"""All networks with exits of their own."""


class ExitNetwork(nn.Module):
    """A network that has exits of its own, behind the conversion of the camera's bytes.

    Args:
        network: takes float32 ``(B, 3, H, W)``, returns what each exit computes.
        exits: how many it has.
        early_parts: its modules that only the exits before the deepest use.
        input_size: height and width of the input in pixels.
        mean: per channel, of values from 0 to 1.
        std: per channel.
    """

    def __init__(
        self,
        network: nn.Module,
        exits: int,
        early_parts: Sequence[str],
        *,
        input_size: tuple[int, int],
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.exits = exits
        self._early_parts = tuple(early_parts)
        self.normalise = ImageInput(mean, std)
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """What every exit computes, shallowest first, for uint8 ``(B, H, W, 3)``."""
        pixels = self.normalise(image)
        if self.training:
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        outputs: tuple[Tensor, ...] = self.network(pixels)
        return outputs

    def deep_parts(self) -> list[nn.Module]:
        """The modules that the deepest exit uses."""
        named = self.network.named_children()
        return [module for name, module in named if name not in self._early_parts]


Network = MultiExit | ExitNetwork
"""What can be trained and stored: it takes uint8 ``(B, H, W, 3)``."""


def exit_architecture(builder: str, classes: int, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The description from which ``build_exit_network`` rebuilds a network."""
    return {"builder": builder, "classes": classes, "arguments": dict(arguments)}


def build_exit_network(
    architecture: Mapping[str, Any],
    input_size: tuple[int, int],
    mean: Sequence[float],
    std: Sequence[float],
) -> ExitNetwork:
    """A network with exits of its own and fresh weights, from its description.

    Raises:
        BuilderError: if there is no such network, it does not take these arguments, or frames of
            that size.
    """
    try:
        name, classes = architecture["builder"], int(architecture["classes"])
        arguments = architecture["arguments"]
        if name not in EXIT_NETWORKS:
            raise BuilderError(
                f"no network with exits of its own called {name!r}: there are "
                f"{', '.join(EXIT_NETWORKS)}"
            )
        kind = EXIT_NETWORKS[name]
        network = kind.make(classes, **arguments)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, BuilderError):
            raise
        raise BuilderError(
            f"the network cannot be built from {dict(architecture)}: "
            f"{type(error).__name__}: {error}"
        ) from error
    if any(side % kind.side_step or side < 1 for side in input_size):
        raise BuilderError(
            f"{name} takes frames whose sides are multiples of {kind.side_step} pixels, got "
            f"{input_size[0]}x{input_size[1]}: choose another --size"
        )
    return ExitNetwork(
        network, kind.exits, kind.early_parts, input_size=input_size, mean=mean, std=std
    )


def detection_task(score: float = 0.05) -> dict[str, Any]:
    """The task of the detectors in ``DETECTORS``, as a model's card holds it.

    Args:
        score: least score of a box.
    """
    return {
        "name": "detection",
        "decoder": "yolox",
        "strides": list(detector.STRIDES),
        "score": score,
    }


def segmentation_task() -> dict[str, Any]:
    """The task of the segmenters in ``SEGMENTERS``, as a model's card holds it."""
    # On road scenes cells of two pixels alone would cost three points of mean IoU.
    return {"name": "segmentation", "decoder": "logits", "cell_px": 1}
