"""Publishing lets other threads go on, and says the same."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from rclpy.serialization import serialize_message

import dapdee_ros.msg as msg
from dapdee_ros.nodes import qos, unlocked_publish
from dapdee_ros.nodes.unlocked_publish import UnlockedPublisher, publish_unlocked

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(60)]


def test_the_function_is_that_of_the_library_that_rclpy_loaded(ros: RosWorld) -> None:
    ros.node("any")
    assert unlocked_publish._publish_serialized() is not None


@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_what_arrives_is_what_was_published(ros: RosWorld, size: int) -> None:
    got = ros.collect(msg.HeadTensor, "tensors", qos.tensor_qos(True, 8))
    node = ros.node("sending")
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    sent = msg.HeadTensor(frame_number=7, codec="u8", data=data.tobytes())
    publisher = UnlockedPublisher(
        node.create_publisher(msg.HeadTensor, "tensors", qos.tensor_qos(True, 8))
    )
    ros.spin_until(lambda: publisher.publisher.get_subscription_count(), 10.0, "the subscription")
    publisher.publish(sent)
    publisher.publish(serialize_message(sent))
    ros.spin_until(lambda: len(got) == 2, 10.0, "the messages")
    assert got == [sent, sent]


def test_from_several_threads_at_once_nothing_is_lost(ros: RosWorld) -> None:
    got = ros.collect(msg.HeadTensor, "tensors", qos.tensor_qos(True, 64))
    node = ros.node("sending")
    publisher = node.create_publisher(msg.HeadTensor, "tensors", qos.tensor_qos(True, 64))
    ros.spin_until(lambda: publisher.get_subscription_count(), 10.0, "the subscription")

    def send(car: int) -> None:
        for number in range(12):
            publish_unlocked(publisher, msg.HeadTensor(frame_number=100 * car + number))
            time.sleep(0.001)

    threads = [threading.Thread(target=send, args=(car,)) for car in range(4)]
    for thread in threads:
        thread.start()
    ros.spin_until(lambda: len(got) == 48, 20.0, "all messages")
    for thread in threads:
        thread.join()
    assert len({message.frame_number for message in got}) == 48


def test_a_publisher_that_is_gone_is_named(ros: RosWorld) -> None:
    node = ros.node("sending")
    publisher = node.create_publisher(msg.HeadTensor, "tensors", qos.LATCHED)
    node.destroy_publisher(publisher)
    with pytest.raises(Exception, match=r"destro|invalid|Destroyable"):
        publish_unlocked(publisher, msg.HeadTensor())
