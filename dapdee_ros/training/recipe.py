"""How to train: the numbers, the learning rate over time, the optimiser."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import nn


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        epochs: number of passes over the source's frames.
        batch_size: frames per step.
        optimiser: ``sgd`` (Nesterov momentum 0.9) or ``adamw``.
        learning_rate: the highest of the one-cycle schedule (L. Smith and N. Topin,
            "Super-Convergence", 2018).
        weight_decay: on weights of convolutions and linear layers only.
        label_smoothing: see ``JointLoss``.
        exit_weights: one per exit, or None for ``rising_weights``.
        uncertainty: learn the weights, see ``JointLoss``.
        distillation: weight of learning from the deepest exit.
        cutout: side in pixels of a square that every frame loses at a random place (T. DeVries and
            G. Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout",
            2017); 0 leaves frames whole. Useful in long trainings.
        cutmix: share of the steps whose frames each get a box of another frame, and its label for
            the box's share of the area (S. Yun et al., "CutMix: Regularization Strategy to Train
            Strong Classifiers with Localizable Features", ICCV 2019).
        start_scale: side of the frames at the start, as a share of the full one, which they grow to
            in two steps (M. Tan and Q. Le, "EfficientNetV2: Smaller Models and Faster Training",
            2021); 1 trains on full frames throughout. See ``frame_scale``.
        cycles: how many cycles of the learning rate in a row, of the same length; the trained
            weights are the mean of those at the cycles' ends, see ``WeightAverage``.
        average_decay: share of a moving average of the weights that stays at every step, see
            ``MovingAverage``; its weights are the trained ones. 0 averages nothing.
        exits_only: leave the backbone as it is, its batch norms too, and train the early exits.
        bf16: compute forward and backward in bfloat16 where torch finds it safe.
        seed: of initial weights, order of frames and augmentation.
    """

    epochs: int = 30
    batch_size: int = 128
    optimiser: str = "sgd"
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    label_smoothing: float = 0.05
    exit_weights: tuple[float, ...] | None = None
    uncertainty: bool = False
    distillation: float = 0.0
    cutout: int = 0
    cutmix: float = 0.0
    start_scale: float = 1.0
    cycles: int = 1
    average_decay: float = 0.0
    exits_only: bool = False
    bf16: bool = True
    seed: int = 0


DETECTION_RECIPE = Recipe(
    epochs=60,
    batch_size=32,
    optimiser="adamw",
    learning_rate=2e-3,
    weight_decay=0.05,
    label_smoothing=0.0,
    distillation=0.5,
    average_decay=0.998,
    start_scale=0.8,
)
"""What trains a detector from scratch."""

SEGMENTATION_RECIPE = replace(
    DETECTION_RECIPE, epochs=40, batch_size=16, distillation=0.1, start_scale=0.6
)
"""What trains a segmenter from scratch; a few hundred pixels of a frame teach as much as all."""


def one_cycle(step: int, steps: int, peak: float) -> float:
    """The learning rate of a step: a quarter of the way up to ``peak``, the rest down to almost
    zero.

    Both along half a cosine, from a twenty-fifth of the peak to a ten-thousandth of that. It
    depends on nothing but the step, so a resumed training needs no schedule's state.
    """
    rise = max(1, round(0.25 * steps))
    low, end = peak / 25, peak / 250_000
    if step < rise:
        return low + (peak - low) * (1 - math.cos(math.pi * step / rise)) / 2
    fall = (step - rise) / max(1, steps - 1 - rise)
    return end + (peak - end) * (1 + math.cos(math.pi * min(1.0, fall))) / 2


def frame_scale(step: int, steps: int, start: float) -> float:
    """Share of the full side that frames have at a step, when training starts with ``start``.

    ``start`` for the first 30 % of the steps, half way to 1 for the next 30 %, then 1: the early
    steps, where the learning rate is high, need no fine detail.
    """
    done = step / max(1, steps)
    if done < 0.3:
        return start
    return (1 + start) / 2 if done < 0.6 else 1.0


def make_optimiser(model: nn.Module, loss: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser for the weights of the network and of the loss.

    Raises:
        ValueError: if the recipe names another optimiser than ``sgd`` and ``adamw``.
    """
    parameters = [p for p in (*model.parameters(), *loss.parameters()) if p.requires_grad]
    groups = [
        {
            "params": [p for p in parameters if p.ndim > 1],
            "weight_decay": recipe.weight_decay,
        },
        # Biases, batch norms and loss weights: decay would only pull them from where they belong.
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=0.9, nesterov=True)
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate)
    raise ValueError(f"optimiser {recipe.optimiser!r}: expected sgd or adamw")
