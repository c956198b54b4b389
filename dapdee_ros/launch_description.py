"""What the launch files share: arguments declared once, and the processes of each role.

Only launch files import this; it needs the ``launch`` and ``launch_ros`` packages.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
from launch import Condition
from launch.actions import DeclareLaunchArgument
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, PythonExpression
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

PACKAGE = "dapdee_ros"
RELAYED = ("head_tensor", "edge_result", "probe", "probe_echo")
"""Topics that cross the link, and that the emulator therefore relays."""

FAR_PREFIX = "emulated"


class Arguments:
    """Declares launch arguments and gives back their values.

    Attributes:
        declared: the actions, to be put into the launch description first.
    """

    def __init__(self) -> None:
        self.declared: list[DeclareLaunchArgument] = []

    def add(
        self, name: str, default: str, description: str, choices: Sequence[str] | None = None
    ) -> LaunchConfiguration:
        """Declare one argument and return its value's placeholder."""
        self.declared.append(
            DeclareLaunchArgument(
                name, default_value=default, description=description, choices=choices
            )
        )
        return LaunchConfiguration(name)


def common_arguments(arguments: Arguments) -> dict[str, LaunchConfiguration]:
    """Arguments that car and edge share."""
    config = str(Path(get_package_share_directory(PACKAGE)) / "config")
    return {
        "namespace": arguments.add(
            "namespace", "", "Namespace of the car; the edge of a car runs in the car's namespace."
        ),
        "model": arguments.add(
            "model",
            "roadsigns",
            "Model to run: the name of an installed one, or a model folder. The same on both sides.",
        ),
        "config": arguments.add(
            "config",
            config,
            "Folder with the parameter files (camera.yaml, head.yaml, manager.yaml, edge.yaml, "
            "link_emulator.yaml, viewer.yaml); copy it to change them.",
        ),
        "log_level": arguments.add("log_level", "info", "debug, info, warn, error or fatal."),
    }


def link_argument(arguments: Arguments) -> LaunchConfiguration:
    """The argument that asks for an emulated link."""
    return arguments.add(
        "link",
        "none",
        "Emulated radio link: none (the real network), cat1, 3g, 4g, wifi, a rate such as 8.5mbit, "
        "drive, steps:5.85@0,1.1@10, or a trace file in Mahimahi's format.",
    )


def emulated(link: LaunchConfiguration) -> PythonExpression:
    """Whether a link argument asks for the emulator."""
    return PythonExpression(["'", link, "' != 'none'"])


def is_true(value: LaunchConfiguration) -> PythonExpression:
    """Whether an argument with the choices true and false is true."""
    return PythonExpression(["'", value, "' == 'true'"])


def process(
    executable: str,
    common: dict[str, LaunchConfiguration],
    parameters: dict[str, Any],
    *,
    config: str | None = None,
    name: str | None = None,
    remappings: Sequence[tuple[str, str]] = (),
    condition: Condition | None = None,
) -> Node:
    """One process of the package.

    Args:
        executable: its executable.
        common: the common arguments.
        parameters: launch arguments that override the parameter file, by parameter name.
        config: name of its parameter file without the suffix; the executable's name if None.
        name: name of its node, if it is not to keep its own.
        remappings: topics to rename.
        condition: when to start it.
    """
    return Node(
        package=PACKAGE,
        executable=executable,
        name=name,
        namespace=common["namespace"],
        parameters=[
            PathJoinSubstitution([common["config"], f"{config or executable}.yaml"]),
            parameters,
        ],
        remappings=list(remappings),
        condition=condition,
        output="screen",
        # Fast DDS sends large tensors on a thread of its own, so that computing goes on meanwhile.
        additional_env={
            "RMW_FASTRTPS_PUBLICATION_MODE": os.environ.get(
                "RMW_FASTRTPS_PUBLICATION_MODE", "ASYNCHRONOUS"
            ),
            "PYTHONUNBUFFERED": "1",
        },
        ros_arguments=["--log-level", common["log_level"]],
    )


def edge_processes(
    common: dict[str, LaunchConfiguration],
    threads: LaunchConfiguration,
    far: PythonExpression,
    only_if: LaunchConfiguration | None = None,
) -> list[Node]:
    """The edge's processes: inference, and a load monitor beside it.

    Args:
        common: the common arguments.
        threads: inference threads.
        far: whether they stand behind an emulated link.
        only_if: start them only if this is true.
    """
    remapped = [(topic, f"{FAR_PREFIX}/{topic}") for topic in RELAYED]
    processes = []
    for behind in (False, True):
        terms = [far] if behind else ["not ", far]
        if only_if is not None:
            terms += [" and ", is_true(only_if)]
        condition = IfCondition(PythonExpression(terms))
        remappings = remapped if behind else []
        processes += [
            process(
                "edge",
                common,
                {"model": text(common["model"]), "threads": number(threads, int)},
                remappings=remappings,
                condition=condition,
            ),
            process(
                "load_monitor",
                common,
                {"machine": "edge"},
                config="edge",
                name="edge_load_monitor",
                remappings=remappings,
                condition=condition,
            ),
        ]
    return processes


def text(value: LaunchConfiguration) -> ParameterValue:
    """A text parameter, also where it looks like a number or YAML."""
    return ParameterValue(value, value_type=str)


def number(value: LaunchConfiguration, kind: type) -> ParameterValue:
    """A parameter that is an int or a float, however it was written."""
    return ParameterValue(value, value_type=kind)
