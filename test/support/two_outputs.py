"""A small detector with two exits of two outputs each, and the task that reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dapdee_ros.tasks.evaluation import Evaluator

SIZE = 32


class Predictors(nn.Module):
    """Boxes and scores of every cell of a map, as a tuple or by name."""

    def __init__(self, channels: int, named: bool) -> None:
        super().__init__()
        self.boxes = nn.Conv2d(channels, 4, 1)
        self.scores = nn.Conv2d(channels, 3, 1)
        self.named = named

    def forward(self, x: Tensor) -> Any:
        boxes = self.boxes(x).flatten(2).transpose(1, 2).exp()
        scores = self.scores(x).flatten(2).sigmoid()
        return {"boxes": boxes, "scores": scores} if self.named else (boxes, scores)


class Detector(nn.Module):
    """Takes uint8 ``(B, 32, 32, 3)``; its second exit also reads what the first one reads."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.early = Predictors(8, named=False)
        self.deep = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU())
        self.late = Predictors(16, named=True)

    def forward(self, image: Tensor) -> tuple[Any, Any]:
        stem = self.stem(image.permute(0, 3, 1, 2).float() / 255)
        return self.early(stem), self.late(torch.cat([stem, self.deep(stem)], 1))


def detector() -> Detector:
    """A detector of fixed random weights, in evaluation mode."""
    generator = torch.Generator().manual_seed(3)
    model = Detector().eval()
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -0.3, 0.3, generator=generator)
    return model


def image(seed: int = 0) -> NDArray[np.uint8]:
    """A random image, uint8 ``(1, 32, 32, 3)``."""
    return np.random.default_rng(seed).integers(0, 256, (1, SIZE, SIZE, 3), np.uint8)


@dataclass(frozen=True)
class Found:
    """All that an exit put out.

    Attributes:
        boxes: bytes of the boxes.
        scores: bytes of the scores.
        best: the highest score.
    """

    boxes: bytes
    scores: bytes
    best: float


class Boxes:
    """The task: answers are what the exit put out, bit for bit."""

    name = "boxes"
    quality_name = "mAP"

    def decode(self, outputs: Sequence[NDArray[Any]], exit_number: int) -> Found:
        """What came, told apart by its shape."""
        boxes, scores = outputs
        assert boxes.shape == (1, SIZE * SIZE // 4, 4)
        assert scores.shape == (1, 3, SIZE * SIZE // 4)
        return Found(boxes.tobytes(), scores.tobytes(), float(scores.max()))

    def confidence(self, answer: Found) -> float:
        """The highest score."""
        return answer.best

    def record(self, answer: Found | None) -> Any:
        """Nothing that could be compared."""
        return -1

    def fields(self, answer: Found | None) -> dict[str, Any]:
        """No message holds it."""
        return {}

    def in_source(self, answer: Found, to_source: object) -> Found:
        """The same: nobody reads its places."""
        return answer

    def answer_in(self, message: Any) -> Found | None:
        """No message holds it."""
        return None

    def truth_in(self, message: Any) -> Found | None:
        """No message holds it."""
        return None

    def evaluator(self) -> Evaluator:
        """Nothing is judged."""
        raise NotImplementedError

    def misfit(self, answer: Found | None) -> str:
        """Nothing is refused."""
        return ""
