"""What a network makes of a camera's image, as options with numbers. No torch in here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

RESIZE = ("stretch", "letterbox", "letterbox_corner")
"""``stretch`` scales each side by its own factor. ``letterbox`` keeps the aspect ratio and pads all
around; ``letterbox_corner`` has the image in the upper left corner and pads right and below."""

COLOURS = ("rgb", "bgr")

_LARGEST_SIDE = 1 << 14


@dataclass(frozen=True)
class InputSpec:
    """How an image becomes the numbers that a network computes with.

    The image is resized to ``size`` and handed to the network as uint8 ``(1, H, W, 3)``. Of each
    channel the network itself, inside ``model.onnx``, makes ``(pixel * scale - mean) / std``.

    Attributes:
        size: height and width of the network's input in pixels.
        mean: what is subtracted from each channel, in the order of ``colour``.
        std: what each channel is divided by then.
        resize: one of ``RESIZE``.
        colour: the order of the channels that the network expects, one of ``COLOURS``.
        scale: what each byte is multiplied by first.
        pad_value: the byte around the image if it is letterboxed.

    Raises:
        ValueError: at construction, naming the value and what it should be.

    >>> InputSpec((64, 64), (0.5, 0.5, 0.5), (0.2, 0.2, 0.2)).to_dict()["resize"]
    'stretch'
    >>> InputSpec((64, 64), (0.5, 0.5, 0.5), (0.2, 0.0, 0.2))
    Traceback (most recent call last):
    ValueError: std must be 3 positive numbers, got (0.2, 0.0, 0.2)
    """

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: str = "stretch"
    colour: str = "rgb"
    scale: float = 1 / 255
    pad_value: int = 0

    def __post_init__(self) -> None:
        if len(self.size) != 2 or not all(1 <= side <= _LARGEST_SIDE for side in self.size):
            raise ValueError(
                f"size must be a height and a width of 1 to {_LARGEST_SIDE} pixels, got {self.size}"
            )
        if len(self.mean) != 3 or not all(map(math.isfinite, self.mean)):
            raise ValueError(f"mean must be 3 finite numbers, got {self.mean}")
        if len(self.std) != 3 or not all(math.isfinite(v) and v > 0 for v in self.std):
            raise ValueError(f"std must be 3 positive numbers, got {self.std}")
        if self.resize not in RESIZE:
            raise ValueError(f"resize must be one of {list(RESIZE)}, got {self.resize!r}")
        if self.colour not in COLOURS:
            raise ValueError(f"colour must be one of {list(COLOURS)}, got {self.colour!r}")
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"scale must be a positive number, got {self.scale}")
        if not 0 <= self.pad_value <= 255:
            raise ValueError(f"pad_value must be a byte, 0 to 255, got {self.pad_value}")

    @classmethod
    def of(
        cls, size: Sequence[int], mean: Sequence[float], std: Sequence[float], **others: Any
    ) -> InputSpec:
        """The same from any sequences of numbers.

        Raises:
            ValueError: as at construction.
        """
        sides: Any = tuple(int(side) for side in size)
        means: Any = tuple(float(v) for v in mean)
        stds: Any = tuple(float(v) for v in std)
        return cls(sides, means, stds, **others)

    def to_dict(self) -> dict[str, Any]:
        """The options as plain JSON values; ``from_dict`` reads them back."""
        return {
            "size": list(self.size),
            "mean": list(self.mean),
            "std": list(self.std),
            "resize": self.resize,
            "colour": self.colour,
            "scale": self.scale,
            "pad_value": self.pad_value,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> InputSpec:
        """Build it from ``to_dict``'s values; what is absent beside size, mean and std is default.

        Raises:
            KeyError: if size, mean or std is missing.
            TypeError: if a value is of another kind.
            ValueError: if a value is out of range, or an option is unknown.
        """
        known = ("size", "mean", "std", "resize", "colour", "scale", "pad_value")
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"the input has options {unknown}, known are {list(known)}")
        others: dict[str, Any] = {}
        for key, kind in (("resize", str), ("colour", str), ("scale", float), ("pad_value", int)):
            if key in values:
                others[key] = kind(values[key])
        return cls.of(values["size"], values["mean"], values["std"], **others)
