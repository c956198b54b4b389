"""An inversion attack: a decoder trained to restore the image from what crosses the link."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log2
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from dapdee_ros.training.inversion.similarity import psnr_db, ssim
from dapdee_ros.training.task import Frames, generator_of

_WIDTHS = (64, 48, 24, 16, 12)
"""Channels on the grid of what came, and after each doubling of it."""

_COARSEST = 32
"""Pixels per cell that a tensor without places is spread over first."""

_MEASURED_FRAMES = 16

Arrived = Callable[[NDArray[np.uint8]], list[NDArray[Any]]]
"""What arrives on the other side of an image, uint8 ``(1, H, W, 3)``."""


class InversionDecoder(nn.Module):
    """Restores images from tensors: convolutions that double the grid up to the image's.

    Args:
        shapes: of the tensors, ``(1, C, H, W)``, or any other for values without places.
        size: height and width of the image.
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], size: tuple[int, int]) -> None:
        super().__init__()
        self._size = size
        coarse = (max(1, size[0] // _COARSEST), max(1, size[1] // _COARSEST))
        maps = [shape[2:] for shape in shapes if _is_map(shape)]
        self._grid = max(maps, key=lambda side: side[0] * side[1], default=coarse)
        self._coarse = coarse
        self.readers = nn.ModuleList()
        for number, shape in enumerate(shapes):
            values = shape[1] if _is_map(shape) else int(np.prod(shape))
            self.register_buffer(f"mean{number}", torch.zeros(values))
            self.register_buffer(f"deviation{number}", torch.ones(values))
            self.readers.append(
                nn.Conv2d(values, _WIDTHS[0], 3, padding=1)
                if _is_map(shape)
                else nn.Linear(values, _WIDTHS[0] * coarse[0] * coarse[1])
            )
        layers: list[nn.Module] = [_Block(_WIDTHS[0]), _Block(_WIDTHS[0])]
        channels = _WIDTHS[0]
        doublings = max(0, round(log2(size[0] / self._grid[0])))
        for step in range(doublings - 1):
            fine = _WIDTHS[min(step + 1, len(_WIDTHS) - 1)]
            layers += [nn.Conv2d(channels, 4 * fine, 1), nn.PixelShuffle(2), _Block(fine)]
            channels = fine
        # On the image's own grid a block would cost as much as all before it.
        last = 2 if doublings else 1
        layers += [nn.ReLU(), nn.Conv2d(channels, 3 * last**2, 3, padding=1)]
        layers += [nn.PixelShuffle(last)]
        self.layers = nn.Sequential(*layers)

    def measure(self, arrived: Sequence[Tensor]) -> None:
        """Learn from some frames how the values lie, which the decoder then reads scaled."""
        for number, tensor in enumerate(arrived):
            rows = tensor.movedim(1, -1).flatten(0, -2) if tensor.dim() == 4 else tensor.flatten(1)
            getattr(self, f"mean{number}").copy_(rows.mean(0))
            getattr(self, f"deviation{number}").copy_(rows.std(0).clamp_min(1e-4))

    def forward(self, arrived: Sequence[Tensor]) -> Tensor:
        """The images, float32 ``(B, 3, H, W)``, about 0 to 1."""
        total: Tensor | None = None
        for number, (reader, tensor) in enumerate(zip(self.readers, arrived, strict=True)):
            mean, deviation = (getattr(self, f"{n}{number}") for n in ("mean", "deviation"))
            if isinstance(reader, nn.Conv2d):
                scaled = (tensor - mean[:, None, None]) / deviation[:, None, None]
                read = reader(scaled.clamp(-10, 10))
            else:
                scaled = (tensor.flatten(1) - mean) / deviation
                read = reader(scaled.clamp(-10, 10)).view(-1, _WIDTHS[0], *self._coarse)
            if tuple(read.shape[2:]) != tuple(self._grid):
                read = functional.interpolate(read, size=self._grid, mode="nearest")
            total = read if total is None else total + read
        restored: Tensor = self.layers(total)
        if tuple(restored.shape[2:]) != self._size:
            restored = functional.interpolate(
                restored, size=self._size, mode="bilinear", align_corners=False
            )
        return torch.sigmoid(restored)


class _Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = x + self.second(functional.relu(self.first(functional.relu(x))))
        return found


def _is_map(shape: Sequence[int]) -> bool:
    return len(shape) == 4 and min(shape[2:]) > 1


@dataclass(frozen=True)
class Restored:
    """What an attack came to.

    Attributes:
        psnr_db: mean over the frames that it was judged on.
        ssim: the same.
        images: the first of these frames as they were restored, uint8 ``(n, H, W, 3)``.
    """

    psnr_db: float
    ssim: float
    images: NDArray[np.uint8]


def invert(
    arrived: Arrived,
    training: Frames,
    judged: Frames,
    *,
    steps: int,
    batch_size: int = 4,
    learning_rate: float = 2e-3,
    seed: int = 0,
    shown: int = 6,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> Restored:
    """Train a decoder on some frames and restore others.

    It is trained for the absolute error and the structural similarity, by Adam with a learning rate
    that falls to 0 along a cosine.

    Args:
        arrived: makes what arrives of an image.
        training: frames that the attacker has.
        judged: frames that he has not.
        steps: of the training.
        batch_size: frames per step.
        learning_rate: the highest.
        seed: of weights and draws.
        shown: how many restored frames to return.
        progress: called with 1 and the loss after each step.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        first = np.linspace(0, len(training) - 1, min(_MEASURED_FRAMES, len(training)))
        tensors = _batch(arrived, training.pixels(first.astype(np.int64)))
        height, width = training.pixels(np.array([0])).shape[1:3]
        decoder = InversionDecoder([(1, *t.shape[1:]) for t in tensors], (height, width))
        decoder.measure(tensors)
    optimiser = torch.optim.Adam(decoder.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps))
    for step in range(steps):
        chosen = torch.randint(
            len(training), (batch_size,), generator=generator_of(seed, step, 5)
        ).numpy()
        images = training.pixels(np.sort(chosen))
        restored, wanted = decoder(_batch(arrived, images)), _as_float(images)
        loss = (restored - wanted).abs().mean() + 0.2 * (1 - ssim(restored, wanted).mean())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        progress(1, float(loss.detach()))
    return _judged(decoder, arrived, judged, shown)


def _judged(decoder: nn.Module, arrived: Arrived, frames: Frames, shown: int) -> Restored:
    decibels, alike, images = [], [], []
    with torch.inference_mode():
        for place in range(len(frames)):
            image = frames.pixels(np.array([place]))
            restored = decoder(_batch(arrived, image)).clamp(0, 1)
            wanted = _as_float(image)
            decibels.append(float(psnr_db(restored, wanted)))
            alike.append(float(ssim(restored, wanted)))
            if place < shown:
                images.append((255 * restored[0].movedim(0, -1)).round().byte().numpy())
    return Restored(float(np.mean(decibels)), float(np.mean(alike)), np.stack(images))


def _batch(arrived: Arrived, images: NDArray[np.uint8]) -> list[Tensor]:
    """What arrives of some images, each tensor stacked over them, float32."""
    of_each = [arrived(image[None]) for image in images]
    return [
        torch.from_numpy(np.concatenate([np.asarray(a, np.float32) for a in of_tensor]))
        for of_tensor in zip(*of_each, strict=True)
    ]


def _as_float(images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images)).movedim(-1, 1).float() / 255
