"""What crosses the link comes out as it went in."""

from __future__ import annotations

import pytest
from std_msgs.msg import Header

from dapdee_ros.core.frames import HeadFrame, Status, TailAnswer
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.nodes.conversions import (
    head_frame_to_message,
    message_to_head_frame,
    message_to_tail_answer,
    tail_answer_to_message,
)
from dapdee_ros.tasks.task import task_of

pytestmark = pytest.mark.ros


def test_a_frame_says_for_how_long_an_answer_is_of_use() -> None:
    frame = HeadFrame(3, 7, 1.5, "model", 2, "f32", (), b"", answer_within_s=0.125)
    assert message_to_head_frame(head_frame_to_message(frame, Header())).answer_within_s == 0.125


def test_a_frame_and_its_answer_name_the_server() -> None:
    frame = HeadFrame(3, 7, 1.5, "model", 2, "f32", (), b"", server="edge2")
    assert message_to_head_frame(head_frame_to_message(frame, Header())).server == "edge2"
    task = task_of(read_card(find_model("roadsigns")))
    answer = TailAnswer(3, 7, Status.DRAINING, "", None, 2, 0.0, 0.0, 1.5, server="edge2")
    message = tail_answer_to_message(answer, Header(), task, "car1")
    assert (message.server, message.site) == ("edge2", "edge2")
    # Whose it is is known by where it came from, whatever it says.
    assert message_to_tail_answer(message, task, "edge1").server == "edge1"
    assert message_to_tail_answer(message, task).status is Status.DRAINING


@pytest.mark.parametrize("status", [Status.OK, Status.BUSY])
def test_an_answer_says_how_often_the_car_may_send(status: Status) -> None:
    task = task_of(read_card(find_model("roadsigns")))
    answer = TailAnswer(3, 7, status, "", None, 2, 0.1, 0.2, 1.5, send_interval_s=0.25)
    message = tail_answer_to_message(answer, Header(), task, "car1")
    assert message_to_tail_answer(message, task).send_interval_s == 0.25
