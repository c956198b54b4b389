"""Adaptive average pooling in the exported network, for sizes that ONNX has no operator for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from dapdee_ros.engines.onnx_export import export
from dapdee_ros.engines.onnxruntime_engine import OnnxRuntimeEngine
from dapdee_ros.graph.trace import trace


class Pooled(nn.Module):
    """A convolution, then pooling as a module or as a function."""

    def __init__(self, pooled: tuple[int, int], as_function: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.pool = nn.AdaptiveAvgPool2d(pooled)
        self.pooled, self.as_function = pooled, as_function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        if self.as_function:
            return functional.adaptive_avg_pool2d(x, self.pooled) * 2
        return self.pool(x) * 2


@pytest.mark.parametrize("as_function", [False, True])
@pytest.mark.parametrize(
    ("size", "pooled"),
    [((11, 11), (2, 2)), ((9, 13), (2, 3)), ((10, 10), (3, 3)), ((7, 4), (5, 2)), ((6, 5), (1, 1))],
)
def test_pooling_over_uneven_windows_is_exported(
    size: tuple[int, int], pooled: tuple[int, int], as_function: bool
) -> None:
    torch.manual_seed(0)
    module = Pooled(pooled, as_function).eval()
    image = torch.rand(1, 3, *size)
    with torch.inference_mode():
        expected = module(image).numpy()
    torch.manual_seed(0)
    network = export(trace(Pooled(pooled, as_function).eval(), torch.rand(1, 3, *size)))
    pool = next(n for n in network.dag.nodes if n.shape[-2:] == pooled)
    assert pool.shape == (1, 4, *pooled)
    came = OnnxRuntimeEngine(network).run({network.dag.input: image.numpy()}, network.dag.outputs)
    np.testing.assert_allclose(came[network.dag.outputs[-1]], expected, rtol=1e-5, atol=1e-6)
