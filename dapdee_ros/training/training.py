"""Trains a backbone and its exits jointly; a training can be stopped and resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dapdee_ros.exits.multi_exit import MultiExit
from dapdee_ros.exits.networks import ExitNetwork
from dapdee_ros.training.averaging import MovingAverage, WeightAverage
from dapdee_ros.training.checkpoint import (
    CHECKPOINT_FILE,
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
)
from dapdee_ros.training.recipe import Recipe, make_optimiser, one_cycle
from dapdee_ros.training.small_maps import use_convolutions, use_matrix_products
from dapdee_ros.training.task import Batch, TrainingTask

# Frames that measure the batch norms of averaged weights: for a preview, and for good.
_A_LOOK, _FOR_GOOD = 2_560, 20_480


Trained = TypeVar("Trained", bound=nn.Module)
"""What is trained: a network with exits, exits that are added to one, a bottleneck."""


@dataclass(frozen=True)
class Step:
    """The progress of a training after a step.

    Attributes:
        step, steps: steps done, from 1, and those of the whole training.
        epoch: epoch of this step, from 1.
        loss: running mean of the joint loss.
        figures: running means of the task's figures on the training frames, one per exit; none of
            tasks that have none to tell.
    """

    step: int
    steps: int
    epoch: int
    loss: float
    figures: tuple[float, ...]


class DivergedError(ArithmeticError):
    """A training whose loss or weights are no longer finite; the message says what to change."""


class Training(Generic[Trained]):
    """A training between two steps, where it can be saved.

    Args:
        model: fresh, built after ``torch.manual_seed(recipe.seed)``.
        task: frames, loss and evaluation.
        recipe: how.
        out: folder of the checkpoint.
        identity: identifies the training, as JSON values; a checkpoint of any other is refused.

    Raises:
        CheckpointError: if ``out`` has a corrupt checkpoint or one of another training.
        ValueError: if the epochs cannot be shared out evenly among the cycles, or the recipe asks
            for two kinds of averages.
    """

    def __init__(
        self,
        model: Trained,
        task: TrainingTask,
        recipe: Recipe,
        out: Path,
        identity: dict[str, Any],
    ) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model.to(self.device)
        self.model = model
        # The layout that convolutions are fastest in, on both kinds of device.
        for parameter in model.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        if recipe.bf16:
            use_matrix_products(model)
        if recipe.exits_only:
            for part in self._kept():
                part.requires_grad_(False)
        self.task = task
        self.recipe = recipe
        self.out = out
        # As JSON would give it back, so that it can be compared with a checkpoint's.
        self.identity = {**identity, "recipe": _plain(asdict(recipe))}
        self.loss = task.loss.to(self.device)
        self.steps_per_epoch = task.steps_per_epoch
        self.steps = self.steps_per_epoch * recipe.epochs
        if recipe.epochs % recipe.cycles:
            raise ValueError(
                f"{recipe.epochs} epochs cannot be {recipe.cycles} cycles of whole epochs"
            )
        self.steps_per_cycle = self.steps // recipe.cycles
        self.optimiser = make_optimiser(model, self.loss, recipe)
        if recipe.cycles > 1 and recipe.average_decay:
            raise ValueError("weights can be averaged over cycles or over steps, not both")
        self.average: WeightAverage | MovingAverage | None = None
        if recipe.cycles > 1:
            self.average = WeightAverage(self.model)
        elif recipe.average_decay:
            self.average = MovingAverage(self.model, recipe.average_decay)
        self.step = 0
        self._running = np.zeros(1)
        if (out / CHECKPOINT_FILE).exists():
            self._resume()

    def run(self, should_stop: Callable[[], bool] = lambda: False) -> Iterator[Step]:
        """Train to the end, one item per step, with a checkpoint after each epoch.

        When ``should_stop`` returns True, the state is saved after the current step and the
        iteration ends early.

        Raises:
            DivergedError: at the first loss that is not finite; the checkpoint stays that of the
                last good state.
            FileError: if the checkpoint cannot be written.
        """
        while self.step < self.steps:
            epoch, first = divmod(self.step, self.steps_per_epoch)
            for batch in self.task.batches(epoch, first):
                yield self._one_step(batch, epoch)
                if should_stop():
                    self.save()
                    return
            self.save()

    def present(self, frames: int = _A_LOOK) -> nn.Module:
        """The current network: averaged, if there is anything to average yet.

        Args:
            frames: how many of the epoch's frames to measure the batch norms of weights averaged
                over cycles on.
        """
        if not self.average:  # None, or of no weights yet
            return self.model
        if isinstance(self.average, MovingAverage):
            return self.average.network()
        data = self.task.seen((self.step - 1) // self.steps_per_epoch)
        seed = self.recipe.seed
        return self.average.settle(data, frames, seed, bf16=self.recipe.bf16)

    def trained(self) -> Trained:
        """The model as it is to be stored: on the CPU, made of torch's own layers."""
        if self.average:
            self.model.load_state_dict(self.present(_FOR_GOOD).state_dict())
        use_convolutions(self.model)
        self.model.cpu()
        return self.model

    def _set_modes(self) -> None:
        self.model.train()
        if not self.recipe.exits_only:
            return
        for part in self._kept():
            for module in part.modules():
                # The rest of a deepest exit stays as in training: no sigmoid after its scores.
                if isinstance(self.model, MultiExit) or isinstance(module, _BatchNorm):
                    module.training = False

    def _kept(self) -> list[nn.Module]:
        """What a training of the early exits leaves as it is."""
        if isinstance(self.model, MultiExit):
            return [self.model.backbone]
        if isinstance(self.model, ExitNetwork):
            return self.model.deep_parts()
        # What exits or bottlenecks are added to is no part of the module: nothing could change it.
        return []

    def _one_step(self, batch: Batch, epoch: int) -> Step:
        # At every step: an evaluation may have left it in another mode.
        self._set_modes()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.bf16):
            outputs = self.model(batch.images.to(self.device))
        loss = self.task.loss_of(outputs, batch.target)
        if not torch.isfinite(loss):
            raise self._diverged(f"the loss is {float(loss.detach())}")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        for group in self.optimiser.param_groups:
            group["lr"] = one_cycle(
                self.step % self.steps_per_cycle, self.steps_per_cycle, self.recipe.learning_rate
            )
        self.optimiser.step()
        self.step += 1
        if isinstance(self.average, MovingAverage) or (
            self.average is not None and self.step % self.steps_per_cycle == 0
        ):
            self.average.add(self.model)
        now = np.array([float(loss.detach()), *self.task.figures(outputs, batch.target)])
        if len(self._running) != len(now):  # before the first step
            self._running = np.zeros_like(now)
        share = max(0.02, 1 / self.step)
        self._running += share * (now - self._running)
        return Step(
            self.step,
            self.steps,
            epoch + 1,
            float(self._running[0]),
            tuple(float(value) for value in self._running[1:]),
        )

    def save(self) -> None:
        """Write the checkpoint.

        Raises:
            DivergedError: if weights are not finite; the checkpoint of before stays.
            FileError: if it cannot be written.
        """
        for name, tensor in self.model.state_dict().items():
            # The last step can produce non-finite weights that its loss did not show.
            if not torch.isfinite(tensor).all():
                raise self._diverged(f"{name} holds numbers that are not finite")
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"loss.{k}": v for k, v in self.loss.state_dict().items()}
        for place, values in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{place}.{k}": v for k, v in values.items() if v is not None}
        if self.average is not None:
            tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        tensors["random.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        state = {"step": self.step, "running": self._running.tolist(), "identity": self.identity}
        self.out.mkdir(parents=True, exist_ok=True)
        save_checkpoint(self.out / CHECKPOINT_FILE, tensors, state)

    def _diverged(self, what: str) -> DivergedError:
        recipe = self.recipe
        return DivergedError(
            f"the training diverges: {what} at step {self.step + 1} of {self.steps}, with learning "
            f"rate {recipe.learning_rate:g} and batches of {recipe.batch_size} frames. Lower the "
            f"learning rate (to {recipe.learning_rate / 10:g}, for example) or use larger batches"
        )

    def _resume(self) -> None:
        path = self.out / CHECKPOINT_FILE
        tensors, state = load_checkpoint(path)
        saved = state["identity"]
        # A checkpoint from before an option existed was trained with the option's default.
        saved["recipe"] = {**_plain(asdict(Recipe())), **saved.get("recipe", {})}
        differing = sorted(
            key for key in {*saved, *self.identity} if saved.get(key) != self.identity.get(key)
        )
        if differing:
            raise CheckpointError(
                f"{path} is of another training: it differs in "
                + ", ".join(
                    f"{k} ({saved.get(k)} there, {self.identity.get(k)} here)" for k in differing
                )
                + "; train with the same options, into another folder, or with --restart"
            )

        def part(prefix: str) -> dict[str, Tensor]:
            whole = f"{prefix}."
            return {k.removeprefix(whole): v for k, v in tensors.items() if k.startswith(whole)}

        self.model.load_state_dict(part("model"))
        self.loss.load_state_dict(part("loss"))
        if self.average is not None:
            self.average.load_state_dict(part("average"))
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in part("optimiser").items():
            place, _, key = name.partition(".")
            slots.setdefault(int(place), {})[key] = tensor
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": slots, "param_groups": groups})
        self.step = int(state["step"])
        self._running = np.array(state["running"])
        torch.set_rng_state(tensors["random.cpu"])
        if "random.cuda" in tensors and self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random.cuda"])


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
