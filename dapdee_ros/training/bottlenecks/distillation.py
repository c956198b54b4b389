"""How far what follows from a restored boundary is from what follows from the boundary itself.

No labels are needed: the frozen network says what is right (Y. Matsubara et al., "BottleFit:
Learning Compressed Representations in Deep Neural Networks for Effective and Efficient Split
Computing", arXiv 2201.02693; A. Furutanpey et al., "FrankenSplit", arXiv 2302.10681, who match
deeper features because the boundary's own error says little of what matters).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

OutputError = Callable[[Tensor, Tensor], Tensor]
"""Of an exit's output and the frozen network's own: the error of each frame, ``(B,)``."""

_LEAST_PROBABILITY = 1e-4


def feature_error(found: Tensor, right: Tensor, variance: Tensor | float) -> Tensor:
    """Mean square of the difference over the variance of what is right, per frame ``(B,)``."""
    return (found.float() - right.float()).square().flatten(1).mean(1) / variance


def classes_error(found: Tensor, right: Tensor) -> Tensor:
    """Divergence of the classes' probabilities, from logits ``(B, K)`` or ``(B, K, H, W)``.

    Of maps the mean over the pixels. (G. Hinton et al., "Distilling the Knowledge in a Neural
    Network", 2015.)
    """
    apart = functional.kl_div(
        found.float().log_softmax(1),
        right.float().log_softmax(1),
        reduction="none",
        log_target=True,
    ).sum(1)
    return apart.flatten(1).mean(1) if apart.ndim > 1 else apart


def boxes_error(found: Tensor, right: Tensor) -> Tensor:
    """Difference of a detector's rows ``(B, N, 5 + K)``: x, y, log w, log h, objectness, classes.

    Rows count by how sure the frozen network is of them: a place or class where nothing is found
    does not matter, an objectness always does. Scores are probabilities.
    """
    found, right = found.float(), right.float()
    sure = right[..., 4] * right[..., 5:].amax(-1)
    objects = sure.sum(1) + 1.0
    place = functional.smooth_l1_loss(found[..., :4], right[..., :4], reduction="none", beta=0.1)
    score = _binary_divergence(found[..., 4:], right[..., 4:])
    of_row = sure * (place.sum(-1) + score[..., 1:].sum(-1))
    # Many rows where nothing is must not outweigh the few where something is.
    return ((of_row + score[..., 0]).sum(1)) / objects


def _binary_divergence(found: Tensor, right: Tensor) -> Tensor:
    low, high = _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY
    found, right = found.clamp(low, high), right.clamp(low, high)
    apart = right * (right / found).log()
    return apart + (1 - right) * ((1 - right) / (1 - found)).log()


def values_error(found: Tensor, right: Tensor) -> Tensor:
    """Difference of outputs of which nothing is known, over their own variance."""
    variance = right.float().var().clamp_min(1e-6)
    return feature_error(found, right, variance)


def output_error(task: Mapping[str, Any], shape: Sequence[int]) -> OutputError:
    """What compares an output of a task's exits.

    Args:
        task: its name and options, as a model's card holds them.
        shape: of the output for one frame.
    """
    if task["name"] == "classification":
        return classes_error
    if task["name"] == "segmentation" and len(shape) == 4 and shape[1] > 1:
        return classes_error
    if task.get("decoder") == "yolox" and len(shape) == 3 and shape[2] > 5:
        return boxes_error
    return values_error


def variances(tensors: Sequence[Tensor]) -> Tensor:
    """The variance of each tensor, at least a millionth, ``(n,)``."""
    return torch.stack([t.float().var() for t in tensors]).clamp_min(1e-6)
