"""The real network's answers for a bag's frames, at any cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.codecs import decode, encode
from dapdee_ros.core.frames import FramePlan
from dapdee_ros.exits.image_input import InputSpec
from dapdee_ros.runtime.split_network import SplitNetwork
from dapdee_ros.tasks.task import Task


@dataclass(frozen=True)
class SentAnswer:
    """The answer of a frame that was finished on the edge.

    Attributes:
        answer: the exit's answer.
        sent_bytes: encoded tensor bytes that crossed the link.
    """

    answer: Any
    sent_bytes: int


class NetworkAnswers:
    """Runs the network on frames, each part at most once.

    An answer depends on the frame, the exit, the boundary and the codec, not on the policy or the
    time, so policies share it.

    Attributes:
        computed: how many parts of the network were run.
    """

    def __init__(self, network: SplitNetwork, images: NDArray[np.uint8]) -> None:
        """Prepare.

        Args:
            network: the network; car and edge are the same one here.
            images: uint8 ``(n, height, width, 3)``.
        """
        self._network = network
        self._images = images
        self._on_car: dict[tuple[int, int], Any] = {}
        self._sent: dict[tuple[int, int, tuple[str, ...], str], SentAnswer] = {}
        self.computed = 0

    @property
    def task(self) -> Task:
        """What the answers mean."""
        return self._network.task

    @property
    def input_spec(self) -> InputSpec:
        """How the network wants its images."""
        return self._network.card.input_spec

    def on_car(self, frame: int, exit_number: int) -> Any:
        """An exit's answer for a frame (counted from 0) computed on the car."""
        key = (frame, exit_number)
        if key not in self._on_car:
            wanted = self._network.dag.exit_outputs(exit_number)
            outputs = self._network.engine.run(self._input(frame), wanted)
            self._on_car[key] = self._network.decode(outputs, exit_number)
            self.computed += 1
        return self._on_car[key]

    def confidence(self, frame: int, exit_number: int) -> float:
        """How sure an exit is of a frame, 0 to 1."""
        return self.task.confidence(self.on_car(frame, exit_number))

    def over_link(
        self, frame: int, exit_number: int, boundary: Sequence[str], codec: str
    ) -> SentAnswer:
        """An exit's answer if the boundary is encoded, sent, and finished on the edge."""
        key = (frame, exit_number, tuple(boundary), codec)
        if key not in self._sent:
            network = self._network
            program = network.head_program(FramePlan(1, exit_number, tuple(boundary), codec))
            head = network.engine.run(self._input(frame), program.boundary)
            specs, data = encode(
                {name: head[name] for name in program.boundary}, codec, network.sets
            )
            tail = network.tail_program(exit_number, frozenset(program.boundary))
            arrays = decode(specs, data, codec, tail.expected, sets=network.sets)
            answer = network.decode(network.engine.run(arrays, tail.outputs), exit_number)
            self._sent[key] = SentAnswer(answer, len(data))
            self.computed += 1
        return self._sent[key]

    def _input(self, frame: int) -> dict[str, NDArray[np.uint8]]:
        image = np.array(self._images[frame : frame + 1])  # out of the file that holds them all
        return {self._network.dag.input: image}
