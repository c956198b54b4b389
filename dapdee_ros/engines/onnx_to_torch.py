"""Parts of an ONNX network as torch modules, which gradients flow through.

Needs torch and onnx2torch.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dapdee_ros.engines.engine import Engine, EngineError
from dapdee_ros.engines.onnx_model import OnnxModel, Part
from dapdee_ros.graph.torchvision_import import torchvision  # noqa: F401

# isort: split
# It imports torchvision, which the line above does in the way that always works.
import onnx2torch
from onnx2torch.node_converters import get_converter
from onnx2torch.node_converters.registry import add_converter
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OperationConverterResult, onnx_mapping_from_node

_SPACE_TO_DEPTH = "SpaceToDepth"
_DOMAINS = ("", "ai.onnx")

TOLERANCE = 1e-3
"""By how much of a tensor's largest value torch may differ from the engine."""


class _SpaceToDepth(nn.Module):
    def __init__(self, block: int) -> None:
        super().__init__()
        self._block = block

    def forward(self, x: Tensor) -> Tensor:
        """Blocks of ``(B, C, H, W)`` as channels, those of the same place in a block together."""
        batch, channels, height, width = x.shape
        block = self._block
        cells = x.reshape(batch, channels, height // block, block, width // block, block)
        return cells.permute(0, 3, 5, 1, 2, 4).reshape(
            batch, channels * block**2, height // block, width // block
        )


def _space_to_depth(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
    return OperationConverterResult(
        _SpaceToDepth(node.attributes["blocksize"]), onnx_mapping_from_node(node)
    )


# The only operator of the detectors named in docs/import.md that the library lacks.
for _version in (1, 13):
    try:
        get_converter(_SPACE_TO_DEPTH, _version)
    except NotImplementedError:
        add_converter(_SPACE_TO_DEPTH, _version)(_space_to_depth)


class TorchPart(nn.Module):
    """What an ONNX network computes of some tensors from others, for batches and for gradients.

    An imported network is one for a batch of 1, and its shapes say so here and there. So the frames
    of a batch are computed one after the other. The weights do not change.

    Args:
        network: the whole network.
        given: nodes whose tensors it takes, in this order.
        wanted: nodes whose tensors it returns, as a tuple in this order.

    Raises:
        GraphError: if a name is unknown, or the given tensors do not suffice.
        EngineError: if torch cannot compute it; names the operators.
    """

    def __init__(self, network: OnnxModel, given: Sequence[str], wanted: Sequence[str]) -> None:
        super().__init__()
        part = network.part(given, wanted)
        self._given, self._wanted = tuple(given), tuple(wanted)
        self._read, self._computed = part.inputs, part.outputs
        self._module = _converted(part, network)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The wanted tensors from the given ones, each ``(B, ...)``."""
        frames = [
            self._of_frame([tensor[place : place + 1] for tensor in tensors])
            for place in range(len(tensors[0]))
        ]
        return tuple(torch.cat(of_tensor) for of_tensor in zip(*frames, strict=True))

    def _of_frame(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        there = dict(zip(self._given, tensors, strict=True))
        if self._computed:
            found = self._module(*(there[name] for name in self._read))
            rows = found if isinstance(found, list | tuple) else [found]
            there.update(zip(self._computed, rows, strict=True))
        return [there[name] for name in self._wanted]


def _converted(part: Part, network: OnnxModel) -> nn.Module:
    model = onnx.ModelProto()
    model.CopyFrom(part.model)
    onnx.load_external_data_for_model(model, str(network.folder))
    _check_operators(model)
    _rename(model, part)
    try:
        with warnings.catch_warnings():
            # Of what may differ; whether it does, the comparison tells.
            warnings.simplefilter("ignore")
            module = onnx2torch.convert(model)
    except (NotImplementedError, RuntimeError, ValueError, KeyError) as error:
        raise EngineError(_cannot(f"{type(error).__name__}: {error}")) from error
    for weight in (*module.parameters(), *module.buffers()):
        weight.requires_grad_(False)
        if weight.ndim == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    return module.eval()


def _check_operators(model: onnx.ModelProto) -> None:
    versions = {opset.domain: opset.version for opset in model.opset_import}
    missing = {}
    for node in model.graph.node:
        try:
            get_converter(node.op_type, versions.get(node.domain, 0), node.domain)
        except NotImplementedError:
            domain = "" if node.domain in _DOMAINS else f"{node.domain}."
            missing[f"{domain}{node.op_type}"] = node.name.rpartition("#")[0]
    if missing:
        which = ", ".join(f"{kind} (at {name})" for kind, name in sorted(missing.items()))
        raise EngineError(_cannot(f"no operator of torch stands for {which}"))


def _cannot(why: str) -> str:
    return (
        f"this network cannot be computed with gradients: {why}. Export it with other operators, "
        "or train what is to have a bottleneck from PyTorch"
    )


def _rename(model: onnx.ModelProto, part: Part) -> None:
    """Give operators and inputs names that cannot be each other's; the library confuses those."""
    graph = model.graph
    new = {name: f"given_{place}" for place, name in enumerate(part.inputs)}
    for place, node in enumerate(graph.node):
        node.name = f"operator_{place}"
        node.input[:] = [new.get(name, name) for name in node.input]
    for described in graph.input:
        described.name = new[described.name]
    # What has several outputs would be returned with all of them.
    for place, described in enumerate(graph.output):
        graph.node.append(
            onnx.helper.make_node(
                "Identity", [described.name], [f"wanted_{place}"], f"wanted_{place}"
            )
        )
        described.name = f"wanted_{place}"


def check_as(engine: Engine, network: OnnxModel, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Compare what torch computes with an engine, tensor by tensor.

    Args:
        engine: whose results are right.
        network: the same network.
        tensors: what to compute all others from: a frame.

    Raises:
        EngineError: if they differ by more than ``TOLERANCE``; names the first tensor.
    """
    wanted = [n.name for n in network.dag.nodes if n.name not in tensors and n.dtype == "float32"]
    module = TorchPart(network, list(tensors), wanted)
    right = engine.run(dict(tensors), wanted)
    try:
        with torch.inference_mode():
            found = module(*(torch.from_numpy(np.ascontiguousarray(t)) for t in tensors.values()))
    except (NotImplementedError, RuntimeError, ValueError, TypeError, IndexError) as error:
        raise EngineError(_cannot(f"{type(error).__name__}: {error}")) from error
    for name, tensor in zip(wanted, found, strict=True):
        expected, came = right[name], tensor.numpy()
        if came.shape != expected.shape:
            raise EngineError(_cannot(f"{name} has shape {came.shape}, not {expected.shape}"))
        apart = float(np.abs(came - expected).max(initial=0.0))
        largest = float(np.abs(expected).max(initial=0.0))
        if not apart <= TOLERANCE * max(largest, TOLERANCE):
            kind = network.dag.by_name[name].op
            raise EngineError(
                _cannot(
                    f"torch's {name} ({kind}) differs from {engine.name}'s by {apart:.3g}, where "
                    f"the largest value is {largest:.3g}"
                )
            )
