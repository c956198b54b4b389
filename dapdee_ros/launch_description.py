"""Turns the rows of the process table into what ``launch`` runs.

Only launch files import this; it needs the ``launch`` and ``launch_ros`` packages.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
from launch.action import Action
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, TimerAction
from launch.events.process import ProcessExited
from launch.launch_context import LaunchContext
from launch.launch_description import LaunchDescription
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from dapdee_ros.process_table import Argument, ArgumentError, ProcessStart, link_environment
from dapdee_ros.supervision import Restarts, Verdict

PACKAGE = "dapdee_ros"

COMMON_ARGUMENTS = (
    Argument(
        "namespace",
        "Namespace of the car; a car's edge runs in the same namespace.",
        of_parameter=False,
    ),
    Argument(
        "params_file",
        "Your own parameter file (YAML) for any of the nodes. It overrides the files in the "
        "package's config folder, and the arguments here override it.",
        of_parameter=False,
    ),
    Argument(
        "log_level",
        "Minimum severity of the nodes' log output.",
        default="info",
        choices=("debug", "info", "warn", "error", "fatal"),
        of_parameter=False,
    ),
)

_SIGTERM_S = "2"
"""Launch expects the terminal to deliver Ctrl-C to every process. After ``kill -INT`` of launch
alone, the processes end on the SIGTERM that follows this many seconds later."""

_SIGKILL_S = "10"
"""A process that is shutting down ignores further signals; only a hung one needs this."""


def describe(
    arguments: Sequence[Argument], side: Callable[[Mapping[str, Any]], list[ProcessStart]]
) -> LaunchDescription:
    """The description of one side of the system.

    Args:
        arguments: those in addition to the common ones.
        side: the processes to start, from the arguments' values.
    """
    everything = (*arguments, *COMMON_ARGUMENTS)

    def start(context: LaunchContext) -> list[Node]:
        values = {argument.name: _value(argument, context) for argument in everything}
        return [_Supervised(process, values).node for process in side(values)]

    return LaunchDescription([*map(_declare, everything), OpaqueFunction(function=start)])


def _declare(argument: Argument) -> DeclareLaunchArgument:
    description = argument.description
    if argument.of_parameter and not argument.default:
        description += " Empty: as in the parameter files."
    return DeclareLaunchArgument(
        argument.name,
        default_value=argument.default,
        description=description,
        choices=argument.choices or None,
    )


def _value(argument: Argument, context: LaunchContext) -> Any:
    try:
        return argument.read(LaunchConfiguration(argument.name).perform(context))
    except ArgumentError as error:
        raise RuntimeError(f"launch argument {error}") from error


class _Supervised:
    """A process that is restarted if it dies; if it fails for good, launch ends.

    Launch's own ``respawn`` supports neither growing delays nor processes that ended normally.
    """

    def __init__(self, start: ProcessStart, values: Mapping[str, Any]) -> None:
        self._start, self._values = start, values
        self._restarts = Restarts()

    @property
    def node(self) -> Node:
        """A new action that runs it: each can be executed once."""
        self._restarts.on_start(time.monotonic())
        return _node(self._start, self._values, self._on_exit)

    def _on_exit(self, event: ProcessExited, context: LaunchContext) -> list[Action] | None:
        if context.is_shutdown:
            return None
        decision = self._restarts.on_end(time.monotonic(), event.returncode)
        said = f"{self._start.name} {decision.reason}"
        if decision.verdict is Verdict.ENDED:
            return [LogInfo(msg=said)]
        if decision.verdict is Verdict.RESTART:
            again = OpaqueFunction(function=lambda _context: [self.node])
            return [LogInfo(msg=said), TimerAction(period=decision.delay_s, actions=[again])]
        if not self._start.row.required:
            return [LogInfo(msg=said)]
        # Launch ends everything with status 1; nothing else gives it that status.
        raise RuntimeError(f"{said}; why is in its output above")


def _type_of(value: Any) -> Any:
    return list[str] if isinstance(value, list) else type(value)


def _node(
    start: ProcessStart,
    values: Mapping[str, Any],
    on_exit: Callable[[ProcessExited, LaunchContext], list[Action] | None],
) -> Node:
    row = start.row
    config = Path(get_package_share_directory(PACKAGE)) / "config"
    parameters: list[Any] = [str(config / f"{row.config or row.executable}.yaml")]
    if values["params_file"]:
        own = Path(values["params_file"]).expanduser()
        if not own.is_file():
            raise RuntimeError(f"launch argument params_file: there is no file {own}")
        parameters.append(str(own.resolve()))
    if start.parameters:
        # Typed, so that a string that looks like a number or like YAML stays a string.
        parameters.append(
            {
                name: ParameterValue(value, value_type=_type_of(value))
                for name, value in start.parameters.items()
            }
        )
    return Node(
        package=PACKAGE,
        executable=row.executable,
        name=start.node_name,
        namespace=values["namespace"] or "",
        parameters=parameters,
        remappings=list(start.remaps.items()),
        output="screen",
        additional_env=link_environment(values),
        on_exit=on_exit,
        sigterm_timeout=_SIGTERM_S,
        sigkill_timeout=_SIGKILL_S,
        ros_arguments=["--log-level", values["log_level"]],
    )
