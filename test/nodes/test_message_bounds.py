"""Messages of many parts against real nodes: refused by their bytes, before anything is built."""

from __future__ import annotations

import struct
import time
from array import array
from typing import TYPE_CHECKING

import pytest
from rclpy.serialization import serialize_message

import dapdee_ros.msg as msg
from dapdee_ros.codecs.cdr_check import CdrError
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.topics import message_layout

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

COPIES = 100_000
KINDS = [
    msg.DeviceProfile, msg.FrameLedger, msg.HeadTensor, msg.InferenceResult, msg.LinkQuality,
    msg.NodeLoad, msg.PartitionPlan, msg.Probe, msg.SceneTruth,
]  # fmt: skip


def many_specs(copies: int = COPIES) -> bytes:
    """A HeadTensor of so many empty tensor specs: no serialiser makes it, any peer can send it."""
    one = bytes(serialize_message(msg.HeadTensor(tensors=[msg.TensorSpec(name="x")])))
    at = one.index(struct.pack("<I", 2) + b"x\0") - 4
    assert one[at : at + 4] == struct.pack("<I", 1)
    # Two empty texts, three empty lists, two numbers; each text ends in a zero.
    spec = struct.pack("<I4xI4xIIIII", 1, 1, 0, 0, 0, 0, 0)
    return one[:at] + struct.pack("<I", copies) + spec * copies + struct.pack("<I", 0)


def test_what_this_package_s_own_serialiser_makes_is_within_the_bounds() -> None:
    card = read_card(find_model("roadsigns"))
    names = [node.name for node in card.dag.nodes]
    for message in (
        msg.DeviceProfile(
            model_id=card.model_id, node_names=names, node_seconds=array("d", [0.1] * len(names))
        ),
        msg.HeadTensor(
            model_id=card.model_id,
            codec="u8z",
            tensors=[
                msg.TensorSpec(
                    name=name,
                    dtype="float32",
                    shape=array("I", [1, 3, 64, 64]),
                    scale=array("f", [0.5] * 512),
                    zero_point=array("f", [0.5] * 512),
                )
                for name in names[:256]
            ],
            data=array("B", bytes(1_000_001)),
        ),
        msg.InferenceResult(detail="x" * 1024, label="ü" * 256, boundary=names[:256]),
        msg.PartitionPlan(boundary=names[:256], reason="x" * 1024),
        msg.FrameLedger(drop_reasons=["x" * 320] * 33, drop_counts=array("Q", [1] * 33)),
        msg.Probe(padding=array("B", bytes(60_000))),
    ):
        message_layout(type(message)).check(bytes(serialize_message(message)))
    for kind in KINDS:
        message_layout(kind).check(bytes(serialize_message(kind())))


@pytest.mark.parametrize("kind", KINDS)
def test_every_list_and_text_of_our_messages_has_a_bound(kind: type) -> None:
    fields = kind.get_fields_and_field_types()  # type: ignore[attr-defined]
    loose = {name: of for name, of in fields.items() if of == "string" or of.endswith("]")}
    loose |= {
        name: of for name, of in fields.items() if of.startswith("sequence") and ", " not in of
    }
    assert not loose


def test_a_hundred_thousand_specs_leave_an_edge_small_and_awake(ros: RosWorld) -> None:
    data = many_specs()
    with pytest.raises(CdrError, match="tensors has a length of 100000, expected at most 256"):
        message_layout(msg.HeadTensor).check(data)
    answers = ros.collect(msg.InferenceResult, "edge_result", qos.tensor_qos(True, 10))
    echoes = ros.collect(msg.Probe, "probe_echo", qos.PROBE)
    node = ros.node("rogue")
    tensors = node.create_publisher(msg.HeadTensor, "head_tensor", qos.tensor_qos(True, 2))
    probes = node.create_publisher(msg.Probe, "probe", qos.PROBE)
    edge = ros.start("edge", {"threads": 1})
    ros.spin_until(
        lambda: tensors.get_subscription_count() and probes.get_subscription_count(), 60.0, "edge"
    )

    def awake() -> bool:
        probes.publish(msg.Probe(session=1, sequence=1))
        ros.spin_for(0.1)
        return bool(echoes)

    ros.spin_until(awake, 30.0, "the edge's echo")
    before = edge.memory_bytes()
    slowest_s = 0.0
    for sequence in range(5):
        tensors.publish(data)
        ros.spin_for(0.1)
        echoes.clear()
        asked_s = time.monotonic()
        probes.publish(msg.Probe(session=1, sequence=sequence))
        ros.spin_until(lambda: echoes, 10.0, "an echo")
        slowest_s = max(slowest_s, time.monotonic() - asked_s)
    assert slowest_s < 0.5
    # The middleware itself holds the bytes of one or two of them.
    assert edge.memory_bytes() - before < 40_000_000
    # A real question is still answered.
    tensors.publish(msg.HeadTensor(model_id="another"))
    ros.spin_until(lambda: answers, 10.0, "an answer")
    assert answers[-1].status == msg.InferenceResult.STATUS_WRONG_MODEL
