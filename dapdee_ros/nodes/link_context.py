"""The sealed link's own ROS context, and the usual context's reach next to it.

With a key, a process has two contexts. The usual one is restricted to this machine: images, plans,
results, parameters. The link's has its own domain, reaches as far as the user's environment allows,
and offers no parameters and no log, only topics of type ``Sealed``.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, ShutdownException
from rclpy.node import Node
from rclpy.parameter import Parameter

from dapdee_ros.nodes.executor import LeanExecutor
from dapdee_ros.nodes.participant_profile import default_profile, use_loopback_only
from dapdee_ros.sealing.configured import SealedLink, sealed_link

_RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
_REACH = (_RANGE, "ROS_LOCALHOST_ONLY", "ROS_STATIC_PEERS", "ROS_DISCOVERY_SERVER")
"""Variables that control how far a context reaches; read when the middleware is initialised."""


@dataclass
class _Inside:
    """How the usual context is restricted to this machine, if it is.

    Attributes:
        users: the variables' values as the user set them.
        large_messages: as for ``keep_inside``.
        loopback_only: whether its sockets use only the loopback interface.
    """

    users: dict[str, str]
    large_messages: bool
    loopback_only: bool


_inside: _Inside | None = None
_open: list[LinkContext] = []


def keep_inside(*, large_messages: bool = False) -> SealedLink | None:
    """Restrict this process's usual context to this machine if the link is sealed.

    Must be called before ``rclpy.init``.

    Args:
        large_messages: whether images or tensors are published from here.

    Returns:
        The sealed link, None if it is open.

    Raises:
        KeyFileError: if the environment specifies one that cannot be used.
    """
    global _inside
    link = sealed_link(os.environ)
    if link is not None and _inside is None:
        users = {name: os.environ[name] for name in _REACH if name in os.environ}
        for name in _REACH:
            os.environ.pop(name, None)
        os.environ[_RANGE] = "LOCALHOST"
        _inside = _Inside(users, large_messages, use_loopback_only(large_messages=large_messages))
    return link


def inner_topics_are_safe() -> bool:
    """Whether the usual context is unreachable from outside this machine."""
    return _inside is None or _inside.loopback_only


@contextlib.contextmanager
def _users_reach() -> Iterator[None]:
    """The environment as the user has set it."""
    if _inside is None:
        yield
        return
    kept = {name: os.environ[name] for name in _REACH if name in os.environ}
    for name in _REACH:
        os.environ.pop(name, None)
    os.environ.update(_inside.users)
    try:
        with default_profile(inside_large=_inside.large_messages):
            yield
    finally:
        for name in _REACH:
            os.environ.pop(name, None)
        os.environ.update(kept)


def stays_on_this_machine() -> bool:
    """Whether the user's environment restricts all of ROS to this machine."""
    values = os.environ if _inside is None else _inside.users
    if values.get("ROS_STATIC_PEERS") or values.get("ROS_DISCOVERY_SERVER"):
        return False
    only = values.get("ROS_LOCALHOST_ONLY") == "1"
    return only or values.get(_RANGE, "").upper() in ("LOCALHOST", "OFF")


class LinkContext:
    """A node in the link's context, whose callbacks run on a separate thread.

    Attributes:
        node: the node, for topics only.
    """

    def __init__(self, owner: Node, domain_id: int, namespace: str) -> None:
        """Create it, with the owner's name and remapped topics.

        Args:
            owner: the node of this process that uses the link.
            domain_id: the link's domain.
            namespace: the car's.
        """
        self._context = Context()
        with _users_reach():
            # The command line applies to the usual context, so topics are remapped here as well.
            self._context.init(None, initialize_logging=False, domain_id=domain_id)
            self.node = Node(
                owner.get_name(),
                context=self._context,
                namespace=namespace,
                start_parameter_services=False,
                enable_rosout=False,
                parameter_overrides=[
                    Parameter("start_type_description_service", value=False),
                    Parameter("use_sim_time", value=False),
                ],
            )
        self._executor = LeanExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, name="link", daemon=True)
        _open.append(self)

    def start(self) -> None:
        """Start the thread; before that nothing is received."""
        self._thread.start()

    def _spin(self) -> None:
        # Any other end of this thread ends the process: see ``nodes.ending``.
        with contextlib.suppress(ExternalShutdownException, ShutdownException):
            self._executor.spin()

    def close(self) -> None:
        """End thread, node and context; further calls do nothing."""
        if self not in _open:
            return
        _open.remove(self)
        self._executor.shutdown(timeout_sec=5.0)
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)
        self.node.destroy_node()
        self._context.try_shutdown()


def close_links() -> None:
    """Close the links of nodes that were never finished, or could not be destroyed."""
    for context in list(_open):
        context.close()
