"""An end of a link for ``test_full_link``: ``send`` says how long others paused, ``listen`` reads.

The sender waits for a line on its standard input once it has found the listener.
"""

import os
import sys
import threading
import time

import rclpy

import dapdee_ros.msg as msg
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.unlocked_publish import UnlockedPublisher

MESSAGE_BYTES = 300_000


def main() -> None:
    rclpy.init()
    node = rclpy.create_node(sys.argv[1])
    profile = qos.tensor_qos(False, 4)
    if sys.argv[1] == "listen":
        node.create_subscription(msg.HeadTensor, "tensors", lambda _: None, profile)
        rclpy.spin(node)
    inner = node.create_publisher(msg.HeadTensor, "tensors", profile)
    publisher = UnlockedPublisher(inner)
    while not inner.get_subscription_count():
        time.sleep(0.05)
    print("found", flush=True)
    sys.stdin.readline()
    longest_s, message = [0.0], msg.HeadTensor(data=bytes(MESSAGE_BYTES))

    def tick() -> None:
        last_s = time.monotonic()
        while True:
            time.sleep(0.005)
            now_s = time.monotonic()
            longest_s[0] = max(longest_s[0], now_s - last_s)
            last_s = now_s

    threading.Thread(target=tick, daemon=True).start()
    began_s = time.monotonic()
    for _ in range(3):
        publisher.publish(message)
    print(time.monotonic() - began_s, longest_s[0], flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
