"""One network, run in parts: the head of a plan, the tail of a frame, the rest of a fallback."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from dapdee_ros.core.programs import HeadProgram, Programs, TailProgram
from dapdee_ros.engines.engine import Array, Engine, Stages
from dapdee_ros.exits.bottlenecks import point_boundaries
from dapdee_ros.runtime.bottleneck_codec import bottleneck_codecs
from dapdee_ros.tasks.task import Task, task_of

if TYPE_CHECKING:
    from dapdee_ros.engines.beside import NetworkBeside
    from dapdee_ros.exits.card import ModelCard
    from dapdee_ros.planning.device_profile import DeviceProfile


class RunnableModel(Protocol):
    """A model with what computes it."""

    @property
    def card(self) -> ModelCard:
        """What the planner knows of it."""

    @property
    def engine(self) -> Engine:
        """Computes any part of it."""


class ModelPrograms(Programs):
    """A model's programs with a machine's profile of it, for whoever computes nothing of it itself.

    Attributes:
        card: what is known of the model.
        task: the meaning of the model's outputs; by default the card's.
        computed_by: what computes the network, for people.
    """

    def __init__(
        self,
        card: ModelCard,
        profile: DeviceProfile | None = None,
        task: Task | None = None,
        computed_by: str = "",
    ) -> None:
        super().__init__(card.dag, profile, point_boundaries(card.bottlenecks))
        self.card = card
        self.task = task or task_of(card)
        self.computed_by = computed_by


class SplitNetwork(ModelPrograms):
    """A loaded model with this machine's profile of it.

    Not thread-safe: only the process's inference thread calls it.

    Attributes:
        engine: computes the network; by default the model's own.
        sets: the model's bottlenecks at work: codecs of whole boundaries, by name.

    Raises:
        BottleneckError: at construction, naming the bottleneck that cannot be used.
    """

    def __init__(
        self,
        model: RunnableModel,
        profile: DeviceProfile | None = None,
        engine: Engine | None = None,
        task: Task | None = None,
    ) -> None:
        self.engine: Engine = engine or model.engine
        super().__init__(model.card, profile, task, self.engine.name)
        self.sets = bottleneck_codecs(model.card, self.engine)

    def is_ready(self, program: HeadProgram) -> bool:
        """Whether everything that a program may need can be computed without compiling."""
        coder = self._encoder(program)
        parts_ready = all(self.engine.is_ready(*part) for part in self._parts(program))
        return parts_ready and (coder is None or coder.is_ready)

    def prepare(self, program: HeadProgram) -> None:
        """Compile everything that a program may need, its fallbacks included; from any thread.

        Raises:
            EngineError: if a part cannot be compiled.
        """
        for part in self._parts(program):
            self.engine.prepare(*part)
        coder = self._encoder(program)
        if coder is not None:
            coder.prepare()

    def _encoder(self, program: HeadProgram) -> NetworkBeside | None:
        """The encoder that a program's codec needs, if it needs one."""
        coder = self.sets.get(program.plan.codec) if program.boundary else None
        return coder.network.encoder if coder else None

    def tail_is_ready(self, program: TailProgram, codec: str) -> bool:
        """Whether a tail can be computed without compiling, from tensors coded like this."""
        coder = self.sets.get(codec)
        ready = self.engine.is_ready(program.expected, [program.outputs])
        return ready and (coder is None or coder.network.decoder.is_ready)

    def prepare_tail(self, program: TailProgram, codec: str) -> None:
        """Compile what a tail needs; from any thread.

        Raises:
            EngineError: if it cannot be compiled.
        """
        self.engine.prepare(program.expected, [program.outputs])
        if codec in self.sets:
            self.sets[codec].network.decoder.prepare()

    def _parts(self, program: HeadProgram) -> Iterator[tuple[Sequence[str], Stages]]:
        yield (self.dag.input,), program.stages
        for exit_number in program.finish_profiled_s:
            yield self._given(program, exit_number), [self.dag.exit_outputs(exit_number)]

    def _given(self, head: HeadProgram, exit_number: int) -> Sequence[str]:
        """Which of the tensors that a head kept an exit is finished from."""
        nodes = self.dag.ancestors(head.boundary)
        return self.dag.boundary(nodes, exit_number) or self.dag.exit_outputs(exit_number)

    def finish(
        self, kept: Mapping[str, Array], head: HeadProgram, exit_number: int
    ) -> dict[str, Array]:
        """Compute one exit's outputs from the tensors that a head kept.

        Args:
            kept: the kept tensors by node name.
            head: the program that kept them.
            exit_number: an exit of ``head.finish_profiled_s``.

        Returns:
            The exit's outputs by name, each with a first axis of 1.
        """
        outputs = self.dag.exit_outputs(exit_number)
        given = {name: kept[name] for name in self._given(head, exit_number)}
        return self.engine.run(given, outputs)

    def decode(self, tensors: Mapping[str, Array], exit_number: int) -> Any:
        """An answer of the model's task from an exit's outputs.

        Args:
            tensors: by node name, the exit's outputs among them, each with a first axis of 1.
            exit_number: the exit.
        """
        outputs = self.dag.exit_outputs(exit_number)
        return self.task.decode([tensors[name] for name in outputs], exit_number)
