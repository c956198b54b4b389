"""Fold batch norms into the convolutions before them."""

from __future__ import annotations

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from dapdee_ros.graph.facts import amend, facts_of, graph_outputs

_CONVOLUTIONS: dict[type[nn.Module], bool] = {  # whether the weight is transposed
    nn.Conv1d: False,
    nn.Conv2d: False,
    nn.Conv3d: False,
    nn.ConvTranspose1d: True,
    nn.ConvTranspose2d: True,
    nn.ConvTranspose3d: True,
}
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def _folded(convolution: nn.Module, norm: nn.Module) -> nn.Module:
    """A convolution equivalent to ``convolution`` followed by ``norm``."""
    result = object.__new__(type(convolution))
    result.__dict__.update(convolution.__dict__)
    result.__dict__["_parameters"] = dict(convolution._parameters)
    with torch.no_grad():
        weight, bias = fuse_conv_bn_weights(
            convolution.weight,  # type: ignore[arg-type]
            convolution.bias,  # type: ignore[arg-type]
            norm.running_mean,  # type: ignore[arg-type]
            norm.running_var,  # type: ignore[arg-type]
            norm.eps,  # type: ignore[arg-type]
            norm.weight,  # type: ignore[arg-type]
            norm.bias,  # type: ignore[arg-type]
            transpose=_CONVOLUTIONS[type(convolution)],
        )
    result._parameters["weight"] = nn.Parameter(weight, requires_grad=False)
    result._parameters["bias"] = nn.Parameter(bias, requires_grad=False)
    return result


def fold_batch_norms(graph_module: fx.GraphModule, *, use_up: bool = False) -> int:
    """Fold every batch norm that is the only reader of a convolution, in place.

    One node remains, with the batch norm's name, since it produces that tensor. A
    convolution that is called more than once, or whose tensor is an exit, stays.

    Args:
        graph_module: with facts; its graph is changed, and so are its submodules, but no module
            object is: folded convolutions are new ones.
        use_up: take the weights out of the folded convolutions, which cannot be used afterwards.
            Without other references there is never a second copy of more than one.

    Returns:
        How many were folded.
    """
    graph = graph_module.graph
    calls: dict[str, int] = {}
    for node in graph.nodes:
        if node.op == "call_module":
            calls[str(node.target)] = calls.get(str(node.target), 0) + 1
    exits = set(graph_outputs(graph))
    folded = 0
    for norm_node in list(graph.nodes):
        if norm_node.op != "call_module" or len(norm_node.all_input_nodes) != 1:
            continue
        norm = graph_module.get_submodule(str(norm_node.target))
        node = norm_node.all_input_nodes[0]
        if (
            type(norm) not in _BATCH_NORMS
            or norm.running_mean is None
            or node.op != "call_module"
            or calls[str(node.target)] != 1
            or len(node.users) != 1
            or node in exits
        ):
            continue
        convolution = graph_module.get_submodule(str(node.target))
        if type(convolution) not in _CONVOLUTIONS:
            continue
        graph_module.set_submodule(str(node.target), _folded(convolution, norm))
        if use_up:
            convolution._parameters["weight"] = None
        facts, norm_facts = facts_of(node), facts_of(norm_node)
        amend(node, name=norm_facts.name, layout=norm_facts.layout, flops=facts.flops)
        norm_node.replace_all_uses_with(node)
        graph.erase_node(norm_node)
        folded += 1
    graph.lint()
    return folded
