"""A head and a tail, wired to each other in one process."""

import queue
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from dapdee_ros.core.frames import FrameResult, HeadFrame
from dapdee_ros.exits.model_folder import LoadedModel
from dapdee_ros.graph.cuts import cuts
from dapdee_ros.runtime.head import HeadRuntime
from dapdee_ros.runtime.tail import TailRuntime


def answers_of(model: LoadedModel, frames: list[np.ndarray], exit_number: int) -> list[int]:
    """What the unsplit network says."""
    sink = model.card.dag.exit_sink(exit_number)
    return [
        int(model.runner.run({model.card.dag.input: torch.from_numpy(f)}, [sink])[sink].argmax())
        for f in frames
    ]


@dataclass
class Pair:
    """A head and a tail, wired to each other; the wire can be cut."""

    head: HeadRuntime
    tail: TailRuntime
    results: queue.Queue[FrameResult] = field(default_factory=queue.Queue)
    wire: Callable[[HeadFrame], None] | None = None
    sent: list[HeadFrame] = field(default_factory=list)

    def send(self, frame: HeadFrame) -> None:
        self.sent.append(frame)
        if self.wire is not None:
            self.wire(frame)


def middle_cut(model: LoadedModel, exit_number: int) -> tuple[str, ...]:
    """The boundary of a cut about half way."""
    found = [c.boundary for c in cuts(model.card.dag, exit_number) if c.boundary]
    return found[len(found) // 2]
