"""Floating-point operations of operators in ONNX; a multiply-add counts as two."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import onnx

Shape = tuple[int, ...]

_MOVING = {
    "Cast", "Concat", "Constant", "ConstantOfShape", "DepthToSpace", "Expand", "Flatten", "Gather",
    "GatherElements", "GatherND", "Identity", "Pad", "Reshape", "ScatterElements", "ScatterND",
    "Shape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
}  # fmt: skip
"""Move numbers and compute none."""

_PER_INPUT = {
    "ArgMax", "ArgMin", "CumSum", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool",
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
}  # fmt: skip
"""One operation per number that is read."""

_PER_OUTPUT = {
    "BatchNormalization": 2,
    "GroupNormalization": 5,
    "InstanceNormalization": 5,
    "LayerNormalization": 5,
    "LogSoftmax": 5,
    "LpNormalization": 3,
    "Softmax": 5,
}
"""Operations per number that is written; operators in none of the tables count as one."""

_LINEAR_RESIZE = 8


def flops(node: onnx.NodeProto, result: str, shapes: Mapping[str, Shape]) -> int:
    """Operations of one run of an operator, of the same weight as those counted under torch.

    Args:
        node: the operator.
        result: which of its results counts, if it has several.
        shapes: of tensors and weights by name.

    >>> conv = onnx.helper.make_node("Conv", ["x", "w"], ["y"])
    >>> flops(conv, "y", {"x": (1, 3, 8, 8), "w": (16, 3, 3, 3), "y": (1, 16, 6, 6)})
    31104
    """
    kind, reads = node.op_type, [shapes.get(name, ()) for name in node.input]
    written = prod(shapes[result])
    if kind in _MOVING:
        return 0
    if kind in ("Conv", "ConvInteger", "QLinearConv"):
        weight = reads[3] if kind == "QLinearConv" else reads[1]
        return 2 * written * prod(weight[1:])
    if kind == "ConvTranspose":
        return 2 * prod(reads[0]) * prod(reads[1][1:])
    if kind in ("Gemm", "MatMul", "MatMulInteger", "QLinearMatMul"):
        first = reads[0]
        inner = first[0] if kind == "Gemm" and _attribute(node, "transA", 0) else first[-1]
        return 2 * written * inner
    if kind in ("AveragePool", "LpPool", "MaxPool"):
        return written * prod(_attribute(node, "kernel_shape", [1]))
    if kind in ("GRU", "LSTM", "RNN"):
        length, batch = reads[0][0], reads[0][1]
        return 2 * length * batch * (prod(reads[1]) + prod(reads[2]))
    if kind in ("Resize", "Upsample"):
        return written * (
            1 if _attribute(node, "mode", b"nearest") == b"nearest" else _LINEAR_RESIZE
        )
    if kind in _PER_INPUT:
        return prod(reads[0])
    return written * _PER_OUTPUT.get(kind, 1)


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    for attribute in node.attribute:
        if attribute.name == name:
            return onnx.helper.get_attribute_value(attribute)
    return default
