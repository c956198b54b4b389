"""Joint training of a segmenter's exits: the loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dapdee_ros.datasets.frame_source import UNLABELLED


class SegmentationLoss(nn.Module):
    """One loss from the logits of all exits: the weighted sum of theirs.

    An exit's is the cross-entropy over all known pixels, which small classes hardly matter to, and
    1 - the soft IoU of each class that the batch shows, in which every class counts the same (M.
    Rahman and Y. Wang, "Optimizing Intersection-Over-Union in Deep Neural Networks for Image
    Segmentation", ISVC 2016). Earlier exits may learn from the deepest one's softened answer too
    (M. Phuong and C. Lampert, "Distillation-Based Training for Multi-Exit Architectures", ICCV
    2019).

    Args:
        weights: one per exit, shallowest first; 0 leaves an exit out.
        overlap: weight of the soft IoU.
        distillation: weight of learning from the deepest exit; 0 leaves it out.
        distillation_temperature: what both sides' logits are divided by for it.
        pixel_step: every how many rows and columns a pixel counts: neighbours teach nearly the
            same, and most of the loss's time goes by their number.
    """

    def __init__(
        self,
        weights: Sequence[float],
        *,
        overlap: float = 1.0,
        distillation: float = 0.0,
        distillation_temperature: float = 2.0,
        pixel_step: int = 1,
    ) -> None:
        super().__init__()
        self.weights = tuple(weights)
        self.overlap = overlap
        self.distillation = distillation
        self.distillation_temperature = distillation_temperature
        self.pixel_step = pixel_step

    def forward(self, exits: Sequence[Tensor], truth: Tensor) -> Tensor:
        """The loss, a scalar.

        Args:
            exits: each exit's logits, ``(B, classes, rows, columns)`` at any resolution; they are
                compared with the truth in its own.
            truth: classes, uint8 or int64 ``(B, H, W)``, 255 where they are not known.
        """
        size = truth.shape[-2:]
        # First as large as the truth, then every so many: otherwise they would be of other places.
        every = slice(None, None, self.pixel_step)
        truth = truth[:, every, every].long()
        known = truth != UNLABELLED
        heat = self.distillation_temperature
        teacher = functional.log_softmax(exits[-1].detach().float() / heat, dim=1)
        total = exits[0].new_zeros((), dtype=torch.float32)
        for place, (weight, logits) in enumerate(zip(self.weights, exits, strict=True)):
            if weight == 0:
                continue
            logits = logits.float()
            whole = _resized(logits, size)
            likely = functional.log_softmax(whole[:, :, every, every], dim=1)
            loss = _cross_entropy(likely, truth, known)
            if self.overlap:
                loss = loss + self.overlap * (1 - soft_iou(likely.exp(), truth, known))
            if self.distillation and place < len(exits) - 1:
                student = functional.log_softmax(logits / heat, dim=1)
                apart = functional.kl_div(student, teacher, reduction="none", log_target=True)
                # The gradients of softened logits shrink with the square of the temperature.
                loss = loss + self.distillation * heat * heat * apart.sum(1).mean()
            total = total + weight * loss
        return total


def soft_iou(chances: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """The mean IoU that probabilities have with the truth, over the classes that it shows.

    Args:
        chances: ``(B, classes, H, W)``, adding up to 1 over the classes.
        truth: int64 ``(B, H, W)``.
        known: bool ``(B, H, W)``: the pixels that count.

    Returns:
        A scalar, 0 to 1; 1 if nothing is known.
    """
    classes = chances.shape[1]
    place = torch.where(known, truth, 0)
    right = chances.gather(1, place[:, None]).squeeze(1) * known
    index = place.reshape(-1)
    both = right.new_zeros(classes).index_add(0, index, right.reshape(-1))
    real = right.new_zeros(classes).index_add(0, index, known.reshape(-1).to(right.dtype))
    named = (chances * known[:, None]).sum((0, 2, 3))
    there = real > 0
    if not there.any():
        return chances.new_ones(())
    return (both / (named + real - both).clamp(min=1e-6))[there].mean()


def _cross_entropy(likely: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    place = torch.where(known, truth, 0)
    missed = -likely.gather(1, place[:, None]).squeeze(1)
    return (missed * known).sum() / known.sum().clamp(min=1)


def _resized(logits: Tensor, size: torch.Size) -> Tensor:
    if logits.shape[-2:] == size:
        return logits
    return functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
