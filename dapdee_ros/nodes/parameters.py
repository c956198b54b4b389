"""Declaring parameters so that ``ros2 param describe`` explains every one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from dapdee_ros.core.settings import settings_of

Bounds = tuple[float, float]
Settings = TypeVar("Settings")

_PARAMETER_LINE = re.compile(r"^    (\w+):", re.MULTILINE)


def declare(
    node: Node,
    name: str,
    default: Any,
    description: str,
    *,
    bounds: Bounds | None = None,
    choices: Sequence[str] | None = None,
    live: bool = False,
    on_configure: bool = False,
) -> Any:
    """Declare a parameter and return its value.

    Args:
        node: the node.
        name: the parameter's name, with its unit.
        default: its default; its type is the parameter's.
        description: what it does, in words.
        bounds: smallest and largest value of a number.
        choices: the values that a text may have.
        live: whether it takes effect when set at run time; otherwise it is read-only.
        on_configure: whether it can be set and takes effect when a lifecycle node is configured.

    Raises:
        ParameterError: if the value given at the start is of another type, out of bounds or no
            choice.
    """
    if choices:
        description += " One of: " + ", ".join(choices) + "."
    if live:
        description += " Takes effect at once when set."
    if on_configure:
        description += " When set, takes effect as the node is configured again."
    descriptor = ParameterDescriptor(
        name=name,
        description=description,
        read_only=not (live or on_configure),
        additional_constraints="one of " + ", ".join(choices) if choices else "",
    )
    if bounds is not None and isinstance(default, float):
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=float(bounds[0]), to_value=float(bounds[1]), step=0.0)
        ]
    elif bounds is not None:
        descriptor.integer_range = [
            IntegerRange(from_value=int(bounds[0]), to_value=int(bounds[1]), step=1)
        ]
    try:
        value = node.declare_parameter(name, default, descriptor).value
    except (InvalidParameterTypeException, InvalidParameterValueException) as error:
        # Numbers with a fraction are not taken from 5, only from 5.0.
        raise ParameterError(f"{error}; expected a value such as {default!r}") from error
    if choices and value not in choices:
        raise ParameterError(f"parameter {name} is {value!r}, expected one of {', '.join(choices)}")
    return value


def declare_settings(node: Node, cls: type[Settings]) -> Settings:
    """Declare every setting of a class as a parameter, described by its field.

    Returns:
        The settings as they were given at the start.

    Raises:
        ParameterError: as ``declare``.
    """
    values = {
        one.name: declare(
            node,
            one.name,
            [*one.default] if isinstance(one.default, tuple) else one.default,
            one.help,
            bounds=one.bounds,
            choices=one.choices,
            live=one.live,
            on_configure=one.on_configure,
        )
        for one in settings_of(cls)
    }
    try:
        return cls(**values)
    except ValueError as error:
        raise ParameterError(str(error)) from error


class ParameterError(ValueError):
    """A parameter's value that makes no sense; the message says what was expected."""


def on_change(node: Node, apply: Callable[[dict[str, Any]], None]) -> None:
    """Call ``apply`` with the parameters that are being set, name to value.

    ``apply`` raises ValueError to refuse them; the message reaches whoever set them.
    """

    def callback(parameters: list[Parameter]) -> SetParametersResult:
        try:
            apply({parameter.name: parameter.value for parameter in parameters})
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(callback)


def warn_of_unknown(nodes: Sequence[Node]) -> None:
    """Log the parameters that were given at the start and that no node of this process has.

    ROS drops those without a word, and a misspelt one is as if it had never been set. A file's
    section for all nodes reaches every process: what another one of this package takes is left
    out.
    """
    declared = {name for node in nodes for name in node._parameters}
    given = {name: node for node in nodes for name in node._parameter_overrides}
    unknown = {
        name: node
        for name, node in given.items()
        if name not in declared and not name.startswith("qos_overrides.")
    }
    elsewhere = _of_this_package() if unknown else set()
    for name, node in unknown.items():
        if name in elsewhere:
            continue
        like = get_close_matches(name, declared, 1)
        meant = f": do you mean {like[0]}?" if like else f"; ros2 param list {node.get_name()}"
        node.get_logger().warning(f"parameter {name} is unknown here and changes nothing{meant}")


def _of_this_package() -> set[str]:
    """Names of the parameters of all processes of this package, from its parameter files."""
    found: set[str] = set()
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        for path in Path(prefix, "share", "dapdee_ros", "config").glob("*.yaml"):
            found |= {*_PARAMETER_LINE.findall(path.read_text(encoding="utf-8"))}
    return found
