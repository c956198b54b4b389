"""Declaring parameters so that ``ros2 param describe`` explains every one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

Bounds = tuple[float, float]


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
