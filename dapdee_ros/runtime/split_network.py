"""One network, run in parts: the head of a plan, the tail of a frame, the rest of a fallback."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from dapdee_ros.core.programs import HeadProgram, Programs
from dapdee_ros.tasks.task import Task, task_of

if TYPE_CHECKING:
    from torch import Tensor

    from dapdee_ros.exits.model_folder import LoadedModel
    from dapdee_ros.partition.device_profile import DeviceProfile


class Runner(Protocol):
    """Computes parts of the network; see ``graph.runner.GraphRunner``."""

    def run(self, given: Mapping[str, Tensor], targets: Sequence[str]) -> dict[str, Tensor]:
        """Compute some tensors from others."""

    def run_stages(
        self, given: Mapping[str, Tensor], stages: Sequence[Sequence[str]]
    ) -> Iterator[dict[str, Tensor]]:
        """The same in stages."""


class SplitNetwork(Programs):
    """A loaded model with this machine's profile of it.

    Not thread-safe: only the process's inference thread calls it.

    Attributes:
        model: the loaded model.
        task: the meaning of the model's outputs; by default the card's.
        runner: computes the network; by default the model's own.
    """

    def __init__(
        self,
        model: LoadedModel,
        profile: DeviceProfile | None = None,
        runner: Runner | None = None,
        task: Task | None = None,
    ) -> None:
        super().__init__(model.card.dag, profile)
        self.model = model
        self.runner: Runner = runner or model.runner
        self.task = task or task_of(model.card)

    def finish(
        self, kept: Mapping[str, Tensor], head: HeadProgram, exit_number: int
    ) -> dict[str, Tensor]:
        """Compute one exit's outputs from the tensors that a head kept.

        Args:
            kept: the kept tensors by node name.
            head: the program that kept them.
            exit_number: an exit of ``head.finish_profiled_s``.

        Returns:
            The exit's outputs by name, each with a first axis of 1.
        """
        nodes = self.dag.ancestors(head.boundary)
        outputs = self.dag.exit_outputs(exit_number)
        given = {name: kept[name] for name in self.dag.boundary(nodes, exit_number) or outputs}
        return self.runner.run(given, outputs)

    def decode(self, tensors: Mapping[str, Tensor], exit_number: int) -> Any:
        """An answer of the model's task from an exit's outputs.

        Args:
            tensors: by node name, the exit's outputs among them, each with a first axis of 1.
            exit_number: the exit.
        """
        outputs = self.dag.exit_outputs(exit_number)
        return self.task.decode([tensors[name].numpy() for name in outputs], exit_number)
