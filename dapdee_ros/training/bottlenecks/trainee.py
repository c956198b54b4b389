"""A bottleneck between a frozen network's two sides, as a module that a training can train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dapdee_ros.codecs.bottleneck.file import BottleneckError
from dapdee_ros.exits.card import ModelCard
from dapdee_ros.graph.cuts import head_of
from dapdee_ros.training.bottlenecks.coding import Decoder, latent_grid, make_encoder
from dapdee_ros.training.bottlenecks.components import patches_of, principal_components
from dapdee_ros.training.bottlenecks.distillation import feature_error, output_error, variances
from dapdee_ros.training.bottlenecks.frozen import FrozenNetwork, deeper_tensors, exits_behind
from dapdee_ros.training.bottlenecks.points import Point, quantised, rate_weights, sent
from dapdee_ros.training.bottlenecks.prior import LearnedPrior

_DEEPER = 4
_BOUNDARY_WEIGHT, _DEEPER_WEIGHT, _OUTPUT_WEIGHT = 0.05, 0.5, 1.0
"""Most of what a boundary holds does not matter for the outputs: it would only take bytes."""

_NOISE, _AT_ONCE = 0.3, 8
"""Of a channel's deviation, to see what matters; frames at once."""

MEASURED_FRAMES = 64
"""Frames that the boundary's means and deviations are measured on."""


@dataclass(frozen=True)
class Design:
    """What is fixed about a bottleneck before it is trained.

    Attributes:
        boundary: names of its tensors, in the DAG's order.
        points: operating points, fewest bytes first.
        channels: of the latent.
        rate_weight: what a kilobyte per frame weighs at the finest point, against the distillation.
    """

    boundary: tuple[str, ...]
    points: tuple[Point, ...]
    channels: int
    rate_weight: float


class Trainee(nn.Module):
    """Encoder, quantiser, prior and decoder; the frozen network on both sides is no part of it.

    Args:
        network: the frozen network.
        design: of the bottleneck.

    Attributes:
        exits: the exits that follow from the boundary.

    Raises:
        GraphError: if the boundary is none of a cut.
        BottleneckError: if no encoder for it is small enough.
    """

    deeper_variance: Tensor
    steps: Tensor
    counts: Tensor
    weights: Tensor

    def __init__(self, network: FrozenNetwork, design: Design) -> None:
        super().__init__()
        dag, boundary = network.dag, design.boundary
        self.design = design
        self.exits = exits_behind(dag, boundary)
        shapes = [dag.by_name[name].shape for name in boundary]
        grid = latent_grid(shapes, network.card.input_size)
        head = head_of(dag, self.exits[-1], boundary)
        head_flops = sum(dag.by_name[name].flops for name in head)
        self.latent_shape = (1, design.channels, grid[0], grid[1])
        self.encoder = make_encoder(shapes, design.channels, grid, head_flops)
        self.decoder = Decoder(shapes, design.channels, grid)
        self.prior = LearnedPrior(design.channels)
        deeper = deeper_tensors(dag, boundary, self.exits[-1], _DEEPER)
        outputs = [dag.exit_sink(number) for number in self.exits]
        errors = {
            name: output_error(network.card.task, dag.by_name[name].shape) for name in outputs
        }
        # Out of the reach of nn.Module: not trained, not stored, not copied to average it.
        self._frozen = _Apart(
            network.part([dag.input], [*boundary, *deeper, *outputs]),
            network.part(boundary, [*deeper, *outputs]),
            [errors[name] for name in outputs],
            len(deeper),
        )
        self.register_buffer("deeper_variance", torch.ones(len(deeper)))
        self.register_buffer("steps", torch.tensor([p.step for p in design.points]))
        self.register_buffer("counts", torch.tensor([p.channels for p in design.points]))
        self.register_buffer("weights", torch.tensor(rate_weights(design.points)))

    def measure(self, images: Tensor) -> None:
        """Learn from some frames, uint8 ``(B, H, W, 3)``, how the boundary's values lie.

        Scales and offsets of its channels, and the principal components to begin with.
        """
        with torch.inference_mode():
            tensors = self._frozen.teacher(images)
        count = len(self.design.boundary)
        for number, tensor in enumerate(tensors[:count]):
            mean = tensor.mean((0, 2, 3), keepdim=True)
            spread = tensor.std((0, 2, 3), keepdim=True)
            spread = spread.clamp_min(1e-3 * float(tensor.std().clamp_min(1e-6)))
            getattr(self.encoder, f"scale{number}").copy_(spread)
            getattr(self.decoder, f"scale{number}").copy_(spread)
            getattr(self.decoder, f"offset{number}").copy_(mean)
            if float(tensor.min()) >= 0:
                getattr(self.decoder, f"least{number}").zero_()
        deeper = tensors[count : count + self._frozen.deeper]
        if deeper:
            self.deeper_variance.copy_(variances(deeper))
        if len(self.encoder.linear):
            self._start_linear(images)
        self.measure_prior(images)

    def _start_linear(self, images: Tensor) -> None:
        """Begin with the components of the boundary that matter most for what follows from it."""
        grid, channels = self.latent_shape[2:4], self.latent_shape[1]
        rows, gradients = [], []
        for some in images.split(_AT_ONCE):
            boundary, after = self.teacher(some)
            scales = [getattr(self.encoder, f"scale{k}") for k in range(len(boundary))]
            noise = [(_NOISE * torch.randn_like(tensor)).requires_grad_() for tensor in boundary]
            moved = [t + d * s for t, d, s in zip(boundary, noise, scales, strict=True)]
            found = self._frozen.rest(*moved)
            _, of_deeper, of_outputs = self.errors(boundary, after, moved, found)
            lost = _DEEPER_WEIGHT * of_deeper.sum() + _OUTPUT_WEIGHT * of_outputs.sum()
            gradients.append(patches_of(torch.autograd.grad(lost, noise), grid))
            rows.append(patches_of([t / s for t, s in zip(boundary, scales, strict=True)], grid))
        found_components = principal_components(torch.cat(rows), channels, torch.cat(gradients))
        self.encoder.start_linear(found_components.encode, found_components.bias)
        self.decoder.start_linear(found_components.decode)

    def measure_prior(self, images: Tensor) -> None:
        """Begin with a prior that fits the latent of some frames, uint8 ``(B, H, W, 3)``."""
        boundary, _ = self.teacher(images)
        with torch.no_grad():
            latent = self.encoder(boundary)
        self.prior.start(latent.mean((0, 2, 3)), latent.std((0, 2, 3)))

    def teacher(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The boundary, and what follows from it, for uint8 ``(B, H, W, 3)``."""
        with torch.no_grad():
            tensors = self._frozen.teacher(images)
        count = len(self.design.boundary)
        return list(tensors[:count]), list(tensors[count:])

    def answers(self, restored: Sequence[Tensor]) -> list[Tensor]:
        """What the exits behind the boundary put out, from the boundary's tensors."""
        found = self._frozen.rest(*restored)
        return list(found[self._frozen.deeper :])

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """What a step is judged by, for frames uint8 ``(B, H, W, 3)``, each at a random point.

        Returns:
            For each frame: error of the boundary, of the deeper features, of the outputs, bytes,
            and what a kilobyte weighs; float32 ``(B,)`` each.
        """
        boundary, after = self.teacher(images)
        batch = len(images)
        chosen = torch.randint(len(self.design.points), (batch,))
        step, channels = self.steps[chosen], self.counts[chosen]
        with torch.autocast(images.device.type, enabled=False):
            latent = self.encoder([tensor.float() for tensor in boundary])
            bits = self.prior.bits(latent, step) * sent(latent, channels)
        restored = self.decoder(quantised(latent, channels, step))
        found = self._frozen.rest(*restored)
        errors = self.errors(boundary, after, restored, found)
        # Of a part of a frame as much as of the whole.
        whole = self.latent_shape[2] * self.latent_shape[3] / (latent.shape[2] * latent.shape[3])
        return (*errors, whole * bits.flatten(1).sum(1) / 8, self.weights[chosen])

    def errors(
        self,
        boundary: Sequence[Tensor],
        after: Sequence[Tensor],
        restored: Sequence[Tensor],
        found: Sequence[Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Errors of boundary, deeper features and outputs, per frame ``(B,)`` each."""
        deeper = self._frozen.deeper
        of_boundary = boundary[0].new_zeros(len(boundary[0]))
        for number, (was, now) in enumerate(zip(boundary, restored, strict=True)):
            apart = (now - was) / getattr(self.decoder, f"scale{number}")
            of_boundary = of_boundary + apart.float().square().flatten(1).mean(1) / len(boundary)
        of_deeper = boundary[0].new_zeros(len(boundary[0]))
        for was, now, variance in zip(
            after[:deeper], found[:deeper], self.deeper_variance, strict=True
        ):
            of_deeper = of_deeper + feature_error(now, was, variance) / deeper
        of_outputs = boundary[0].new_zeros(len(boundary[0]))
        for error, was, now in zip(
            self._frozen.errors, after[deeper:], found[deeper:], strict=True
        ):
            of_outputs = of_outputs + error(now, was) / len(self._frozen.errors)
        return of_boundary, of_deeper, of_outputs

    def loss(self, outputs: Sequence[Tensor]) -> Tensor:
        """What is minimised, from what ``forward`` returned."""
        boundary, deeper, answers, size_bytes, weight = outputs
        distance = _BOUNDARY_WEIGHT * boundary + _DEEPER_WEIGHT * deeper + _OUTPUT_WEIGHT * answers
        return (distance + self.design.rate_weight * weight * size_bytes / 1000).mean()


def can_have_bottleneck(card: ModelCard, boundary: Sequence[str], channels: int) -> bool:
    """Whether there is an encoder for a boundary that is small enough beside its head."""
    dag = card.dag
    shapes = [dag.by_name[name].shape for name in boundary]
    flops = sum(dag.by_name[name].flops for name in dag.ancestors(boundary))
    try:
        make_encoder(shapes, channels, latent_grid(shapes, card.input_size), flops)
    except BottleneckError:
        return False
    return all(dag.by_name[name].dtype == "float32" for name in boundary)


class _Apart:
    """The frozen network's parts, shared by all copies of a trainee."""

    def __init__(self, teacher: nn.Module, rest: nn.Module, errors: list[Any], deeper: int) -> None:
        self.teacher, self.rest, self.errors, self.deeper = teacher, rest, errors, deeper

    def __deepcopy__(self, _memo: Any) -> _Apart:
        return self
