"""What a model's bottlenecks take on this machine: their networks and the coding of the latent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dapdee_ros.codecs import decode, encode
from dapdee_ros.codecs.bottleneck.file import timed_as
from dapdee_ros.planning.device_profile import CodecTime, DeviceProfile
from dapdee_ros.runtime.bottleneck_codec import bottleneck_codecs
from dapdee_ros.runtime.cold_calls import cold_times

if TYPE_CHECKING:
    from dapdee_ros.exits.card import ModelCard
    from dapdee_ros.runtime.split_network import RunnableModel

_BUDGET_S = 0.2
"""Seconds that a bottleneck's points are timed, if that is more than the rounds take."""

_LEAST_ROUNDS = 7


def are_timed(profile: DeviceProfile, card: ModelCard) -> bool:
    """Whether a profile holds what each of a model's bottlenecks takes."""
    return all(
        timed_as(codec, of.file.id) in profile.codecs
        for of in card.bottlenecks
        for codec in of.file.codecs
    )


def with_bottlenecks(profile: DeviceProfile, model: RunnableModel) -> DeviceProfile:
    """The profile with what each point of each bottleneck takes, measured now.

    The boundary is that of a random image, computed by the engine. What belonged to other files
    of the model is forgotten.

    Raises:
        BottleneckError: naming the file that cannot be used.
        EngineError: if a bottleneck's network cannot be compiled.
    """
    card, engine = model.card, model.engine
    sets = bottleneck_codecs(card, engine)
    times = {name: of for name, of in profile.codecs.items() if "#" not in name}
    if not sets:
        return replace(profile, codecs=times)
    node = card.dag.nodes[0]
    image = np.random.default_rng(0).integers(0, 256, node.shape).astype(node.dtype)
    for bottleneck in card.bottlenecks:
        boundary = list(bottleneck.file.boundary)
        tensors = engine.run({card.dag.input: image}, boundary)
        expected = {name: (tensors[name].shape, tensors[name].dtype.name) for name in boundary}
        codecs = bottleneck.file.codecs
        calls: list[Callable[[], object]] = [
            partial(encode, tensors, codec, sets) for codec in codecs
        ]
        for codec in codecs:
            specs, data = encode(tensors, codec, sets)
            calls.append(partial(decode, specs, data, codec, expected, sets=sets))
        seconds = cold_times(calls, _BUDGET_S, _LEAST_ROUNDS)
        for at, codec in enumerate(codecs):
            encode_s, decode_s = seconds[at], seconds[len(codecs) + at]
            times[timed_as(codec, bottleneck.file.id)] = CodecTime(encode_s, 0.0, decode_s, 0.0)
    return replace(profile, codecs=times)
