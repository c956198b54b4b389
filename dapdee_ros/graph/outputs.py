"""What a network returns, as its exits: each one tensor, or several."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx, nn

from dapdee_ros.graph.dag import GraphError


class TraceError(GraphError):
    """The model can't be seen as a DAG; the message names the place and the way out."""


def takes_anything(module: nn.Module) -> bool:
    """Whether the forward takes ``*args`` or ``**kwargs``."""
    parameters = inspect.signature(module.forward).parameters.values()
    return any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)


def give_exits(module: nn.Module) -> None:
    """Have a module, in place, take one tensor where it takes ``*args``, and return its exits.

    Its class becomes one of its own, below the class that it has. Calls return ``exits_of`` of
    their result; they raise TraceError if that is not an exit.
    """
    kind = type(module)
    forward: Any = kind.forward

    @functools.wraps(forward)
    def as_it_is(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return exits_of(forward(self, *args, **kwargs), kind.__name__)

    def one_tensor(self: nn.Module, x: torch.Tensor) -> Any:
        return exits_of(forward(self, x), kind.__name__)

    # torch.fx reads how many arguments there are from the function, and knows no number for these.
    new = one_tensor if takes_anything(module) else as_it_is
    module.__class__ = type(kind.__name__, (kind,), {"forward": new})


def exits_of(output: Any, name: str) -> Any:
    """One tensor, or a tuple or list with a tensor or a tuple of tensors for each exit.

    A dict or a dataclass that holds one tensor is that tensor, whatever else is in it. One that
    holds several says nothing of the order of exits; within a tuple or list it is one exit, with
    its tensors in the order of its entries, as a tuple or list there is.

    Args:
        output: of tensors, or of what stands for them in a trace.
        name: the model's name, for messages.

    Raises:
        TraceError: saying what to wrap the model in.
    """
    named = _named(output)
    if named is not None:
        found = dict(_tensors(output))
        tensors = list(found)
        if len(tensors) == 1:
            return found[tensors[0]]
        if not tensors:
            raise TraceError(f"{name} returns a {type(output).__name__} without a tensor")
        raise TraceError(
            f"{name} returns a {type(output).__name__} with {len(tensors)} tensors, and their "
            "names don't tell which exit is the shallowest. "
            + _wrapped(tensors)
            + f"\nOne exit that has all of them is `return (({', '.join(_read(tensors))}),)`."
        )
    if not isinstance(output, tuple | list):
        return output
    return tuple(_outputs_of(item, number, output, name) for number, item in enumerate(output, 1))


def _outputs_of(item: Any, number: int, output: Any, name: str) -> Any:
    """The tensor of one exit, or its tensors as a tuple; anything else as it is."""
    named = _named(item)
    if named is None and not isinstance(item, tuple | list):
        return item
    tensors = tuple(named.values()) if named is not None else tuple(item)
    if not tensors:
        raise TraceError(f"{name} returns an empty {type(item).__name__} as exit {number}")
    for inner in tensors:
        if isinstance(inner, tuple | list) or _named(inner) is not None:
            raise TraceError(
                f"{name} returns a {type(inner).__name__} within a {type(item).__name__} as exit "
                f"{number}: expected one tensor per exit, or a tuple, list, dict or dataclass of "
                "them. " + _wrapped([path for path, _ in _tensors(output)])
            )
    return tensors


def _named(value: Any) -> dict[str, Any] | None:
    """Fields of a dict or dataclass by how they are read; None for anything else."""
    if isinstance(value, dict):
        return {f"[{key!r}]": item for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {f".{field.name}": getattr(value, field.name) for field in fields}
    return None


def _tensors(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Tensors anywhere in a value, each with how it is read from it."""
    if isinstance(value, torch.Tensor | fx.Proxy):
        yield path, value
        return
    named = _named(value)
    if named is None and isinstance(value, tuple | list):
        named = {f"[{number}]": item for number, item in enumerate(value)}
    for step, item in (named or {}).items():
        yield from _tensors(item, path + step)


def _read(paths: list[str]) -> list[str]:
    """How the first outputs are read from what the model returns."""
    return [f"out{path}" for path in paths[:3]]


def _wrapped(paths: list[str]) -> str:
    """What to write around the model, with the names of its own outputs."""
    shown = ", ".join(_read(paths))
    return (
        "Wrap it in a module that returns the tensors you want as exits, shallowest first:\n"
        "    def forward(self, x):\n"
        "        out = self.model(x)\n"
        f"        return {shown}"
    )
