"""Codecs with what a message takes on the link beside its data, so that plans count it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dapdee_ros.graph.dag import Node
from dapdee_ros.planning.codec_cost import CodecCost, TensorCost
from dapdee_ros.planning.policy import Problem
from dapdee_ros.simulation.scenario import Wire

_WIRE = Wire()

FRAMED_WIRE = Wire(
    frame_bytes=0,
    answer_bytes=round(_WIRE.on_link(_WIRE.answer_bytes)),
    probe_bytes=round(_WIRE.on_link(_WIRE.probe_bytes)),
    packet_header_bytes=0,
)
"""The same wire where a boundary's bytes have its header in them already."""


@dataclass(frozen=True)
class Framed:
    """A codec, with what a message takes on the link beside its data.

    On a slow link that is as much as a small coded tensor itself. Boundaries of several tensors are
    charged a message each.

    Attributes:
        codec: the codec.
    """

    codec: CodecCost

    @property
    def name(self) -> str:
        """The codec's own name."""
        return self.codec.name

    def tensor(self, node: Node) -> TensorCost | None:
        """The codec's cost, the bytes as they are on the link."""
        cost = self.codec.tensor(node)
        if cost is None:
            return None
        message_bytes = cost.coded_bytes + _WIRE.frame_bytes
        return cost._replace(coded_bytes=_WIRE.on_link(message_bytes))

    def quality_loss(self, exit_number: int, boundary: tuple[str, ...]) -> float | None:
        """The codec's own."""
        return self.codec.quality_loss(exit_number, boundary)


def framed(problem: Problem) -> Problem:
    """The same with what messages take on the link; to be simulated over ``FRAMED_WIRE``."""
    return replace(problem, codecs=[Framed(codec) for codec in problem.codecs])
