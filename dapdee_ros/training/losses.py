"""Joint training of exits as multi-task learning: the combined loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class JointLoss(nn.Module):
    """One loss from the logits of all exits.

    The weighted sum of the exits' cross-entropies. Optionally the weights are learned from each
    exit's uncertainty (A. Kendall et al., "Multi-Task Learning Using Uncertainty to Weigh Losses",
    CVPR 2018): loss ``k`` becomes ``exp(-s_k) L_k + s_k / 2`` with ``s_k`` learned, times the
    configured weight. Optionally the earlier exits also learn from the deepest one's softened
    answer (M. Phuong and C. Lampert, "Distillation-Based Training for Multi-Exit Architectures",
    ICCV 2019).

    Args:
        weights: one per exit, shallowest first.
        label_smoothing: share of the target spread over all classes.
        uncertainty: learn the weights.
        distillation: weight of the distillation term; 0 leaves it out.
        distillation_temperature: what both sides' logits are divided by for it.
    """

    def __init__(
        self,
        weights: Sequence[float],
        *,
        label_smoothing: float = 0.0,
        uncertainty: bool = False,
        distillation: float = 0.0,
        distillation_temperature: float = 3.0,
    ) -> None:
        super().__init__()
        self.weights = tuple(weights)
        self.label_smoothing = label_smoothing
        self.distillation = distillation
        self.distillation_temperature = distillation_temperature
        self.log_variance = nn.Parameter(torch.zeros(len(self.weights))) if uncertainty else None

    def forward(self, logits: Sequence[Tensor], labels: Tensor) -> Tensor:
        """The loss, a scalar, for logits ``(B, K)`` of each exit.

        ``labels`` are classes, int64 ``(B,)``, or shares of classes, float32 ``(B, K)``.
        """
        heat = self.distillation_temperature
        teacher = functional.log_softmax(logits[-1].detach().float() / heat, dim=1)
        total = logits[-1].new_zeros((), dtype=torch.float32)
        for place, (weight, row) in enumerate(zip(self.weights, logits, strict=True)):
            # A weight of 0 leaves the exit out, also from the distillation.
            if weight == 0:
                continue
            row = row.float()
            loss = functional.cross_entropy(row, labels, label_smoothing=self.label_smoothing)
            if self.distillation and place < len(logits) - 1:
                student = functional.log_softmax(row / heat, dim=1)
                apart = functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
                # The gradients of softened logits shrink with the square of the temperature.
                loss = loss + self.distillation * heat * heat * apart
            if self.log_variance is not None:
                doubt = self.log_variance[place]
                loss = torch.exp(-doubt) * loss + doubt / 2
            total = total + weight * loss
        return total


def rising_weights(exits: int) -> tuple[float, ...]:
    """Weights from 0.3 for the shallowest to 1 for the deepest exit, evenly.

    The deepest exit is what the shared layers should serve most; the shallow ones learn easily.
    """
    if exits == 1:
        return (1.0,)
    return tuple(round(0.3 + 0.7 * k / (exits - 1), 4) for k in range(exits))
