"""The head's inference jobs: load, run parts of the network, encode, finish."""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dapdee_ros.codecs import TensorSpec, encode
from dapdee_ros.codecs.camera_file import CAMERA, INSTEAD
from dapdee_ros.core.frames import HeadFrame
from dapdee_ros.core.head_events import (
    Encode,
    Encoded,
    Finish,
    Finished,
    GateComputed,
    HeadComputed,
    Job,
    RunHead,
    RunRest,
    Send,
)
from dapdee_ros.core.programs import HeadProgram
from dapdee_ros.runtime.cpu_wait import CpuWait
from dapdee_ros.runtime.passed_on import passed_on_spec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dapdee_ros.runtime.split_network import SplitNetwork

_SMOOTHING = 0.1

Computed = GateComputed | HeadComputed | Encoded | Finished


class FrameError(ValueError):
    """An image that the network cannot take; the message says why."""


@dataclass(slots=True)
class _Held:
    """A frame's state between its jobs; ``unread`` is its context if its image is not decoded."""

    program: HeadProgram
    stages: Iterator[dict[str, Any]]
    loaded_s: float
    values: dict[str, Any] = field(default_factory=dict)
    specs: Sequence[TensorSpec] = ()
    data: array[int] | bytes = b""
    codec: str = ""
    unread: Any = None


class HeadMachine:
    """Does the jobs of a ``HeadCore`` with a real network, on one thread.

    Of a sent frame it keeps the tensors from which every exit can still be finished here; they were
    computed anyway, so keeping them costs no time. Of one whose file was passed on it keeps the
    file, and decodes that only to finish the frame here.

    Attributes:
        cpu_wait: how long this process has waited for a processor.
        load_s: seconds that ``load`` takes, smoothed; 0 until it was called.
    """

    def __init__(
        self,
        network: SplitNetwork,
        load: Callable[[Any], NDArray[np.uint8]],
        clock: Callable[[], float] = time.monotonic,
        file_of: Callable[[Any], array[int] | bytes | None] | None = None,
    ) -> None:
        """Prepare.

        Args:
            network: the model that is run.
            load: turns a frame's context into the network's input, uint8 of shape (1, H, W, 3);
                raises FrameError if it can't.
            clock: monotonic seconds.
            file_of: returns the camera's file that a frame's context holds if it may be passed on
                as it is, else None; without it none may.
        """
        self._network = network
        self._load = load
        self._clock = clock
        self._file_of = file_of or (lambda context: None)
        self._held: dict[int, _Held] = {}
        self.cpu_wait = CpuWait()
        self.load_s = 0.0

    def run(self, job: Job) -> Computed:
        """Do a job and return its outcome.

        Raises:
            FrameError: if the network cannot take the image.
        """
        if isinstance(job, RunHead):
            return self._run_head(job)
        if isinstance(job, RunRest):
            return self._run_rest(job.number)
        if isinstance(job, Encode):
            return self._encode(job.number)
        return self._finish(job)

    def frame(self, send: Send) -> HeadFrame | None:
        """An encoded frame, ready to send; None if it has ended since."""
        held, plan = self._held.get(send.number), send.program.plan
        if held is None:
            return None
        frame = HeadFrame(
            number=send.number,
            session=send.session,
            sent_s=send.sent_s,
            model_id=self._network.card.model_id,
            exit_number=plan.exit_number,
            codec=held.codec or plan.codec,
            specs=held.specs,
            data=held.data,
            context=send.context,
            answer_within_s=send.answer_within_s,
            server=send.server,
        )
        if not send.keep:
            held.specs, held.data = (), b""
        return frame

    def forget(self, number: int) -> None:
        """A frame has ended: free its state. May be called from any thread."""
        self._held.pop(number, None)

    def _run_head(self, job: RunHead) -> GateComputed | HeadComputed:
        network, program = self._network, job.program
        if program.plan.codec == CAMERA and program.boundary:
            file = self._file_of(job.context)
            if file is not None:
                held = _Held(program, iter(()), self._clock(), data=file, unread=job.context)
                self._held[job.number] = held
                return HeadComputed(job.number, None, math.nan, self.load_s)
        image = self._loaded(job.context)
        loaded_s = self._clock()
        given = {network.dag.input: image}
        stages = iter(network.engine.run_stages(given, program.stages))
        held = self._held[job.number] = _Held(program, stages, loaded_s)
        plan = program.plan
        if plan.gate is None:
            return self._run_rest(job.number)
        answer = network.decode(next(held.stages), plan.gate)
        sure = network.task.confidence(answer)
        return GateComputed(job.number, sure, answer, self._clock() - loaded_s)

    def _run_rest(self, number: int) -> HeadComputed:
        held = self._held[number]
        program = held.program
        values = next(held.stages)
        spent_s = self._clock() - held.loaded_s
        # The generator keeps everything that it computed; only this is needed from here on.
        held.stages = iter(())
        held.values = {name: values[name] for name in {*program.kept, *program.boundary}}
        answer = None
        if program.outputs:
            answer = self._network.decode(values, program.plan.exit_number)
        return HeadComputed(number, answer, spent_s)

    def _loaded(self, context: Any) -> NDArray[np.uint8]:
        started_s = self._clock()
        image = self._load(context)
        took_s = self._clock() - started_s
        self.load_s += (_SMOOTHING if self.load_s else 1.0) * (took_s - self.load_s)
        return image

    def _encode(self, number: int) -> Encoded:
        held = self._held[number]
        program = held.program
        if held.unread is not None:
            given = self._network.dag.nodes[0]
            held.specs = [passed_on_spec(given.name, given.shape, held.data)]
            return Encoded(number, len(held.data), self.cpu_wait.seconds())
        if program.plan.codec == CAMERA:
            held.codec = INSTEAD
        held.specs, held.data = encode(
            {name: held.values[name] for name in program.boundary},
            held.codec or program.plan.codec,
            self._network.sets,
        )
        held.values = {name: held.values[name] for name in program.kept}
        return Encoded(number, len(held.data), self.cpu_wait.seconds(), held.codec)

    def _finish(self, job: Finish) -> Finished:
        held, network = self._held[job.number], self._network
        if held.unread is not None:
            held.values = {network.dag.input: self._loaded(held.unread)}
        started_s = self._clock()
        outputs = network.finish(held.values, held.program, job.exit_number)
        answer = network.decode(outputs, job.exit_number)
        return Finished(job.number, answer, self._clock() - started_s)
