"""A tensor's memory layout, and how to give it to another tensor."""

from __future__ import annotations

from dataclasses import dataclass

import torch

ALIGNMENT_BYTES = 64


@dataclass(frozen=True)
class Layout:
    """The memory layout of a tensor.

    Attributes:
        shape: its size per dimension.
        stride: elements between neighbours, per dimension.
        dtype: element type.
        misalignment_bytes: its address modulo 64. Torch's own allocations start at a multiple of
            64; a slice of one need not.
    """

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    misalignment_bytes: int

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Layout:
        """The layout of ``tensor``."""
        return cls(
            tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.data_ptr() % ALIGNMENT_BYTES
        )

    @property
    def dtype_name(self) -> str:
        """NumPy's name of the dtype."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def size_bytes(self) -> int:
        """Bytes of the elements."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


def lay_out(tensor: torch.Tensor, layout: Layout) -> torch.Tensor:
    """The same elements, in the memory layout ``layout``.

    A tensor from the wire is contiguous. oneDNN and MKL choose their kernels by strides and
    alignment, and different kernels round differently; so that a tail computes bit for bit what
    the unsplit network does, it needs its tensors in the same layout. No copy is made if they
    already have it.
    """
    if (
        tensor.stride() == layout.stride
        and tensor.data_ptr() % ALIGNMENT_BYTES == layout.misalignment_bytes
    ) or tensor.numel() == 0:
        return tensor
    offset = layout.misalignment_bytes // layout.dtype.itemsize
    extent = sum((d - 1) * s for d, s in zip(layout.shape, layout.stride, strict=True)) + 1
    memory = torch.empty(offset + extent, dtype=layout.dtype, device=tensor.device)
    laid_out = memory.as_strided(layout.shape, layout.stride, offset)
    if 0 in layout.stride:
        # Expanded: several elements share one memory location.
        index = tuple(slice(0, 1) if s == 0 else slice(None) for s in layout.stride)
        laid_out[index].copy_(tensor[index])
        return laid_out
    return laid_out.copy_(tensor)
