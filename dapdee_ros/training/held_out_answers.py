"""What a stored model's exits answer, as the engine that will run it computes it. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.datasets.frame_source import SourceFrame
from dapdee_ros.engines.engine import Engine
from dapdee_ros.tasks.task import Task

Outputs = list[list[NDArray[Any]]]
"""For each exit, shallowest first, its output tensors in order."""


def exit_outputs(engine: Engine, image: NDArray[np.uint8]) -> Outputs:
    """What every exit computes for an image, uint8 ``(H, W, 3)``."""
    dag = engine.dag
    computed = engine.run({dag.input: image[None]}, list(dict.fromkeys(dag.outputs)))
    return [[computed[name] for name in names] for names in dag.exits]


def logits_by_exit(
    engine: Engine, images: Iterable[NDArray[np.uint8]]
) -> list[NDArray[np.float32]]:
    """Logits of every exit of a classifier, float32 ``(N, K)`` each."""
    rows = [[logits[0] for (logits,) in exit_outputs(engine, image)] for image in images]
    return [np.stack(of_exit) for of_exit in zip(*rows, strict=True)]


def answers_by_frame(
    engine: Engine,
    task: Task,
    frames: Iterable[SourceFrame],
    truth_of: Callable[[SourceFrame], Any],
) -> Iterator[tuple[Sequence[Any], Any]]:
    """What every exit, shallowest first, answers to each of some frames, and what it shows."""
    for frame in frames:
        outputs = exit_outputs(engine, frame.image)
        yield [task.decode(of, number) for number, of in enumerate(outputs, 1)], truth_of(frame)
