"""A backbone with exits, from the camera's bytes to one row of logits per exit."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dapdee_ros.exits.placement import place_taps
from dapdee_ros.graph.dag import GraphError
from dapdee_ros.graph.torchvision_import import torchvision
from dapdee_ros.graph.trace import trace


class ImageInput(nn.Module):
    """uint8 ``(B, H, W, 3)`` to float32 ``(B, 3, H, W)``, normalised per channel.

    One node of the DAG: no cut inside it could be better than one before or after it.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        means, stds = torch.tensor(mean).view(1, 3, 1, 1), torch.tensor(std).view(1, 3, 1, 1)
        # Not in the state: mean and std are in model.json.
        self.register_buffer("scale", 1 / (255 * stds), persistent=False)
        self.register_buffer("offset", -means / stds, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Convert and normalise."""
        # Contiguous, because a decoded boundary is: the layout chooses the kernel, and a tail must
        # take the kernels of the unsplit network to give the same bits.
        pixels = image.permute(0, 3, 1, 2).to(torch.float32).contiguous()
        return pixels * self.scale + self.offset


class ExitBranch(nn.Sequential):
    """A light classifier on a map or a vector.

    A map of side ``s`` is averaged down to about 8x8, goes through one 3x3 convolution of
    ``width`` channels with batch norm, is averaged to ``grid`` x ``grid`` and through one linear
    layer. A vector goes through the linear layer alone.

    Args:
        shape: shape of the tapped tensor, ``(1, C, H, W)`` or ``(1, C)``.
        classes: number of classes.
        width: channels of the convolution.
        grid: side of the map that the linear layer sees.

    Raises:
        GraphError: if a tensor of that shape cannot be classified like this.
    """

    def __init__(self, shape: Sequence[int], classes: int, width: int = 32, grid: int = 2) -> None:
        if len(shape) == 2:
            super().__init__(nn.Linear(shape[1], classes))
            return
        if len(shape) != 4:
            raise GraphError(
                f"an exit needs a map (1, C, H, W) or a vector (1, C), the tap has shape "
                f"{tuple(shape)}; choose another node"
            )
        _, channels, height, _ = shape
        shrink = max(1, height // 8)
        grid = min(grid, height // shrink)
        layers: list[nn.Module] = [nn.AvgPool2d(shrink)] if shrink > 1 else []
        layers += [
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(grid),
            nn.Flatten(1),
            nn.Linear(width * grid * grid, classes),
        ]
        super().__init__(*layers)


class MultiExit(nn.Module):
    """A backbone with exits at chosen nodes; the backbone's own output is the deepest exit.

    Args:
        backbone: a network that takes float32 ``(B, 3, H, W)`` and returns logits ``(B, K)``.
        taps: names of the nodes to put exits on, in topological order, or how many to place
            automatically (see ``place_taps``).
        input_size: height and width of the input in pixels.
        mean: per channel, of values from 0 to 1.
        std: per channel.
        branch_width: channels of the branches' convolutions.
        branch_grid: side of the map that the branches' linear layers see.

    Attributes:
        taps: the nodes of the backbone that carry exits, shallowest first.

    Raises:
        GraphError: if the backbone cannot be traced, a tap is unknown, or they are out of order.
    """

    def __init__(
        self,
        backbone: nn.Module,
        taps: Sequence[str] | int,
        *,
        input_size: tuple[int, int],
        mean: Sequence[float],
        std: Sequence[float],
        branch_width: int = 32,
        branch_grid: int = 2,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        backbone = backbone.eval()
        dag = trace(backbone, torch.zeros(1, 3, *input_size)).dag
        self.taps = place_taps(dag, taps) if isinstance(taps, int) else tuple(taps)
        order = [node.name for node in dag.nodes]
        unknown = [tap for tap in self.taps if tap not in order]
        if unknown:
            raise GraphError(
                f"there is no node {unknown[0]!r} to put an exit on; the network has "
                f"{', '.join(order[1:])}"
            )
        places = [order.index(tap) for tap in self.taps]
        if not places or places != sorted(set(places)):
            raise GraphError(
                f"taps must be named from the input on, each once and at least one, got {self.taps}"
            )
        sink = dag.exit_sink(len(dag.exits))
        if sink in self.taps:
            raise GraphError(f"{sink!r} is the network's output, already the deepest exit")
        classes = dag.by_name[sink].shape[-1]
        self.normalise = ImageInput(mean, std)
        self._outputs = (*self.taps, sink)
        extraction = importlib.import_module(f"{torchvision.__name__}.models.feature_extraction")
        self.backbone = extraction.create_feature_extractor(backbone, list(self._outputs))
        self.branches = nn.ModuleList(
            ExitBranch(dag.by_name[tap].shape, classes, branch_width, branch_grid)
            for tap in self.taps
        )

    @property
    def exits(self) -> int:
        """How many exits there are."""
        return len(self._outputs)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Logits ``(B, K)`` of every exit, shallowest first, for uint8 ``(B, H, W, 3)``."""
        pixels = self.normalise(image)
        if self.training:
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        features = self.backbone(pixels)
        early = [
            branch(features[tap]) for branch, tap in zip(self.branches, self.taps, strict=True)
        ]
        return (*early, features[self._outputs[-1]])
