"""Whether more than one node publishes the camera's images."""

from __future__ import annotations

import math
from collections import Counter

from rclpy.node import Node

from dapdee_ros.estimation.health import Health, Level

_FORGOTTEN_S = 45.0
"""The middleware lists a killed process for another 40 s, next to its replacement."""


class ImagePublishers:
    """Names the nodes that publish a topic, if there is more than one."""

    def __init__(self, node: Node, topic: str = "image_raw") -> None:
        self._node, self._topic = node, topic
        self._twice_s = math.inf

    def health(self, now_s: float) -> Health:
        """WARN if two nodes publish: their frames alternate, and fill the window.

        Two of the same name count once they have been there for longer than a killed one would.
        """
        found = self._node.get_publishers_info_by_topic(self._topic)
        names = Counter(f"{p.node_namespace.rstrip('/')}/{p.node_name}" for p in found)
        if max(names.values(), default=0) < 2:
            self._twice_s = math.inf
        self._twice_s = min(self._twice_s, now_s)
        values = {"publishers": ", ".join(sorted(names))}
        if len(names) < 2 and not (names.total() > 1 and now_s - self._twice_s > _FORGOTTEN_S):
            return Health(Level.OK, f"published by {values['publishers'] or 'nobody'}", values)
        who = ", ".join(f"{name} ({n} times)" if n > 1 else name for name, n in names.items())
        return Health(
            Level.WARN,
            f"{who} publish {self._topic} at once, so that frames of both are answered in turn: "
            "end all but one (with a driver of your own start the car with source:=none), or remap",
            values,
        )
