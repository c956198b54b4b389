"""A convolution as a matrix product gives what the convolution gives."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dapdee_ros.training.small_maps import SmallMapConv2d, use_matrix_products


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (4, 3)])
def test_output_and_gradients_are_those_of_the_convolution(height: int, width: int) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(256, 40, 3, padding=1, bias=False)
    other = nn.Conv2d(256, 40, 3, padding=1, bias=False)
    other.load_state_dict(plain.state_dict())
    assert use_matrix_products(nn.Sequential(other)) == 1
    other.weight.data = other.weight.data.contiguous(memory_format=torch.channels_last)
    x = torch.randn(3, 256, height, width)
    seen = []
    for conv in (plain, other):
        given = x.clone().requires_grad_()
        out = conv(given)
        (out * torch.arange(out.numel()).view(out.shape).sin()).sum().backward()
        assert given.grad is not None and conv.weight.grad is not None
        seen.append((out, given.grad, conv.weight.grad))
    for expected, got in zip(*seen, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_only_convolutions_that_can_be_are_changed() -> None:
    model = nn.Sequential(
        nn.Conv2d(256, 8, 3, padding=1, bias=False),
        nn.Conv2d(256, 8, 3, padding=1),
        nn.Conv2d(256, 8, 3, padding=1, stride=2, bias=False),
        nn.Conv2d(256, 256, 3, padding=1, groups=256, bias=False),
        nn.Conv2d(16, 8, 3, padding=1, bias=False),
    )
    assert use_matrix_products(model) == 1
    assert type(model[0]) is SmallMapConv2d
    assert all(type(module) is nn.Conv2d for module in list(model)[1:])


def test_autocast_computes_in_bfloat16() -> None:
    conv = nn.Conv2d(256, 8, 3, padding=1, bias=False)
    use_matrix_products(nn.Sequential(conv))
    with torch.autocast("cpu", torch.bfloat16):
        assert conv(torch.randn(2, 256, 2, 2)).dtype is torch.bfloat16
