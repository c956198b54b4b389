"""Averages the weights of a training, over its last steps or over its cycles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

from dapdee_ros.training.task import Frames

_BATCH = 256


class WeightAverage:
    """Mean of a network's weights over time (stochastic weight averaging).

    A cyclic learning rate moves the weights between different sides of a wide minimum; the mean of
    the cycles' ends is closer to its centre and generalises better than any of them (P. Izmailov et
    al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018). Batch
    norms' running statistics only fit the network they were measured in: ``settle`` measures them
    again.

    Args:
        model: the network that is trained.
    """

    def __init__(self, model: nn.Module) -> None:
        self._average = AveragedModel(model)

    def __len__(self) -> int:
        """Number of averaged states."""
        return int(self._average.n_averaged)

    def add(self, model: nn.Module) -> None:
        """Add the network's current weights to the mean."""
        self._average.update_parameters(model)

    def settle(self, frames: Frames, count: int, seed: int, *, bf16: bool) -> nn.Module:
        """The averaged network with batch norms that fit it.

        Args:
            frames: to measure the batch norms' means on; frames of the training.
            count: how many of them, at most.
            seed: of their choice.
            bf16: compute in bfloat16.

        Returns:
            The network, in evaluation mode; the same object every time.
        """
        generator = torch.Generator().manual_seed(seed)
        # Left in this order: stored images come class by class, and batches of one class each would
        # measure the variance within classes.
        chosen = torch.randperm(len(frames), generator=generator)[:count].numpy()
        module: nn.Module = self._average.module
        device = next(module.parameters()).device

        def batches() -> Iterator[Tensor]:
            # A last batch of a few frames would count as much as a full one.
            for start in range(0, max(1, len(chosen) - _BATCH + 1), _BATCH):
                yield torch.from_numpy(frames.pixels(chosen[start : start + _BATCH]))

        cuda = [device] if device.type == "cuda" else []
        # Dropout draws random numbers: the training must continue unaffected.
        with (
            torch.random.fork_rng(devices=cuda),
            torch.autocast(device.type, torch.bfloat16, enabled=bf16),
        ):
            update_bn(batches(), module, device=device)
        return module.eval()

    def state_dict(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        return dict(self._average.state_dict())

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore from a checkpoint."""
        self._average.load_state_dict(state)


class MovingAverage:
    """Exponential moving average of a network's weights and of its batch norms' statistics.

    It follows the weights with the noise of single steps taken out, so that it is better than they
    are before the learning rate has fallen (B. Polyak and A. Juditsky, "Acceleration of Stochastic
    Approximation by Averaging", 1992; detectors are mostly trained like this). In the first steps
    the decay is smaller, ``(1 + n) / (10 + n)`` after ``n``: the first weights are soon forgotten.

    Args:
        model: the network that is trained.
        decay: share of the average that stays at every step, below 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._average = AveragedModel(model, multi_avg_fn=self._moved, use_buffers=True)

    def __len__(self) -> int:
        """Number of steps averaged."""
        return int(self._average.n_averaged)

    def _moved(self, averaged: Any, current: Any, count: Tensor | int) -> None:
        steps = float(count)
        share = 1 - min(self._decay, (1 + steps) / (10 + steps))
        for mean, now in zip(averaged, current, strict=True):
            if mean.is_floating_point():
                mean.lerp_(now, share)
            else:  # how many batches a batch norm has seen
                mean.copy_(now)

    def add(self, model: nn.Module) -> None:
        """Move the average towards the network's current weights."""
        self._average.update_parameters(model)

    def network(self) -> nn.Module:
        """The averaged network, in evaluation mode; the same object every time."""
        module: nn.Module = self._average.module
        return module.eval()

    def state_dict(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        return dict(self._average.state_dict())

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore from a checkpoint."""
        self._average.load_state_dict(state)
