"""The mean of the weights that a training passes through at its end."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

from dapdee_ros.datasets.split import Split

_BATCH = 256


class WeightAverage:
    """Mean of a network's weights over time (stochastic weight averaging).

    A learning rate that rises and falls again takes the weights from one side of a wide minimum to
    another; the mean of where they came to rest lies nearer its middle and does better on unseen
    frames than any of them (P. Izmailov et al., "Averaging Weights Leads to Wider Optima and Better
    Generalization", UAI 2018). The running means in batch norms fit none but the network that they
    were measured in: ``settle`` measures them anew.

    Args:
        model: the network that is trained.
    """

    def __init__(self, model: nn.Module) -> None:
        self._average = AveragedModel(model)

    def __len__(self) -> int:
        """How many states of the weights the mean is of."""
        return int(self._average.n_averaged)

    def add(self, model: nn.Module) -> None:
        """Take the network's present weights into the mean."""
        self._average.update_parameters(model)

    def settle(self, frames: Split, count: int, seed: int, *, bf16: bool) -> nn.Module:
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
                part: NDArray = frames.images[chosen[start : start + _BATCH]]
                yield torch.from_numpy(part)

        cuda = [device] if device.type == "cuda" else []
        # Dropout draws: the training must go on as if nobody had looked.
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
        """Go on from a checkpoint's."""
        self._average.load_state_dict(state)
