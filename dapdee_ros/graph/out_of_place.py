"""Out-of-place equivalents of operations that write to their argument."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx, nn

_OUT_OF_PLACE: dict[Any, Callable[..., Any]] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
    torch.relu_: torch.relu,
}
# Listed explicitly, because a trailing underscore does not guarantee an equivalent without it.
_IN_PLACE_METHODS = frozenset(
    (
        "relu_", "sigmoid_", "tanh_", "clamp_", "clamp_min_", "clamp_max_", "hardtanh_", "add_",
        "sub_", "mul_", "div_", "pow_", "exp_", "sqrt_", "neg_", "abs_", "square_",
    )
)  # fmt: skip


def clone_tensors(value: Any) -> Any:
    """A copy of ``value`` with every tensor in it cloned; strides are kept."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, list):
        return [clone_tensors(item) for item in value]
    if isinstance(value, tuple):
        items = [clone_tensors(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if isinstance(value, dict):
        return {key: clone_tensors(item) for key, item in value.items()}
    return value


def pure_module(module: nn.Module) -> nn.Module | None:
    """A copy of one of torch's own modules that doesn't overwrite its input, if there is one."""
    own = type(module).__module__.startswith("torch.nn.modules.")
    if not own or getattr(module, "inplace", None) is not True:
        return None
    pure = copy.copy(module)
    pure.inplace = False  # type: ignore[assignment]
    return pure


def make_pure_call(node: fx.Node, tensors: Sequence[torch.Tensor]) -> bool:
    """Switch a call of a function or method to the form that returns a new tensor.

    Args:
        node: the call; changed if there is such a form.
        tensors: what it reads.

    Returns:
        Whether there is one that gives the same values.
    """
    if node.op == "call_function" and node.kwargs.get("inplace") is True:
        node.kwargs = {**node.kwargs, "inplace": False}
        return True
    # Of mixed dtypes the new tensor may get another one than the overwritten tensor has.
    if not all(t.dtype is tensors[0].dtype and t.is_floating_point() for t in tensors):
        return False
    if node.op == "call_function" and node.target in _OUT_OF_PLACE:
        node.target = _OUT_OF_PLACE[node.target]
        return True
    if node.op == "call_method" and node.target in _IN_PLACE_METHODS:
        node.target = str(node.target).removesuffix("_")
        return True
    return False
