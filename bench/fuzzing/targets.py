"""The kinds of messages that have an effect, real ones of each, and what looks at them first."""

from __future__ import annotations

import random
import shutil
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header

import dapdee_ros.msg as msg
from bench.fuzzing.constructed import constructed
from bench.fuzzing.spoiling import spoil_fields, spoiled_bytes
from dapdee_ros.codecs import CODEC_NAMES, CodecError, encode
from dapdee_ros.codecs.bottleneck.file import FOLDER
from dapdee_ros.codecs.cdr_check import CdrError
from dapdee_ros.core.frames import HeadFrame, Status
from dapdee_ros.core.head_frame import answer_fault
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.graph.dag import GraphError
from dapdee_ros.nodes.conversions import (
    head_frame_to_message,
    message_to_frame_plan,
    message_to_head_frame,
    message_to_profile,
    message_to_tail_answer,
    profile_to_message,
)
from dapdee_ros.nodes.topics import message_layout
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.errors import ProfileError
from dapdee_ros.runtime.finishing import FrameRefused, check_frame
from dapdee_ros.runtime.split_network import SplitNetwork

if TYPE_CHECKING:
    from dapdee_ros.exits.model_folder import LoadedModel

MODEL = "roadsigns"
BOTTLENECK, BOUNDARY = "pool", "backbone.stage2.pool"


class Refused(Exception):
    """A message was turned down as it should be; the message says why."""


@dataclass
class Target:
    """One kind of message and what looks at it.

    Attributes:
        kind: its type.
        real: real ones, serialised.
        check: takes one as far as it gets without an effect; raises Refused if it is no good.
    """

    kind: type
    real: list[bytes]
    check: Callable[[Any], None]

    def spoiled(self, dice: random.Random) -> bytes:
        """A spoiled one, serialised."""
        data = dice.choice(self.real)
        which = dice.random()
        if which < 0.2:
            made = constructed(data, dice)
            return made + b"\0" * (-len(made) % 4)
        if which < 0.6:
            spoiled = spoiled_bytes(data, dice)
            # DDS fills payloads up to words, so a last byte that is missing is there on arrival.
            return spoiled + b"\0" * (-len(spoiled) % 4)
        while True:
            message = deserialize_message(data, self.kind)
            spoil_fields(message, dice)
            try:
                return bytes(serialize_message(message))
            except RuntimeError:
                continue  # longer than its bound: a serialiser of that type does not say so

    def verdict(self, data: bytes) -> str:
        """``passed``, ``unreadable`` or why it was refused."""
        try:
            message_layout(self.kind).check(data)
            message = deserialize_message(data, self.kind)
        except (CdrError, RuntimeError):
            return "unreadable"
        try:
            self.check(message)
        except Refused as refused:
            return f"refused: {refused}"
        return "passed"


def load_network(place: Path) -> SplitNetwork:
    """The default model, with a profile in which every node takes a tenth of a millisecond.

    Its copy with a bottleneck of random weights lies in ``place / MODEL`` afterwards.
    """
    from dapdee_ros.exits.model_folder import load_model

    folder = place / MODEL
    shutil.copytree(find_model(MODEL), folder)
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    _add_bottleneck(folder)
    return _network(load_model(folder))


def _add_bottleneck(folder: Path) -> None:
    from support.bottleneck_maker import description, network, with_description

    card = read_card(folder)
    shape = card.dag.by_name[BOUNDARY].shape
    rng = np.random.default_rng(0)
    axes = rng.normal(0, 0.1, (8, shape[1])).astype(np.float32)
    latents = rng.laplace(0, 1, (6, 8, *shape[2:])).astype(np.float32)
    values = description(BOTTLENECK, card.model_id, [BOUNDARY], latents)
    content = with_description(
        network({BOUNDARY: shape}, np.zeros(shape[1], np.float32), axes), values
    )
    (folder / FOLDER).mkdir()
    (folder / FOLDER / f"{BOTTLENECK}.onnx").write_bytes(content)


def _network(model: LoadedModel) -> SplitNetwork:
    seconds = {node.name: 1e-4 for node in model.card.dag.nodes}
    return SplitNetwork(model, DeviceProfile(model.card.model_id, "made up", 1, seconds, "now"))


def targets(network: SplitNetwork) -> dict[str, Target]:
    """All kinds of messages that come over the network and have an effect."""
    card = network.card
    dag, exits = card.dag, len(card.dag.exits)
    cuts: list[tuple[str, ...]] = [(dag.input,), (BOUNDARY,)]
    for node in dag.nodes[3::9]:
        part = dag.exit_part(exits)
        if node.name in part:
            boundary = dag.boundary(dag.ancestors([node.name]), exits)
            cuts += [tuple(boundary)] if boundary else []
    rng = np.random.default_rng(0)
    tensors: list[bytes] = []
    plans: list[bytes] = []
    for number, cut in enumerate(cuts):
        arrays = {
            name: np.maximum(rng.normal(size=dag.by_name[name].shape) * 40, 0).astype(
                dag.by_name[name].dtype
            )
            for name in cut
        }
        points = [c for c, of in network.sets.items() if (*of.boundary,) == cut]
        # As often as all fixed codecs of all cuts together.
        for codec in (*CODEC_NAMES, *(len(cuts) * 2 * points)):
            try:
                specs, data = encode(arrays, codec, network.sets)
            except CodecError:
                continue
            frame = HeadFrame(number, 1, 0.0, card.model_id, exits, codec, specs, data)
            tensors.append(bytes(serialize_message(head_frame_to_message(frame, Header()))))
            plan = msg.PartitionPlan(
                epoch=number + 1,
                model_id=card.model_id,
                exit=exits,
                boundary=list(cut),
                codec=codec,
                deadline_s=0.3,
                max_in_flight=4,
                sites=["car", "edge"],
                predicted_site_s=[0.0, 0.01],
                predicted_hop_s=[0.02],
                reason="made up",
            )
            plans.append(bytes(serialize_message(plan)))
    assert network.profile is not None
    profile = profile_to_message(network.profile, Header().stamp)
    answer = msg.InferenceResult(
        frame_number=1,
        session=1,
        status=0,
        class_id=1,
        label=card.labels[1],
        score=0.9,
        top_classes=array("i", [1, 0]),
        top_scores=array("f", [0.9, 0.1]),
        exit=exits,
        place=1,
        tail_s=0.01,
        residence_s=0.01,
        sent_bytes=100,
    )

    def check_tensor(message: Any) -> None:
        try:
            program, arrays = check_frame(network, message_to_head_frame(message))
        except FrameRefused as refused:
            raise Refused(str(refused)) from refused
        for name, values in arrays.items():
            if (values.shape, values.dtype.name) != program.expected[name]:
                raise AssertionError(f"{name} was decoded to {values.dtype} {values.shape}")

    def check_plan(message: Any) -> None:
        if message.model_id != card.model_id:
            raise Refused("another model")
        if not message.epoch:
            raise Refused("no epoch")
        try:
            network.head_program(message_to_frame_plan(message))
        except GraphError as error:
            raise Refused(str(error)) from error

    def check_profile(message: Any) -> None:
        try:
            message_to_profile(message).check_fits((n.name for n in dag.nodes), card.model_id)
        except ProfileError as error:
            raise Refused(str(error)) from error

    def check_answer(message: Any) -> None:
        answer = message_to_tail_answer(message, network.task)
        if answer.status is not Status.OK:
            raise Refused(f"status {answer.status}")
        if misfit := network.task.misfit(answer.answer) or answer_fault(answer, exits):
            raise Refused(misfit)
        _ = [card.labels[c] for c in (message.class_id, *message.top_classes)]

    return {
        "HeadTensor": Target(msg.HeadTensor, tensors, check_tensor),
        "PartitionPlan": Target(msg.PartitionPlan, plans, check_plan),
        "DeviceProfile": Target(
            msg.DeviceProfile, [bytes(serialize_message(profile))], check_profile
        ),
        "InferenceResult": Target(
            msg.InferenceResult, [bytes(serialize_message(answer))], check_answer
        ),
    }
