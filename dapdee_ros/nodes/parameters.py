"""Declares parameters so that ``ros2 param describe`` explains each of them."""

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

from dapdee_ros.core.settings import Setting, settings_of
from dapdee_ros.former_names import FORMER

Settings = TypeVar("Settings")

_PARAMETER_LINE = re.compile(r"^    (\w+):", re.MULTILINE)


def declare_settings(node: Node, cls: type[Settings], **defaults: Any) -> Settings:
    """Declare every setting of a class as a parameter, described by its field.

    Args:
        node: the node.
        cls: the settings' class.
        defaults: defaults by name, if the node's differ from the class's.

    Returns:
        The settings as given at startup.

    Raises:
        ParameterError: if a value given at startup has the wrong type, is out of bounds or not one
            of the choices.
    """
    values = {s.name: _declare(node, s, defaults.get(s.name, s.default)) for s in settings_of(cls)}
    try:
        return cls(**values)
    except ValueError as error:
        raise ParameterError(str(error)) from error


def _declare(node: Node, one: Setting, default: Any) -> Any:
    former = FORMER.get(one.name)
    if former is not None and former in node._parameter_overrides:
        # ROS would ignore it silently.
        raise ParameterError(f"parameter {former} is now called {one.name}: rename it")
    description = one.help
    if one.choices:
        description += " One of: " + ", ".join(one.choices) + "."
    if one.live:
        description += " Takes effect at once when set."
    if one.on_configure:
        description += " When set, takes effect when the node is configured again."
    descriptor = ParameterDescriptor(
        name=one.name,
        description=description,
        read_only=not (one.live or one.on_configure),
        additional_constraints="one of " + ", ".join(one.choices) if one.choices else "",
    )
    if one.bounds is not None and one.kind is float:
        low, high = map(float, one.bounds)
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    elif one.bounds is not None:
        least, most = map(int, one.bounds)
        descriptor.integer_range = [IntegerRange(from_value=least, to_value=most, step=1)]
    if one.kind is tuple:
        default = list(default)
    try:
        value = node.declare_parameter(one.name, default, descriptor).value
    except (InvalidParameterTypeException, InvalidParameterValueException) as error:
        # ROS does not accept 5 for a double, only 5.0.
        raise ParameterError(f"{error}; expected a value such as {default!r}") from error
    if one.choices and value not in one.choices:
        raise ParameterError(f"parameter {one.name} is {value!r}, expected {one.expected}")
    return tuple(value) if one.kind is tuple else value


class ParameterError(ValueError):
    """An invalid value of a parameter; the message says what was expected."""


def on_change(node: Node, apply: Callable[[dict[str, Any]], None]) -> None:
    """Call ``apply`` with the parameters that are being set, name to value.

    ``apply`` raises ValueError to refuse them; the message reaches the caller.
    """

    def callback(parameters: list[Parameter]) -> SetParametersResult:
        try:
            apply({parameter.name: parameter.value for parameter in parameters})
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(callback)


def warn_of_unknown(nodes: Sequence[Node]) -> None:
    """Log the parameters that were given at startup and that no node of this process has.

    ROS ignores those silently, so a misspelt one has no effect. A file's section for all nodes
    reaches every process: parameters of this package's other processes are not reported.
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
        meant = f": did you mean {like[0]}?" if like else f"; ros2 param list {node.get_name()}"
        node.get_logger().warning(f"parameter {name} is unknown here and has no effect{meant}")


def _of_this_package() -> set[str]:
    """Names of the parameters of all processes of this package, from its parameter files."""
    found: set[str] = set()
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        for path in Path(prefix, "share", "dapdee_ros", "config").glob("*.yaml"):
            found |= {*_PARAMETER_LINE.findall(path.read_text(encoding="utf-8"))}
    return found
