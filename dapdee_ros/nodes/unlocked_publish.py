"""Publishes without holding up the process's other threads.

rclpy keeps Python's global lock while a message is published. Where the socket has no room, over a
link slower than what is sent, that lasts for as long as the link takes, and nothing else in the
process goes on: no frame is taken, none is finished in time. ``rcl_publish_serialized_message`` of
the ROS client library, called by ctypes, does the same without the lock.
"""

from __future__ import annotations

import ctypes
import re
from functools import cache
from pathlib import Path
from typing import Any

from rclpy.serialization import serialize_message

_LIBRARY = re.compile(r"/librcl(-[0-9a-f]+)?\.so")


class _Allocator(ctypes.Structure):
    """``rcutils_allocator_t``: four functions and a state, of no use to a message to be read."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("a", "d", "r", "z", "state")]


class _SerializedMessage(ctypes.Structure):
    """``rcl_serialized_message_t``, which is an ``rcutils_uint8_array_t``."""

    _fields_ = [
        ("buffer", ctypes.c_char_p),
        ("buffer_length", ctypes.c_size_t),
        ("buffer_capacity", ctypes.c_size_t),
        ("allocator", _Allocator),
    ]


@cache
def _publish_serialized() -> Any:
    """The function of the library that rclpy has loaded; None if it is not found."""
    try:
        mapped = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
        path = next(
            line.split(maxsplit=5)[5] for line in mapped.splitlines() if _LIBRARY.search(line)
        )
        found = ctypes.CDLL(path).rcl_publish_serialized_message
    except (OSError, StopIteration, AttributeError, IndexError):
        return None
    found.argtypes = [ctypes.c_void_p, ctypes.POINTER(_SerializedMessage), ctypes.c_void_p]
    found.restype = ctypes.c_int
    return found


def publish_unlocked(publisher: Any, message: Any) -> None:
    """Publish a message by an rclpy publisher; other threads go on meanwhile.

    Args:
        publisher: the publisher, which must not be destroyed meanwhile.
        message: of the publisher's type, or one that is serialised already.

    Raises:
        RuntimeError: if it could not be published.
    """
    publish = _publish_serialized()
    if publish is None:
        publisher.publish(message)
        return
    data = message if isinstance(message, bytes) else serialize_message(message)
    found = _SerializedMessage(data, len(data), len(data))
    with publisher.handle:
        code = publish(publisher.handle.pointer, ctypes.byref(found), None)
    if code:
        raise RuntimeError(f"a message of {len(data)} bytes could not be published (code {code})")


class UnlockedPublisher:
    """An rclpy publisher whose ``publish`` is ``publish_unlocked``.

    Attributes:
        publisher: the rclpy publisher.
    """

    def __init__(self, publisher: Any) -> None:
        self.publisher = publisher

    def publish(self, message: Any) -> None:
        """Publish as ``publish_unlocked``; other threads go on meanwhile."""
        publish_unlocked(self.publisher, message)
