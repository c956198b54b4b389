"""What an attacker on the edge server's side sees of an image, boundary by boundary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.codecs import codec_named
from dapdee_ros.codecs.bottleneck.file import LATENT_OUT, is_point
from dapdee_ros.codecs.bottleneck.message import decode_latent, encode_latent
from dapdee_ros.exits.bottlenecks import asked_codecs
from dapdee_ros.exits.runnable import Runnable
from dapdee_ros.runtime.bottleneck_codec import BottleneckCodec, bottleneck_codecs
from dapdee_ros.runtime.sent_boundary import sent_boundary

Arrived = Callable[[NDArray[np.uint8]], list[NDArray[Any]]]
"""What arrives on the other side of an image, uint8 ``(1, H, W, 3)``."""


@dataclass(frozen=True)
class Channel:
    """A boundary and how it is coded.

    Attributes:
        boundary: names of the tensors, in the DAG's order.
        codec: their codec.
        file_id: the bottleneck's, of one of its points; else empty.
        arrived: what arrives of an image: the tensors, of a bottleneck's point its latent.
    """

    boundary: tuple[str, ...]
    codec: str
    file_id: str
    arrived: Arrived


def channels(
    model: Runnable, boundaries: Sequence[tuple[str, ...]], codecs: Sequence[str]
) -> list[Channel]:
    """Every boundary with every codec that codes it, and the bottlenecks' points at theirs.

    Args:
        model: computes the boundaries.
        boundaries: names of tensors, in the DAG's order.
        codecs: names of codecs or groups (``exits.bottlenecks.asked_codecs``).

    Raises:
        CodecError: if there is no such codec.
    """
    dag = model.card.dag
    points = bottleneck_codecs(model.card, model.engine)
    found = []
    for codec in asked_codecs(model.card, codecs):
        if is_point(codec):
            point = points[codec]
            if tuple(point.boundary) in boundaries:
                file_id = point.network.file.id
                found.append(Channel(tuple(point.boundary), codec, file_id, _latent(model, point)))
            continue
        coder = codec_named(codec)
        for boundary in boundaries:
            nodes = [dag.by_name[name] for name in boundary]
            if all(coder.accepts(node.shape, node.dtype) for node in nodes):
                found.append(Channel(boundary, codec, "", _tensors(model, boundary, codec)))
    return sorted(found, key=lambda channel: boundaries.index(channel.boundary))


def _tensors(model: Runnable, boundary: tuple[str, ...], codec: str) -> Arrived:
    def arrived(image: NDArray[np.uint8]) -> list[NDArray[Any]]:
        tensors = model.engine.run({model.card.dag.input: image}, list(boundary))
        sent = sent_boundary({name: tensors[name] for name in boundary}, codec)
        return [sent.tensors[name] for name in boundary]

    return arrived


def _latent(model: Runnable, point: BottleneckCodec) -> Arrived:
    network = point.network

    def arrived(image: NDArray[np.uint8]) -> list[NDArray[Any]]:
        tensors = model.engine.run({model.card.dag.input: image}, list(point.boundary))
        latent = network.encoder.run(tensors)[LATENT_OUT]
        data = encode_latent(network.file, point.point, latent)
        return [decode_latent(network.file, point.point, np.frombuffer(data, np.uint8))]

    return arrived
