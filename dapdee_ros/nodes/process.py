"""Starting and ending a process that holds nodes."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions


class _RosHandler(logging.Handler):
    """Hands what the packages without ROS log to the node's logger."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self._logger = node.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        message = self.format(record)
        # rclpy ties each call site to one severity, so every level needs its own line.
        if record.levelno >= logging.ERROR:
            self._logger.error(message)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(message)
        else:
            self._logger.info(message)


class StopProcess(Exception):
    """Raised in a callback to end the process in order, with an exit status."""

    def __init__(self, status: int = 0) -> None:
        super().__init__(status)
        self.status = status


def run_nodes(make: Callable[[], Sequence[Node]], args: Sequence[str] | None = None) -> int:
    """Start nodes, spin them on one thread, and shut everything down in order.

    SIGINT and SIGTERM both end the spinning; each node's ``destroy_node`` then closes its threads.
    A lifecycle node with ``autostart`` is configured and activated first; if that fails the process
    ends with status 1, its reason in the log.

    Args:
        make: creates the nodes, after ``rclpy.init``. A ValueError it raises is a wrong parameter.
        args: command line; ``sys.argv`` if None.

    Returns:
        The process's exit status.
    """
    # Publishing large tensors must not hold up the thread that computes: let Fast DDS send them
    # on a thread of its own. Whoever set it differently has a reason.
    os.environ.setdefault("RMW_FASTRTPS_PUBLICATION_MODE", "ASYNCHRONOUS")
    rclpy.init(args=list(args) if args is not None else None, signal_handler_options=_NO_HANDLERS)
    # Both signals end the process by the same way, from wherever it is.
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    nodes: list[Node] = []
    executor = SingleThreadedExecutor()
    status = 0
    try:
        try:
            nodes = list(make())
        except ValueError as error:
            print(f"{sys.argv[0]}: {error}", file=sys.stderr)
            return 2
        handler = _RosHandler(nodes[0])
        logging.getLogger("dapdee_ros").addHandler(handler)
        logging.getLogger("dapdee_ros").setLevel(logging.INFO)
        for node in nodes:
            executor.add_node(node)
        for node in nodes:
            if isinstance(node, LifecycleNode) and not _autostart(node):
                return 1
        executor.spin()
    except KeyboardInterrupt:
        pass
    except ExternalShutdownException:
        pass
    except StopProcess as stop:
        status = stop.status
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for node in reversed(nodes):
            node.destroy_node()
        executor.shutdown(timeout_sec=1.0)
        rclpy.try_shutdown()
    return status


_NO_HANDLERS = SignalHandlerOptions.NO


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _autostart(node: LifecycleNode) -> bool:
    """Bring a lifecycle node to active if its parameter ``autostart`` says so."""
    if not node.get_parameter("autostart").value:
        return True
    for trigger in (node.trigger_configure, node.trigger_activate):
        if trigger() != TransitionCallbackReturn.SUCCESS:
            node.get_logger().fatal("could not start (see above)")
            return False
    return True
