"""Adaptive average pooling as ONNX can have it, whatever the sizes. Needs torch."""

from __future__ import annotations

import torch
from torch import fx, nn
from torch.nn import functional

from dapdee_ros.graph.facts import attach, facts_of


class _AveragedWindows(nn.Module):
    """Adaptive average pooling as two matrix products, one per side."""

    rows: torch.Tensor
    columns: torch.Tensor

    def __init__(self, size: tuple[int, int], pooled: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("rows", _averages(size[0], pooled[0]))
        self.register_buffer("columns", _averages(size[1], pooled[1]).T.contiguous())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rows @ x @ self.columns


def _averages(size: int, pooled: int) -> torch.Tensor:
    """The matrix ``(pooled, size)`` that averages the windows of one side."""
    return functional.adaptive_avg_pool1d(torch.eye(size)[None], pooled)[0].T.contiguous()


def replace_uneven_pooling(graph_module: fx.GraphModule) -> int:
    """Write adaptive average pooling over windows of unequal size as matrix products, in place.

    ONNX has pooling only with windows of one size, and torch exports no other.

    Args:
        graph_module: with facts; its graph is changed.

    Returns:
        How many were replaced.
    """
    graph, replaced = graph_module.graph, 0
    for node in list(graph.nodes):
        if not _pools(graph_module, node):
            continue
        before, after = facts_of(node.all_input_nodes[0]).layout, facts_of(node).layout
        if before is None or after is None:
            continue
        height, width = before.shape[-2:]
        pooled_height, pooled_width = after.shape[-2:]
        if height % pooled_height == 0 and width % pooled_width == 0:
            continue
        name = f"averaged_windows_{replaced}"
        module = _AveragedWindows((height, width), (pooled_height, pooled_width))
        graph_module.add_submodule(name, module)
        with graph.inserting_before(node):
            product = graph.call_module(name, (node.all_input_nodes[0],))
        attach(product, facts_of(node))
        node.replace_all_uses_with(product)
        graph.erase_node(node)
        replaced += 1
    return replaced


def _pools(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(graph_module.get_submodule(str(node.target)), nn.AdaptiveAvgPool2d)
    return node.op == "call_function" and node.target in (
        functional.adaptive_avg_pool2d,
        torch._C._nn.adaptive_avg_pool2d,
    )
