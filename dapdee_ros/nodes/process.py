"""Starting and ending a process that holds nodes."""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import rclpy
from rcl_interfaces.msg import ParameterDescriptor, ParameterType
from rclpy.executors import (
    ExternalShutdownException,
    ShutdownException,
    SingleThreadedExecutor,
)
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from dapdee_ros.files import FileError
from dapdee_ros.nodes.diagnostics import Reporter
from dapdee_ros.nodes.ending import Ending, StopProcess
from dapdee_ros.nodes.link_context import close_links, keep_inside
from dapdee_ros.nodes.parameters import warn_of_unknown
from dapdee_ros.nodes.participant_profile import installed_config
from dapdee_ros.runtime.shared_memory import clear_left_behind
from dapdee_ros.runtime.system_clock import SystemClock

_HELP = """\
usage: {program} [--ros-args] [-p NAME:=VALUE ...] [--params-file FILE] [-r FROM:=TO ...]

A ROS 2 node of dapdee_ros. Its parameters, while it runs: ros2 param list, and ros2 param describe
NODE NAME. They stand with their defaults in the folder config of the package."""

_CLOCK_LOOK_S = 0.1
_LONGEST_END_S = 30.0
_STDERR = 2


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


def prepare_dds(*, large_messages: bool = False) -> None:
    """Give Fast DDS a profile of ours: discovery that spares a slow link.

    Has to come before ``rclpy.init``. Whoever has named a profile file is left alone, and other
    middlewares do not look at this one.

    Args:
        large_messages: keep a shared memory segment that holds several images or boundary tensors
            as well. It costs 8 MB, so only for processes that publish such messages; not where the
            environment chooses the transports.
    """
    by_user = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
    if any(os.environ.get(name) for name in by_user):
        return
    large = large_messages and not os.environ.get("FASTDDS_BUILTIN_TRANSPORTS")
    name = "fastdds.xml" if large else "fastdds_small.xml"
    path = installed_config(name)
    if path is not None:
        os.environ["FASTRTPS_DEFAULT_PROFILES_FILE"] = str(path)


def run_nodes(
    make: Callable[[], Sequence[Node]],
    args: Sequence[str] | None = None,
    *,
    large_messages: bool = False,
) -> int:
    """Start nodes, spin them on one thread, and shut everything down in order.

    SIGINT and SIGTERM both end the spinning; each node's ``destroy_node`` then closes its threads,
    while it can still publish. A lifecycle node with ``autostart`` is configured and activated
    first; if that fails the process ends with status 1, its reason in the log.

    Args:
        make: creates the nodes, after ``rclpy.init``. A ValueError it raises is a wrong parameter.
        args: command line, beginning with the program; ``sys.argv`` if None.
        large_messages: whether images or tensors are published from here (``prepare_dds``).

    Returns:
        The process's exit status; 2 if a node could not write its last file (``FileError``).
    """
    # A crash in the middleware or in torch would otherwise end the process without a word.
    faulthandler.enable(file=_STDERR)
    prepare_dds(large_messages=large_messages)
    program = Path(sys.argv[0]).name
    try:
        left = remove_ros_args(args)[1:]
        if "-h" in left or "--help" in left:
            print(_HELP.format(program=program))
            return 0
        if left:
            raise ValueError(f"unexpected {' '.join(left)}; a node's arguments follow --ros-args")
        clear_left_behind()
        keep_inside(large_messages=large_messages)
        rclpy.init(
            args=list(args) if args is not None else None,
            signal_handler_options=SignalHandlerOptions.NO,
        )
    except (RuntimeError, ValueError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    ending = Ending()
    # rclpy's own handlers would close the context before the nodes have said their last word.
    ending.take_signals()
    ending.take_threads()
    nodes: list[Node] = []
    spinner: _Spinner | None = None
    try:
        try:
            nodes = list(make())
        except ValueError as error:
            print(f"{program}: {error}", file=sys.stderr)
            return 2
        for node in nodes:
            _describe_clock(node)
        logger = logging.getLogger("dapdee_ros")
        logger.addHandler(_RosHandler(nodes[0]))
        logger.setLevel(logging.INFO)
        warn_of_unknown(nodes)
        for node in nodes:
            if isinstance(node, LifecycleNode) and not _autostart(node):
                return 1
        ending.started()
        Reporter(nodes)  # it lives as long as its timer, and that as long as the node
        # What is there now stays: it need not be searched for garbage again and again.
        gc.collect()
        gc.freeze()
        spinner = _Spinner(nodes, ending)
        # The main thread only waits: Python runs signal handlers there, and at once.
        spinner.wait()
    except KeyboardInterrupt:
        ending.end(0)
    except BaseException as error:
        ending.fail(error, "start")
    finally:
        ending.ignore_signals()
        # Fast DDS 2.14 can wait for ever, computing all the time, where a participant ends just as
        # it learns that another one has ended (DomainParticipant::set_listener against the threads
        # of discovery). It does so with Python's lock held, so that no thread of Python could help.
        faulthandler.dump_traceback_later(_LONGEST_END_S, exit=True, file=_STDERR)
        if spinner:
            spinner.stop()
        for node in reversed(nodes):
            try:
                node.destroy_node()
            except FileError as error:
                print(f"{program}: {error}", file=sys.stderr)
                ending.end(2)
            except BaseException as error:  # the others have a last word, too
                ending.fail(error, f"the end of {type(node).__name__}")
        close_links()
        rclpy.try_shutdown()
        # Python ends with a search for cycles of garbage, and with torch loaded that takes 0.5 s of
        # a desktop's time: without it a process ends before anyone loses patience and kills it.
        gc.freeze()
        faulthandler.cancel_dump_traceback_later()
    return ending.status


class _Spinner:
    """Runs the callbacks of some nodes on one thread of their own."""

    def __init__(self, nodes: Sequence[Node], ending: Ending) -> None:
        self._executor = SingleThreadedExecutor()
        for node in nodes:
            self._executor.add_node(node)
        self._ending = ending
        self._thread = threading.Thread(target=self._spin, name="callbacks", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until something ends the process."""
        clock = SystemClock()
        while not self._ending.wait(_CLOCK_LOOK_S):
            if clock.was_set():
                # A middleware built against an old C library waits for the next timer by the system
                # clock: set back by ten minutes, it would wait ten minutes more.
                self._executor.wake()

    def stop(self) -> None:
        """End the thread after the callback that it is in."""
        self._executor.shutdown(timeout_sec=5.0)
        self._thread.join(timeout=5.0)

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except StopProcess as stop:
            self._ending.end(stop.status)
        except (ExternalShutdownException, ShutdownException):
            self._ending.end(0)
        except BaseException as error:
            self._ending.fail(error, "a callback")


def _describe_clock(node: Node) -> None:
    """Say what ``use_sim_time`` is, which rclpy declares without a word."""
    node.set_descriptor(
        "use_sim_time",
        ParameterDescriptor(
            name="use_sim_time",
            type=ParameterType.PARAMETER_BOOL,
            description="Take the time in headers from the topic /clock instead of this machine.",
        ),
    )


def _autostart(node: LifecycleNode) -> bool:
    """Bring a lifecycle node to active if its parameter ``autostart`` says so."""
    if not node.get_parameter("autostart").value:
        return True
    for trigger in (node.trigger_configure, node.trigger_activate):
        if trigger() != TransitionCallbackReturn.SUCCESS:
            node.get_logger().fatal("could not start (see above)")
            return False
    return True
