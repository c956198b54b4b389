"""Trains a backbone and its exits jointly; a training can be stopped and resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from dapdee_ros.datasets.split import DataSource, Split
from dapdee_ros.exits.averaging import WeightAverage
from dapdee_ros.exits.checkpoint import (
    CHECKPOINT_FILE,
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
)
from dapdee_ros.exits.losses import JointLoss, rising_weights
from dapdee_ros.exits.multi_exit import MultiExit
from dapdee_ros.exits.recipe import Recipe, frame_scale, make_optimiser, one_cycle
from dapdee_ros.exits.small_maps import use_convolutions, use_matrix_products

# Frames that measure the batch norms of averaged weights: for a preview, and for good.
_A_LOOK, _FOR_GOOD = 2_560, 20_480


@dataclass(frozen=True)
class Step:
    """The progress of a training after a step.

    Attributes:
        step, steps: steps done, from 1, and those of the whole training.
        epoch: epoch of this step, from 1.
        loss: running mean of the joint loss.
        accuracy: running mean of each exit's accuracy on the training frames.
    """

    step: int
    steps: int
    epoch: int
    loss: float
    accuracy: tuple[float, ...]


def augment(images: Tensor, shift: int, mirror: Tensor, generator: torch.Generator) -> Tensor:
    """Move each frame by up to ``shift`` pixels each way and mirror the chosen ones.

    Args:
        images: uint8 ``(B, H, W, 3)``; edges are repeated where a frame moves in.
        shift: in pixels.
        mirror: bool ``(B,)``, the frames to mirror.
        generator: source of the draws.
    """
    count, height, width, _ = images.shape
    down = torch.randint(-shift, shift + 1, (count, 1), generator=generator)
    right = torch.randint(-shift, shift + 1, (count, 1), generator=generator)
    rows = (torch.arange(height) + down).clamp_(0, height - 1)
    columns = torch.arange(width).expand(count, width)
    columns = torch.where(mirror[:, None], width - 1 - columns, columns)
    columns = (columns + right).clamp_(0, width - 1)
    frame = torch.arange(count)[:, None, None]
    return images[frame, rows[:, :, None], columns[:, None, :]]


def cut_out(images: Tensor, side: int, fill: Tensor, generator: torch.Generator) -> Tensor:
    """Cover a square of each frame, its centre anywhere in the frame.

    Args:
        images: uint8 ``(B, H, W, 3)``.
        side: of the square in pixels; 0 covers nothing.
        fill: uint8 ``(3,)``, what it is covered with.
        generator: source of the draws.
    """
    if not side:
        return images
    count, height, width, _ = images.shape
    top = torch.randint(0, height, (count, 1), generator=generator) - side // 2
    left = torch.randint(0, width, (count, 1), generator=generator) - side // 2
    rows, columns = torch.arange(height) - top, torch.arange(width) - left
    covered = ((rows >= 0) & (rows < side))[:, :, None] & ((columns >= 0) & (columns < side))[
        :, None, :
    ]
    return torch.where(covered[..., None], fill, images)


def cut_mix(images: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Put a box of another frame into each; draws come from torch's global generator.

    Args:
        images: uint8 ``(B, H, W, 3)``.
        labels: int64 ``(B,)``.
        classes: how many classes there are.

    Returns:
        The frames, uint8 ``(B, H, W, 3)``, and their shares of classes, float32 ``(B, classes)``.
    """
    # It brings torch's compiler along, whose import takes as long as torch's own.
    from torchvision.transforms.v2 import CutMix

    mixed, shares = CutMix(num_classes=classes)(images.permute(0, 3, 1, 2), labels)
    return mixed.permute(0, 2, 3, 1), shares


def shrink(images: Tensor, scale: float) -> Tensor:
    """Frames of ``scale`` times the side, averaged: uint8 ``(B, H, W, 3)`` both ways."""
    size = [max(1, round(side * scale)) for side in images.shape[1:3]]
    if size == list(images.shape[1:3]):
        return images
    pixels = images.permute(0, 3, 1, 2).float()
    small = functional.interpolate(pixels, size, mode="bilinear", antialias=True)
    return small.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def logits_of(
    model: nn.Module, images: NDArray[np.uint8], batch_size: int = 256, *, bf16: bool = False
) -> list[NDArray[np.float32]]:
    """Logits of every exit for uint8 ``(N, H, W, 3)``, float32 ``(N, K)`` each.

    ``bf16`` computes in bfloat16: several times faster, for a look on the way.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    rows: list[list[Tensor]] = []
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        for start in range(0, len(images), batch_size):
            batch = torch.from_numpy(images[start : start + batch_size]).to(device)
            rows.append([exit_logits.float().cpu() for exit_logits in model(batch)])
    model.train(was_training)
    return [torch.cat(parts).numpy() for parts in zip(*rows, strict=True)]


def exit_accuracies(model: nn.Module, split: Split, *, bf16: bool = False) -> tuple[float, ...]:
    """Share of frames that each exit gets right, shallowest first."""
    return tuple(
        round(float((logits.argmax(1) == split.labels).mean()), 6)
        for logits in logits_of(model, split.images, bf16=bf16)
    )


class DivergedError(ArithmeticError):
    """A training whose loss or weights are no longer finite; the message says what to change."""


class Training:
    """A training between two steps, where it can be saved.

    Args:
        model: fresh, built after ``torch.manual_seed(recipe.seed)``.
        source: frames.
        recipe: how.
        out: folder of the checkpoint.
        identity: identifies the training, as JSON values; a checkpoint of any other is refused.

    Raises:
        CheckpointError: if ``out`` has a corrupt checkpoint or one of another training.
        ValueError: if the epochs cannot be shared out evenly among the cycles.
    """

    def __init__(
        self,
        model: MultiExit,
        source: DataSource,
        recipe: Recipe,
        out: Path,
        identity: dict[str, Any],
    ) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.to(self.device)
        # The layout that convolutions are fastest in, on both kinds of device.
        for parameter in model.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        if recipe.bf16:
            use_matrix_products(model)
        if recipe.exits_only:
            model.backbone.requires_grad_(False)
        self.source = source
        self._epoch_frames: tuple[int, Split] | None = None
        self._mean_colour = (255 * torch.tensor(source.mean)).round().to(torch.uint8)
        self.recipe = recipe
        self.out = out
        # As JSON would give it back, so that it can be compared with a checkpoint's.
        self.identity = {**identity, "recipe": _plain(asdict(recipe))}
        exits = len(model.taps) + 1
        weights = recipe.exit_weights or rising_weights(exits)
        self.loss = JointLoss(
            weights,
            label_smoothing=recipe.label_smoothing,
            uncertainty=recipe.uncertainty,
            distillation=recipe.distillation,
        ).to(self.device)
        self.steps_per_epoch = max(1, source.frames_per_epoch() // recipe.batch_size)
        self.steps = self.steps_per_epoch * recipe.epochs
        if recipe.epochs % recipe.cycles:
            raise ValueError(
                f"{recipe.epochs} epochs cannot be {recipe.cycles} cycles of whole epochs"
            )
        self.steps_per_cycle = self.steps // recipe.cycles
        self.optimiser = make_optimiser(model, self.loss, recipe)
        self.average = WeightAverage(self.model) if recipe.cycles > 1 else None
        coins = self._generator(0, 2)
        self._coins = torch.randint(2, (source.frames_per_epoch(),), generator=coins)
        self.step = 0
        self._running = np.zeros(1 + exits)
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
            frames = self._frames_of(epoch)
            size = self.recipe.batch_size
            order = torch.randperm(len(frames), generator=self._generator(epoch, 0)).numpy()
            for place in range(first, self.steps_per_epoch):
                chosen = np.sort(order[place * size : (place + 1) * size])
                mirror = self._mirrored(chosen, epoch)
                yield self._one_step(frames.images[chosen], frames.labels[chosen], mirror, epoch)
                if should_stop():
                    self.save()
                    return
            self.save()

    def present(self, frames: int = _A_LOOK) -> nn.Module:
        """The current network: averaged from the end of the first cycle on.

        Args:
            frames: how many of the epoch's frames to measure the batch norms of averaged weights
                on.
        """
        if not self.average:  # None, or of no weights yet
            return self.model
        data = self._frames_of((self.step - 1) // self.steps_per_epoch)
        seed = self.recipe.seed
        return self.average.settle(data, frames, seed, bf16=self.recipe.bf16)

    def trained(self) -> MultiExit:
        """The model as it is to be stored: on the CPU, made of torch's own layers."""
        if self.average:
            self.model.load_state_dict(self.present(_FOR_GOOD).state_dict())
        use_convolutions(self.model)
        return self.model.cpu()

    def _frames_of(self, epoch: int) -> Split:
        # Kept, because some sources render an epoch's frames when they are asked.
        if self._epoch_frames is None or self._epoch_frames[0] != epoch:
            self._epoch_frames = (epoch, self.source.train(epoch))
        return self._epoch_frames[1]

    def _set_modes(self) -> None:
        self.model.train()
        if self.recipe.exits_only:
            self.model.backbone.eval()

    def _generator(self, epoch: int, purpose: int) -> torch.Generator:
        # A generator of its own for every use needs no state in the checkpoint.
        words = np.random.SeedSequence((self.recipe.seed, epoch, purpose)).generate_state(2)
        return torch.Generator().manual_seed(int(words[0]) << 20 ^ int(words[1]))

    def _mirrored(self, chosen: NDArray[np.int64], epoch: int) -> Tensor:
        """Which frames to mirror, bool: each in every second epoch.

        A coin flip per frame decides in which, so that two epochs show both sides of every frame
        (K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024, section 3.6).
        """
        if not self.source.flip:
            return torch.zeros(len(chosen), dtype=torch.bool)
        return (self._coins[torch.from_numpy(chosen)] + epoch) % 2 == 1

    def _one_step(
        self, images: NDArray[np.uint8], labels: NDArray[np.int64], mirror: Tensor, epoch: int
    ) -> Step:
        # At every step: an evaluation may have left it in another mode.
        self._set_modes()
        generator = self._generator(self.step, 1)
        batch = augment(torch.from_numpy(images), self.source.shift, mirror, generator)
        batch = cut_out(batch, self.recipe.cutout, self._mean_colour, generator)
        target = torch.from_numpy(labels)
        wanted = target
        if float(torch.rand((), generator=generator)) < self.recipe.cutmix:
            batch, wanted = cut_mix(batch, target, len(self.source.labels))
        scale = frame_scale(self.step, self.steps, self.recipe.start_scale)
        batch = shrink(batch, scale).to(self.device)
        target, wanted = target.to(self.device), wanted.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.bf16):
            logits = self.model(batch)
        loss = self.loss(logits, wanted)
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
        if self.average is not None and self.step % self.steps_per_cycle == 0:
            self.average.add(self.model)
        right = [float((row.argmax(1) == target).float().mean()) for row in logits]
        now = np.array([float(loss.detach()), *right])
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
