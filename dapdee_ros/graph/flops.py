"""Floating-point operations of a piece of torch code, counted on the operators it dispatches."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from dapdee_ros.graph.facts import tensors_in

aten = torch.ops.aten

# Operations per element of the result (normalisations) or of the input (reductions).
_PER_OUTPUT = {
    "native_batch_norm": 2,
    "_native_batch_norm_legit_no_training": 2,
    "cudnn_batch_norm": 2,
    "native_layer_norm": 5,
    "native_group_norm": 5,
    "_softmax": 5,
    "_log_softmax": 5,
    "upsample_nearest2d": 1,
    "upsample_bilinear2d": 8,
}
_PER_INPUT = {
    "mean",
    "sum",
    "amax",
    "amin",
    "max",
    "min",
    "argmax",
    "_adaptive_avg_pool2d",
    "adaptive_max_pool2d",
    "linalg_vector_norm",
}


def _pooling(args: tuple[Any, ...], result: torch.Tensor) -> int:
    kernel = args[1]
    return result.numel() * (prod(kernel) if len(kernel) > 1 else kernel[0] ** 2)


def _fused_attention(args: tuple[Any, ...]) -> int:
    """Operations of torch's fused multi-head self-attention, projections included."""
    batch, length, width = args[0].shape
    projections = 2 * batch * length * width * width * 4
    return projections + 2 * (2 * batch * length * length * width)


def _count(
    operator: torch._ops.OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
) -> int:
    packet = operator.overloadpacket
    formula: Callable[..., int] | None = flop_registry.get(packet)
    name = packet.__name__
    if name == "_native_multi_head_attention":
        return _fused_attention(args)
    if formula is not None:
        # Torch's formulas leave out the bias, which is one addition per element of the result.
        return int(formula(*args, **kwargs, out_val=result))
    results = list(tensors_in(result))
    if not results:
        return 0
    if name in ("max_pool2d_with_indices", "avg_pool2d", "mkldnn_max_pool2d"):
        return _pooling(args, results[0])
    if name in _PER_OUTPUT:
        return _PER_OUTPUT[name] * results[0].numel()
    if name in _PER_INPUT:
        return sum(t.numel() for t in tensors_in(args[0]))
    if torch.Tag.pointwise in operator.tags:
        return results[0].numel()
    return 0


class FlopCounter(TorchDispatchMode):
    """Counts while it is active; a multiply-add counts as two, moving data as nothing.

    Attributes:
        flops: operations so far.
        data_dependent: operators seen whose result's shape depends on the data.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Torch checks this when it creates the class. Otherwise it imports torch._dynamo at the
        # first operator, which is not needed here and takes longer than loading a model.
        return False

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0
        self.data_dependent: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run the operator and count it."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        self.flops += _count(func, args, kwargs, result)
        if torch.Tag.dynamic_output_shape in func.tags:
            self.data_dependent.append(str(func))
        return result
