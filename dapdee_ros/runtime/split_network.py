"""One network, run in parts: the head of a plan, the tail of a frame, the rest of a fallback."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from dapdee_ros.core.frames import Classification, TailAnswer
from dapdee_ros.core.programs import HeadProgram, Programs
from dapdee_ros.exits.gates import softmax

if TYPE_CHECKING:
    from torch import Tensor

    from dapdee_ros.exits.model_folder import LoadedModel
    from dapdee_ros.partition.device_profile import DeviceProfile

TOP_K = 5


class Runner(Protocol):
    """What computes parts of the network; see ``graph.runner.GraphRunner``."""

    def run(self, given: Mapping[str, Tensor], targets: Sequence[str]) -> dict[str, Tensor]:
        """Compute some tensors from others."""

    def run_stages(
        self, given: Mapping[str, Tensor], stages: Sequence[Sequence[str]]
    ) -> Iterator[dict[str, Tensor]]:
        """The same in stages."""


class SplitNetwork(Programs):
    """A loaded model with what this machine knows of its own speed.

    Not for several threads at once: the one inference thread of a process calls it.

    Attributes:
        model: the loaded model.
        runner: what computes; the model's own unless something else was given.
    """

    def __init__(
        self,
        model: LoadedModel,
        profile: DeviceProfile | None = None,
        runner: Runner | None = None,
    ) -> None:
        super().__init__(model.card.dag, profile)
        self.model = model
        self.runner: Runner = runner or model.runner
        calibration = model.card.calibration
        self._temperatures = (
            calibration.temperatures if calibration else (1.0,) * len(self.dag.exits)
        )

    def finish(self, kept: Mapping[str, Tensor], head: HeadProgram, exit_number: int) -> Tensor:
        """Compute one exit's logits from the tensors that a head kept.

        Args:
            kept: the kept tensors by node name.
            head: the program that kept them.
            exit_number: an exit of ``head.finish_profiled_s``.

        Returns:
            Logits, float32, shape (1, classes).
        """
        nodes = self.dag.ancestors(head.boundary)
        given = {name: kept[name] for name in self.dag.boundary(nodes, exit_number)}
        sink = self.dag.exit_sink(exit_number)
        return self.runner.run(given, [sink])[sink]

    def misfit(self, answer: TailAnswer) -> str:
        """Why what an answer says cannot come from this network; empty if it can.

        Args:
            answer: as it came over the network, saying ok.
        """
        found = answer.classification
        if found is None:
            return "it names no class"
        classes = len(self.model.card.labels)
        if not all(0 <= c < classes for c in (found.class_id, *found.top_classes[: TOP_K + 1])):
            return f"a class that is not among the {classes} of the model"
        if len(found.top_classes) > TOP_K or len(found.top_scores) != len(found.top_classes):
            return f"{len(found.top_classes)} classes with {len(found.top_scores)} scores"
        if not all(0 <= score <= 1.001 for score in (found.score, *found.top_scores)):
            return "a score that is no probability"
        return ""

    def classify(self, logits: Tensor, exit_number: int) -> Classification:
        """Turn an exit's logits (1, classes) into classes and calibrated probabilities."""
        probabilities = softmax(logits.reshape(-1).numpy(), self._temperatures[exit_number - 1])
        best = np.argsort(-probabilities, kind="stable")[:TOP_K]
        return Classification(
            class_id=int(best[0]),
            score=float(probabilities[best[0]]),
            top_classes=tuple(int(c) for c in best),
            top_scores=tuple(float(probabilities[c]) for c in best),
        )
