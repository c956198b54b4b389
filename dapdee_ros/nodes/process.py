"""Starting and ending a process with nodes."""

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
from rclpy.executors import ExternalShutdownException, ShutdownException
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from dapdee_ros.files import FileError
from dapdee_ros.memory import use_few_arenas
from dapdee_ros.nodes.diagnostics import Reporter
from dapdee_ros.nodes.ending import STDERR, Ending, EndWatch, StopProcess
from dapdee_ros.nodes.executor import LeanExecutor
from dapdee_ros.nodes.link_context import close_links, keep_inside
from dapdee_ros.nodes.parameters import warn_of_unknown
from dapdee_ros.nodes.participant_profile import installed_config
from dapdee_ros.owner import end_with_owner
from dapdee_ros.runtime.shared_memory import clear_left_behind
from dapdee_ros.runtime.system_clock import SystemClock

_HELP = """\
usage: {program} [--ros-args] [-p NAME:=VALUE ...] [--params-file FILE] [-r FROM:=TO ...]

A ROS 2 node of dapdee_ros. Its parameters, while it runs: ros2 param list, and ros2 param describe
NODE NAME. Their defaults are in the package's folder config."""

_CLOCK_LOOK_S = 0.1


class _RosHandler(logging.Handler):
    """Forwards log messages of the packages without ROS to the node's logger."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self._logger = node.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        message = self.format(record)
        # rclpy binds each call site to one severity, so every level needs its own line.
        if record.levelno >= logging.ERROR:
            self._logger.error(message)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(message)
        else:
            self._logger.info(message)


def prepare_dds(*, large_messages: bool = False) -> None:
    """Give Fast DDS our profile: discovery that spares a slow link.

    Must be called before ``rclpy.init``. A profile file set by the user takes precedence, and other
    middlewares ignore this one.

    Args:
        large_messages: also create a shared memory segment for several images or boundary tensors.
            It takes 8 MB, so only for processes that publish such messages; not if the environment
            chooses the transports.
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
    """Start nodes, spin them on one thread, and shut everything down cleanly.

    SIGINT and SIGTERM both end the spinning; each node's ``destroy_node`` then closes its threads,
    while it can still publish. A lifecycle node with ``autostart`` is configured and activated
    first; if that fails the process ends with status 1, its reason in the log.

    Args:
        make: creates the nodes, after ``rclpy.init``. A ValueError from it means a wrong parameter.
        args: command line, starting with the program; ``sys.argv`` if None.
        large_messages: whether images or tensors are published from here (``prepare_dds``).

    Returns:
        The process's exit status; 2 if a node could not write its last file (``FileError``).
    """
    end_with_owner()
    use_few_arenas()
    # A crash in the middleware or in torch would otherwise end the process silently.
    faulthandler.enable(file=STDERR)
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
    # rclpy's own handlers would close the context before the nodes have published their last
    # message.
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
        Reporter(nodes)  # its timer keeps it alive, and the node keeps the timer
        # Existing objects stay: they need not be searched for garbage repeatedly.
        gc.collect()
        gc.freeze()
        spinner = _Spinner(nodes, ending)
        # The main thread only waits, so that Python runs signal handlers at once.
        spinner.wait()
    except KeyboardInterrupt:
        ending.end(0)
    except BaseException as error:
        ending.fail(error, "start")
    finally:
        ending.ignore_signals()
        watch = EndWatch()
        if spinner:
            spinner.stop()
        for node in reversed(nodes):
            try:
                node.destroy_node()
            except FileError as error:
                print(f"{program}: {error}", file=sys.stderr)
                ending.end(2)
            except BaseException as error:  # the others have final messages, too
                ending.fail(error, f"the end of {type(node).__name__}")
        close_links()
        rclpy.try_shutdown()
        # Python exits with a garbage collection, which takes 0.5 s on a desktop with torch loaded;
        # without it a process ends before a supervisor loses patience and kills it.
        gc.freeze()
        watch.close()
    return ending.status


class _Spinner:
    """Runs the callbacks of some nodes on a separate thread."""

    def __init__(self, nodes: Sequence[Node], ending: Ending) -> None:
        self._executor = LeanExecutor()
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
                # A middleware built against an old C library waits for the next timer on the system
                # clock: if that is set back by ten minutes, it would wait ten minutes longer.
                self._executor.wake()

    def stop(self) -> None:
        """End the thread after its current callback."""
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
    """Describe ``use_sim_time``, which rclpy declares without a description."""
    node.set_descriptor(
        "use_sim_time",
        ParameterDescriptor(
            name="use_sim_time",
            type=ParameterType.PARAMETER_BOOL,
            description="Take the time in headers from the topic /clock instead of this machine.",
        ),
    )


def _autostart(node: LifecycleNode) -> bool:
    """Activate a lifecycle node if its parameter ``autostart`` is set."""
    if not node.get_parameter("autostart").value:
        return True
    for trigger in (node.trigger_configure, node.trigger_activate):
        if trigger() != TransitionCallbackReturn.SUCCESS:
            node.get_logger().fatal("could not start (see above)")
            return False
    return True
