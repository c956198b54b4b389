"""What a frame costs this machine beside the network, measured by going its way with no link.

Conversion, codec and messages are the real ones, with an answer that the task makes of zeros: a
class map is as large as any, of boxes there are none. What waking threads and the middleware's
transport cost is not in it: that is learned from results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

import dapdee_ros.msg as msg
from dapdee_ros.codecs import encode
from dapdee_ros.core.frames import FramePlan, FrameResult, HeadFrame, Place, Status, TailAnswer
from dapdee_ros.estimation.cost_fit import Fit, fit
from dapdee_ros.exits.card import ModelCard
from dapdee_ros.nodes.conversions import (
    frame_result_to_message,
    head_frame_to_message,
    message_to_head_frame,
    message_to_tail_answer,
    tail_answer_to_message,
)
from dapdee_ros.nodes.images import image_to_rgb, rgb_to_image
from dapdee_ros.nodes.topics import message_layout
from dapdee_ros.planning.overhead import Overhead
from dapdee_ros.runtime.cold_calls import cold_times
from dapdee_ros.runtime.network_input import network_input, placement
from dapdee_ros.tasks.task import Task

BUDGET_S = 0.2
"""Seconds that a measurement takes, nearly."""

CAMERA_SIZE = (480, 640)
SIZES_BYTES = (16_384, 262_144)
# These calls take up to milliseconds; shorter ones need more (``runtime.codec_times``).
_LEAST_ROUNDS = 12
_CODEC = "f32"
_NAME = "tensor"


def car_overhead(card: ModelCard, task: Task, budget_s: float = BUDGET_S) -> Overhead:
    """What a frame costs the car: each one, each that is sent, and each byte of it.

    Args:
        card: the model, for its input's size.
        task: the model's.
        budget_s: how long to measure.
    """
    return car_overhead_of(car_parts(card, task, budget_s))


def car_overhead_of(parts: Mapping[str, Any]) -> Overhead:
    """The sum of ``car_parts``."""
    every_s, sending = parts["image"] + parts["result"], parts["message"]
    return Overhead(every_s, sending.fixed_s + parts["answer"], sending.s_per_byte)


def car_parts(card: ModelCard, task: Task, budget_s: float = BUDGET_S) -> dict[str, Any]:
    """The car's overhead by what is done: seconds, and a ``Fit`` of ``message``.

    ``image``: conversion of an image of ``CAMERA_SIZE`` to the network's input; ``result``: the
    result's message; ``message``: that of a boundary; ``answer``: the edge's. Coding is not in it:
    ``runtime.codec_times``.
    """
    image = _serialised(rgb_to_image(np.zeros((*CAMERA_SIZE, 3), np.uint8), Time(), "camera"))

    def load() -> None:
        network_input(image_to_rgb(deserialize_message(image, Image)), card.input_spec)

    found = _usual_answer(card, task)
    placed = placement(CAMERA_SIZE, card.input_spec)

    def publish() -> None:
        answer = task.in_source(found, placed.to_source)
        _serialised(frame_result_to_message(_result(answer), Header(), task))

    answer = _serialised(tail_answer_to_message(_answer(found), Header(), task))

    def receive() -> None:
        message_to_tail_answer(_read(answer, msg.InferenceResult), task)

    def sending(n_bytes: int) -> Callable[[], object]:
        frame = _frame(n_bytes)
        return lambda: _serialised(head_frame_to_message(frame, Header()))

    return _timed({"image": load, "result": publish, "answer": receive}, sending, budget_s)


def edge_overhead(card: ModelCard, task: Task, budget_s: float = BUDGET_S) -> Overhead:
    """What a frame costs the edge server: each that comes, and each byte of it.

    Args:
        card: the model.
        task: the model's.
        budget_s: how long to measure.
    """
    return edge_overhead_of(edge_parts(card, task, budget_s))


def edge_overhead_of(parts: Mapping[str, Any]) -> Overhead:
    """The sum of ``edge_parts``."""
    coming = parts["message"]
    return Overhead(coming.fixed_s + parts["answer"], 0.0, coming.s_per_byte)


def edge_parts(card: ModelCard, task: Task, budget_s: float = BUDGET_S) -> dict[str, Any]:
    """The edge server's overhead by what is done, as ``car_parts``."""
    found = _usual_answer(card, task)

    def publish() -> None:
        _serialised(tail_answer_to_message(_answer(found), Header(), task))

    def receiving(n_bytes: int) -> Callable[[], object]:
        data = _serialised(head_frame_to_message(_frame(n_bytes), Header()))
        return lambda: message_to_head_frame(_read(data, msg.HeadTensor))

    return _timed({"answer": publish}, receiving, budget_s)


def seconds_for(parts: Mapping[str, Any], n_bytes: float) -> dict[str, float]:
    """What each part of ``car_parts`` or ``edge_parts`` takes for a boundary of so many bytes."""
    return {
        name: part.fixed_s + part.s_per_byte * n_bytes if isinstance(part, Fit) else part
        for name, part in parts.items()
    }


def _timed(
    calls: Mapping[str, Callable[[], object]],
    message: Callable[[int], Callable[[], object]],
    budget_s: float,
) -> dict[str, Any]:
    """Seconds of each call, and of ``message`` a line over its bytes."""
    sized = [message(n_bytes) for n_bytes in SIZES_BYTES]
    seconds = cold_times([*calls.values(), *sized], budget_s, _LEAST_ROUNDS)
    return {
        **dict(zip(calls, seconds, strict=False)),
        "message": fit(SIZES_BYTES, seconds[len(calls) :]),
    }


def _serialised(message: Any) -> bytes:
    return bytes(serialize_message(message))


def _read(data: bytes, kind: type) -> Any:
    """As ``topics.MessageReader`` does."""
    message_layout(kind).check(data)
    return deserialize_message(data, kind)


def _tensors(n_bytes: int) -> dict[str, NDArray[np.float32]]:
    return {_NAME: np.zeros((1, n_bytes // 4), np.float32)}


def _frame(n_bytes: int) -> HeadFrame:
    specs, data = encode(_tensors(n_bytes), _CODEC)
    return HeadFrame(1, 1, 0.0, "model", 1, _CODEC, specs, data, context=Header())


def _usual_answer(card: ModelCard, task: Task) -> Any:
    """An answer as large as the deepest exit's usually are."""
    outputs = [card.dag.by_name[name] for name in card.dag.exits[-1]]
    zeros = [np.zeros(output.shape, output.dtype) for output in outputs]
    return task.decode(zeros, len(card.dag.exits))


def _answer(found: Any) -> TailAnswer:
    return TailAnswer(1, 1, Status.OK, "", found, 1, 0.0, 0.0, 0.0)


def _result(found: Any) -> FrameResult:
    plan = FramePlan(1, 1, (_NAME,))
    return FrameResult(1, 1, plan, found, 1, Place.EDGE, "", 0.0, 0.0, 0.0, 0.0, 1, 1.0)
