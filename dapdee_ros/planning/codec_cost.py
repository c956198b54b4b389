"""The cost of encoding a boundary: the planner's view of a codec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.codecs.camera_file import CAMERA
from dapdee_ros.graph.dag import Node


def unknown_codec(name: str, known: Sequence[str]) -> str:
    """Why there are no costs of a codec, and what to do, in words.

    Args:
        name: the codec.
        known: what there is instead.
    """
    if name == CAMERA:
        return (
            f"codec {name!r} cannot be planned with, no JPEGs come from the camera: have it "
            "publish image_raw/compressed (image_transport: compressed)"
        )
    return f"codec {name!r} is unknown; there are {', '.join(known)}"


class TensorCost(NamedTuple):
    """Coding one tensor: size in bytes, seconds to encode on the car and to decode on the edge."""

    coded_bytes: float
    encode_s: float = 0.0
    decode_s: float = 0.0


class CodecCost(Protocol):
    """A codec for the planner: sizes, times and quality loss."""

    @property
    def name(self) -> str:
        """The name that a plan and the wire carry."""

    def tensor(self, node: Node) -> TensorCost | None:
        """Cost of the output tensor of ``node``; None if this codec does not code it."""

    def quality_loss(self, exit_number: int, boundary: tuple[str, ...]) -> float | None:
        """Quality lost (0 to 1) at this exit and boundary; None if unknown: no candidate then."""


@dataclass(frozen=True)
class AsIs:
    """Tensors in their memory format: float32 stays float32, the uint8 input stays uint8.

    Attributes:
        name: ``f32``.
        seconds_per_byte: time for copying into and out of a message; 0 ignores it.
    """

    name: str = "f32"
    seconds_per_byte: float = 0.0

    def tensor(self, node: Node) -> TensorCost | None:
        """The tensor's size in memory."""
        copy_s = self.seconds_per_byte * node.output_bytes
        return TensorCost(node.output_bytes, copy_s, copy_s)

    def quality_loss(self, exit_number: int, boundary: tuple[str, ...]) -> float | None:
        """Nothing is lost."""
        return 0.0


@dataclass(frozen=True)
class MeasuredCodec:
    """A codec as calibration measured it.

    Attributes:
        name: the codec's name.
        tensors: cost by node name; a boundary with a tensor that is not in it is not a candidate.
        losses: quality lost by (exit number, boundary).
        default_loss: the loss of a boundary that is not in ``losses``; None: not a candidate.
        byte_quantiles: of a bottleneck's point, the bytes of a frame at 5, 25, 50, 75 and 95 %; its
            mean is what is planned with. Empty where only that is known.
    """

    name: str
    tensors: Mapping[str, TensorCost]
    losses: Mapping[tuple[int, tuple[str, ...]], float] = field(default_factory=dict)
    default_loss: float | None = None
    byte_quantiles: tuple[float, ...] = ()

    def tensor(self, node: Node) -> TensorCost | None:
        """The measured cost, None where nothing was measured."""
        return self.tensors.get(node.name)

    def quality_loss(self, exit_number: int, boundary: tuple[str, ...]) -> float | None:
        """The measured loss, else ``default_loss``."""
        return self.losses.get((exit_number, boundary), self.default_loss)


class GateOption(NamedTuple):
    """One calibrated setting of a gate, measured on the frames that really stop and go on.

    Attributes:
        gate: the exit that may end a frame.
        exit_number: the later exit that answers the others.
        threshold: confidence from which the gate ends a frame.
        share: share of frames that it ends, 0 to 1.
        quality: quality of the pair over all frames, 0 to 1.
    """

    gate: int
    exit_number: int
    threshold: float
    share: float
    quality: float


def quality_after(
    quality: float, loss: float | NDArray[np.float64], sent_share: float = 1.0
) -> Any:
    """The remaining quality if a codec loses some for the frames that are sent.

    Args:
        quality: of the exit, or of gate and exit together, over all frames, 0 to 1.
        loss: the codec's loss for a frame that is sent, 0 to 1; a number or ``(n,)``.
        sent_share: share of the frames that are sent, 0 to 1.

    Returns:
        Of the same shape as ``loss``, 0 or more.
    """
    return np.maximum(quality - sent_share * loss, 0.0)
